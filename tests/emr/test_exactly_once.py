"""One step works once on one output, whatever EMR does with calls whose reply is lost."""

from __future__ import annotations

import gzip
import threading

import pytest

from ascii_hydra.engines.emr.api import Emr, submission_of
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.emr.submission import UnclearError
from ascii_hydra.engines.pipes_arguments import numbered
from ascii_hydra.engines.s3_store import S3Store
from tests.cloud_proxy import body, proxy_of
from tests.emr.conftest import BUCKET, ROOT
from tests.emr.test_submission import TOKEN, fault, filled, host, job_of
from tests.rehearsal_cloud import asked, place_of
from tests.waiting import until

__all__ = ["host"]

# Every execution of its business logic leaves an object of its own.
COUNTED = """
import uuid
from ascii_hydra.step.folder_files import HadoopFolder
with opened() as context:
    executed = HadoopFolder("s3a://tests/executed/" + sys.argv[1])
    executed.write(uuid.uuid4().hex, b"")
"""
WRITING = (
    COUNTED
    + """
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.getOrCreate()
    output = "s3a://tests/output/" + sys.argv[1]
    spark.range(1000).coalesce(1).write.mode("overwrite").parquet(output)
"""
)


def names(cloud, prefix: str) -> list[str]:
    found = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", ())
    return [one["Key"].removeprefix(f"{prefix}/") for one in found]


def drivers_words(cloud, cluster_id: str) -> str:
    """What the drivers of all clusters but one have written."""
    logs = names(cloud, "ascii_hydra/logs")
    others = [o for o in logs if o.endswith("_000001/stdout.gz") and not o.startswith(cluster_id)]
    keys = [f"ascii_hydra/logs/{one}" for one in others]
    bodies = [cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
    return "\n".join(gzip.decompress(one).decode() for one in bodies)


def called_at(cloud, operation: str) -> float:
    """When an operation was last called, by the cloud's clock."""
    return float(
        [one["at"] for one in asked(cloud.url, "calls") if one["operation"] == operation][-1]
    )


# --- steps that really run -----------------------------------------------------------------


def test_a_second_cluster_that_emr_never_shows_does_no_work(bench, cloud):
    """Both drivers begin at the same time, on one output and one Pipes folder."""
    S3Store(cloud.place).delete(f"s3://{BUCKET}/ascii_hydra/logs")
    unseen = fault("RunJobFlow", "visible_late", seconds=1_000_000)
    # It is submitted again before the first driver can begin.
    cloud.behave(unseen, provisioning_seconds=400, speed=60)
    ended = bench.run(bench.request("unseen", WRITING))
    assert ended.green, ended.cause
    assert cloud.calls("RunJobFlow") == 2
    until(cloud.ended)
    assert len(names(cloud, "executed/unseen")) == 1
    output = names(cloud, "output/unseen")
    assert "_SUCCESS" in output
    assert len([one for one in output if one.startswith("part-")]) == 1
    assert not any("__magic" in one for one in output)
    words = drivers_words(cloud, str(ended.materialized["emr/cluster_id"]))
    assert "This driver ends before any work: the step was submitted again in its stead" in words
    assert cloud.keys("pipes/") == []


def test_a_cluster_that_is_made_late_is_ended_while_the_step_runs(bench, cloud):
    cloud.behave(
        fault("RunJobFlow", "effect_late", seconds=400), provisioning_seconds=1000, speed=60
    )
    ended = bench.run(bench.request("belated", COUNTED))
    assert ended.green, ended.cause
    assert len(names(cloud, "executed/belated")) == 1
    first, second = cloud.clusters("tests/belated")
    chosen = str(ended.materialized["emr/cluster_id"])
    (double,) = [one for one in (first, second) if one["Id"] != chosen]
    (step,) = cloud.steps(chosen)
    begun = step["Status"]["Timeline"]["StartDateTime"].timestamp()
    assert called_at(cloud, "TerminateJobFlows") < begun
    assert "StartDateTime" not in cloud.steps(double["Id"])[0]["Status"]["Timeline"]
    assert any(f"ends {double['Id']}, which a call" in line for line in bench.told)
    assert float(ended.materialized["cost/wasted_usd"]) > 0
    assert cloud.keys("pipes/") == []


@pytest.mark.parametrize("effect", ["effect_late", "visible_late"])
def test_a_second_step_of_a_shared_cluster_does_no_work(bench, cloud, effect):
    late = fault("AddJobFlowSteps", effect, seconds=400 if effect == "effect_late" else 1_000_000)
    # It is submitted again before the first driver can begin.
    cloud.behave(late, provisioning_seconds=1000, speed=60)
    two = {"StepConcurrencyLevel": 2}
    request = bench.request(effect, COUNTED, shared=True, flow=two)
    ended = bench.run(request, bench.client(launch_id=effect))
    assert ended.green, ended.cause
    assert cloud.calls("AddJobFlowSteps") == 2
    assert len(names(cloud, f"executed/{effect}")) == 1
    (cluster_id,) = cloud.alive()
    # One that is never shown ends by itself.
    states = sorted(one["Status"]["State"] for one in cloud.steps(cluster_id))
    assert states == (["CANCELLED", "COMPLETED"] if effect == "effect_late" else ["COMPLETED"])
    if effect == "effect_late":
        # While the launch waits for its own step, not only when that has ended.
        steps = {one["Status"]["State"]: one["Status"] for one in cloud.steps(cluster_id)}
        begun = steps["COMPLETED"]["Timeline"]["StartDateTime"].timestamp()
        assert called_at(cloud, "CancelSteps") < begun
        assert "StartDateTime" not in steps["CANCELLED"]["Timeline"]
    assert cloud.keys("pipes/") == []


# --- submissions ---------------------------------------------------------------------------


def test_a_submission_that_works_is_not_made_again(bench, cloud, host):
    """EMR shows it late, and its driver has claimed it."""
    cloud.behave(
        fault("AddJobFlowSteps", "visible_late", seconds=300),
        provisioning_seconds=36_000,
        speed=100,
    )
    S3Store(cloud.place).write(f"{ROOT}/pipes/guest/claim-1-somebody", b"")
    job = job_of(bench)
    job.submit(filled(bench.request("guest", cluster_id=host, run_job_flow=None)))
    assert cloud.calls("AddJobFlowSteps") == 1
    assert cloud.keys("pipes/guest/revoked-1") != []
    (step,) = cloud.steps(host)
    assert (step["Id"], submission_of(step)) == (job.step_id, 1)
    assert job.end() == ()


def test_a_submission_is_revoked_before_the_next_one(bench, cloud, host):
    cloud.behave(
        fault("AddJobFlowSteps", "server_error", times=2), provisioning_seconds=36_000, speed=1000
    )
    job = job_of(bench)
    job.submit(filled(bench.request("guest", cluster_id=host, run_job_flow=None)))
    (step,) = cloud.steps(host)
    assert submission_of(step) == 3
    marks = [one.rpartition("/")[2] for one in cloud.keys("pipes/guest/")]
    assert marks == ["revoked-1", "revoked-2"]
    assert job.end() == ()


def test_no_second_submission_if_the_first_cannot_be_revoked(bench, cloud, host):
    cloud.behave(
        fault("AddJobFlowSteps", "server_error"),
        fault("s3:PutObject", "refused", times=9),
        provisioning_seconds=36_000,
        speed=1000,
    )
    request = bench.request("guest", cluster_id=host, run_job_flow=None)
    with pytest.raises(UnclearError, match=r"cannot be written \(AccessDenied"):
        job_of(bench).submit(filled(request))
    assert cloud.calls("AddJobFlowSteps") == 1


def test_a_retry_goes_on_with_the_submission_that_is_not_revoked(bench, cloud, host):
    """And ends the other one without touching the folder that both have."""
    request, store = (
        bench.request("guest", cluster_id=host, run_job_flow=None),
        S3Store(cloud.place),
    )
    store.write(f"{ROOT}/pipes/guest/context.json", b"{}")
    store.write(f"{ROOT}/pipes/guest/revoked-1", b"")
    step = filled(request).step_config
    jar = step["HadoopJarStep"]
    for number in (1, 2):
        args = numbered(jar["Args"], number)
        cloud.emr.add_job_flow_steps(
            JobFlowId=host, Steps=[{**step, "HadoopJarStep": {**jar, "Args": args}}]
        )
    job = job_of(bench)
    assert job.adopt(TOKEN, request) == f"{ROOT}/pipes/guest"
    states = {submission_of(one): one["Status"]["State"] for one in cloud.steps(host)}
    assert states == {1: "CANCELLED", 2: "PENDING"}
    marks = [one.rpartition("/")[2] for one in cloud.keys("pipes/guest/")]
    assert marks == ["context.json", "revoked-1"]
    assert job.end() == ()


# --- doubles -------------------------------------------------------------------------------


@pytest.fixture
def doubted(bench, cloud):
    """Makes the job of a request whose first call is carried out some minutes after it."""

    def make(request) -> Job:
        late = fault("RunJobFlow", "effect_late", seconds=600)
        cloud.behave(late, provisioning_seconds=36_000, speed=20)
        emr = Emr(cloud.place, cloud.clock, threading.Event())
        job = Job(emr, "launch", bench.told.append, bench.told.append)
        job.submit(filled(request))
        job.seek_doubles(cloud.clock.now())
        assert cloud.calls("TerminateJobFlows") == 0
        cloud.behave(provisioning_seconds=36_000, speed=1000)
        until(lambda: len(cloud.alive()) == 2)
        cloud.behave(provisioning_seconds=36_000, speed=1)
        return job

    return make


@pytest.mark.parametrize("shared", [False, True])
def test_a_double_is_told_to_end_as_soon_as_it_is_seen(bench, cloud, doubted, shared):
    job = doubted(bench.request("made_two", shared=shared))
    job.seek_doubles(cloud.clock.now() + 30)
    assert cloud.alive() == [job.cluster_id]
    assert cloud.calls("TerminateJobFlows") == 1
    cloud.behave(provisioning_seconds=36_000)
    assert job.end() == ()
    bills = []
    assert close_shared(billed=bills.append) == ()
    assert len(bills) == (2 if shared else 0)
    assert len(job.doubles) == (0 if shared else 1)


def test_a_double_that_cannot_be_ended_is_named_with_the_command(bench, cloud, doubted):
    job = doubted(bench.request("made_two"))
    (double,) = [one for one in cloud.alive() if one != job.cluster_id]
    cloud.behave(fault("TerminateJobFlows", "refused"), provisioning_seconds=36_000, speed=1)
    job.seek_doubles(cloud.clock.now() + 30)
    (warning,) = [line for line in bench.told if "may still be running" in line]
    assert f"cluster {double} may still be running" in warning
    assert f"aws emr terminate-clusters --cluster-ids {double}" in warning
    cloud.behave(provisioning_seconds=36_000)
    assert job.end() == ()  # tried again at the end
    assert job.doubles == [double]
    assert cloud.alive() == []


def test_a_look_for_doubles_that_fails_is_told_and_made_again(bench, cloud, doubted):
    job = doubted(bench.request("made_two"))
    now = cloud.clock.now()
    cloud.behave(fault("ListClusters", "refused"), provisioning_seconds=36_000, speed=1)
    job.seek_doubles(now + 30)
    assert any("doubles of it cannot be sought now (AccessDenied" in one for one in bench.told)
    assert cloud.calls("TerminateJobFlows") == 0
    job.seek_doubles(now + 31)
    assert cloud.calls("TerminateJobFlows") == 0
    job.seek_doubles(now + 60)
    assert cloud.alive() == [job.cluster_id]
    cloud.behave(provisioning_seconds=36_000)
    assert job.end() == ()


def test_a_throttled_look_for_doubles_does_not_hold_up_the_time_limits(bench, cloud, doubted):
    job, seen = doubted(bench.request("made_two")), cloud.calls("ListClusters")
    throttled = fault("ListClusters", "throttled", times=9_999)
    cloud.behave(throttled, provisioning_seconds=36_000, speed=1)
    job.seek_doubles(cloud.clock.now() + 30)
    assert cloud.calls("ListClusters") == seen + 1
    assert any("doubles of it cannot be sought now (Throttling" in one for one in bench.told)
    cloud.behave(provisioning_seconds=36_000)
    assert job.end() == ()


def test_a_double_that_another_process_of_the_launch_uses_is_left_to_it(bench, cloud, doubted):
    job = doubted(bench.request("made_two", shared=True))
    (double,) = [one for one in cloud.alive() if one != job.cluster_id]
    jar = {"Jar": "command-runner.jar", "Args": ["state-pusher-script"]}
    theirs = {"Name": "theirs", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
    cloud.emr.add_job_flow_steps(JobFlowId=double, Steps=[theirs])
    job.seek_doubles(cloud.clock.now() + 30)
    cloud.behave(provisioning_seconds=36_000)
    assert job.end() == ()
    close_shared()
    assert cloud.alive() == [double]
    cloud.emr.terminate_job_flows(JobFlowIds=[double])


# --- replies that say nothing --------------------------------------------------------------


@pytest.mark.parametrize("content", [b"null", b"[1,2]", b"\xff\xfe\x00{", b"{}", b"<html>"])
def test_a_reply_that_is_none_of_emrs_leaves_no_cluster_behind(bench, cloud, content):
    cloud.behave(provisioning_seconds=36_000, speed=1000)
    with proxy_of(cloud.url) as proxy:
        proxy.behave(body("RunJobFlow", content))
        emr = Emr(place_of(proxy.url), cloud.clock, threading.Event())
        job = Job(emr, "launch", bench.told.append)
        job.submit(filled(bench.request("garbled")))
        assert [job.cluster_id] == cloud.alive()
        assert cloud.calls("RunJobFlow") == 1
        assert job.end() == ()
    assert cloud.alive() == []
