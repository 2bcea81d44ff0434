"""Submitting exactly once, and what is said if it cannot be done. No step gets to run here."""

from __future__ import annotations

import json
import threading
import time

import dagster as dg
import pytest
from dagster_pipes import encode_param

from ascii_hydra.engines.aws_errors import IncompleteAnswerError
from ascii_hydra.engines.emr.api import Emr, pipes_uri
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.lifetime import LIFETIME_ACTION, submitted_identity
from ascii_hydra.engines.emr.submission import UnclearError, once
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.pipes_folder import FolderContextInjector, FolderReader, PipesFolder
from ascii_hydra.engines.pipes_run import UnusableClusterError
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.step.folder_messages import FOLDER_KEY
from tests.emr.conftest import ROOT
from tests.waiting import until

TOKEN = "0123456789ab"
REFUSED = {"target": "cluster", "effect": "validation_error"}


def fault(on: str, effect: str, **more):
    return {"target": on, "effect": effect, **more}


def job_of(bench):
    """One attempt at a step, without a Dagster run."""
    emr = Emr(bench.cloud.place, bench.cloud.clock, threading.Event())
    return Job(emr, "launch", bench.told.append)


def left_running(bench, request):
    """The job of an attempt whose process is gone."""
    job = job_of(bench)
    S3Store(bench.cloud.place).write(f"{ROOT}/pipes/{request.step}/context.json", b"{}")
    job.submit(filled(request))
    return job


def filled(request):
    """A request as the client submits it."""
    folder = encode_param({FOLDER_KEY: f"{ROOT}/pipes/{request.step}"})
    words = ["--dagster-pipes-context", folder, "--dagster-pipes-messages", folder]
    return request.of(Identity("run", "launch", TOKEN, ""), words)


@pytest.fixture
def host(bench, cloud):
    """Id of somebody's cluster, which is not called as ours and starts for ten hours."""
    cloud.behave(provisioning_seconds=36_000, speed=10)
    flow = bench.request("host", shared=True).run_job_flow
    cluster_id = cloud.emr.run_job_flow(**{**flow, "Name": "somebody's"})["JobFlowId"]
    yield cluster_id
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_a_refused_cluster_is_no_reason_for_a_second_one(bench, cloud):
    cloud.behave(fault("cluster", "validation_error", message="The role is missing"))
    ended = bench.run(bench.request("refused"))
    assert "refused never began: EMR refuses its cluster" in ended.cause
    assert cloud.calls("RunJobFlow") == 1
    # E12: what it was is known from the start, and shown at its failure too.
    (handle,) = ended.handles
    assert handle["emr/cluster_id"] == cloud.clusters("tests/refused")[0]["Id"]
    assert handle["emr/logs"] == (
        f"s3://tests/ascii_hydra/logs/{handle['emr/cluster_id']}/steps/{handle['emr/step_id']}/"
    )
    assert f"clusterDetails/{handle['emr/cluster_id']}" in handle["emr/console"]
    assert handle.items() <= ended.evidence.items()
    assert cloud.keys("pipes/") == []


def test_no_capacity(bench, cloud):
    cloud.behave(fault("cluster", "no_capacity"))
    ended = bench.run(bench.request("starved", start_timeout_s=1800.0))
    assert "starved never began" in ended.cause
    assert "cluster.worker_instance_types" in ended.cause
    assert cloud.alive() == []


def test_a_cluster_that_does_not_start_in_time_is_terminated(bench, cloud):
    cloud.behave(provisioning_seconds=7200)
    ended = bench.run(bench.request("late", start_timeout_s=1800.0))
    assert "its cluster was still STARTING after 30 min" in ended.cause
    assert "engine.start_timeout_minutes" in ended.cause
    # What EMR calls a user's request was ours: the cause stays.
    assert "somebody else" not in ended.cause
    assert cloud.alive() == []


@pytest.mark.parametrize("effect", ["bootstrap_failure", "start_failure"])
def test_a_failure_of_the_cloud_is_tried_once_more(bench, cloud, effect):
    cloud.behave(fault("cluster", effect, times=2))
    ended = bench.run(bench.request("unlucky"))
    assert cloud.calls("RunJobFlow") == 2
    assert len(ended.handles) == 2
    assert any("a second cluster is started" in line for line in bench.told)
    # Each has its own messages.
    made = [cloud.steps(one["Id"])[0] for one in cloud.clusters("tests/unlucky")[:2]]
    assert len({pipes_uri(one) for one in made}) == 2
    if effect == "bootstrap_failure":
        assert "a bootstrap action of its cluster failed" in ended.cause
        assert "/bootstrap-actions/" in ended.cause
    else:
        assert "EMR could not start its cluster" in ended.cause


def test_throttling_is_waited_for(bench, cloud):
    cloud.behave(fault("RunJobFlow", "throttled", times=4), REFUSED)
    assert "EMR refuses its cluster" in bench.run(bench.request("patient")).cause
    assert cloud.calls("RunJobFlow") == 5
    assert len(cloud.clusters("tests/patient")) == 1


def test_a_lost_reply_makes_no_second_cluster(bench, cloud):
    cloud.behave(fault("RunJobFlow", "reply_lost"), REFUSED)
    ended = bench.run(bench.request("deaf"))
    assert cloud.calls("RunJobFlow") == 1
    (made,) = cloud.clusters("tests/deaf")
    assert [one["emr/cluster_id"] for one in ended.handles] == [made["Id"]]


def test_a_call_that_failed_is_made_again_when_nothing_is_found(bench, cloud):
    cloud.behave(fault("RunJobFlow", "server_error"), REFUSED)
    bench.run(bench.request("broken"))
    assert cloud.calls("RunJobFlow") == 2
    assert len(cloud.clusters("tests/broken")) == 1


def test_a_cluster_of_which_one_cannot_be_sure(bench, cloud):
    cloud.behave(fault("RunJobFlow", "server_error", times=9))
    ended = bench.run(bench.request("unclear"))
    assert "unclear may or may not have been submitted" in ended.cause
    assert "aws emr list-clusters --active --region us-east-1" in ended.cause
    assert cloud.calls("RunJobFlow") == 3


def test_what_emr_refuses_is_said_at_once(bench, cloud):
    refusal = fault(
        "RunJobFlow",
        "refused",
        code="AccessDeniedException",
        message="User is not authorized to perform: elasticmapreduce:RunJobFlow",
    )
    cloud.behave(refusal)
    ended = bench.run(bench.request("denied"))
    assert "denied could not be run: AccessDeniedException: User is not authorized" in ended.cause
    assert cloud.calls("RunJobFlow") == 1


def test_a_missing_bucket_is_named_before_anything_is_started(bench, cloud):
    request = bench.request("homeless")
    uploads = tuple(
        type(one)(one.uri.replace("s3://tests/", "s3://nowhere-to-be-found/"), content=one.content)
        for one in request.uploads
    )
    ended = bench.run(type(request)(**{**vars(request), "uploads": uploads}))
    assert "make the bucket nowhere-to-be-found" in ended.cause
    assert cloud.calls("RunJobFlow") == 0


def test_a_failing_watch_is_borne_with(bench, cloud):
    cloud.behave(
        fault("ListSteps", "throttled", times=3, after=2),
        fault("DescribeCluster", "server_error", times=3, after=1),
        REFUSED,
        speed=200,
    )
    ended = bench.run(bench.request("watched"))
    assert "EMR refuses its cluster" in ended.cause
    asked_again = [line for line in ended.logged if "cannot be asked at the moment" in line]
    assert asked_again


def test_a_watch_that_is_refused_ends_the_step(bench, cloud):
    refusal = fault("ListSteps", "refused", code="AccessDeniedException", after=2, times=10_000)
    cloud.behave(refusal, provisioning_seconds=3_600, speed=200)
    ended = bench.run(bench.request("blind"))
    assert "blind was given up: EMR does not tell the state" in ended.cause
    assert "AccessDeniedException" in ended.cause
    assert cloud.alive() == []


def test_stopping_terminates_the_cluster(bench, cloud):
    cloud.behave(provisioning_seconds=36_000)
    stop = threading.Event()

    def stop_later() -> None:
        while not any("is STARTING" in line for line in bench.told):
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=stop_later)
    thread.start()
    ended = bench.run(bench.request("stopped"), bench.client(stop=stop))
    thread.join()
    assert "DagsterExecutionInterruptedError: stopped was stopped" in ended.cause
    assert cloud.alive() == []
    assert cloud.keys("pipes/") == []


@pytest.mark.parametrize("cluster_id", ["j-UNKNOWN", None])
def test_an_existing_cluster_must_be_alive(bench, cloud, cluster_id):
    if cluster_id is None:
        flow = bench.request("gone").run_job_flow
        cluster_id = cloud.emr.run_job_flow(**{**flow, "Steps": []})["JobFlowId"]
        cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    ended = bench.run(bench.request("guest", cluster_id=cluster_id, run_job_flow=None))
    assert f"guest cannot run on engine.cluster_id={cluster_id}" in ended.cause


def test_an_existing_cluster_must_be_of_the_release(bench, cloud, host):
    other = {"run_job_flow": None, "release_label": "emr-7.9.0"}
    ended = bench.run(bench.request("guest", cluster_id=host, **other))
    assert f"guest cannot run on engine.cluster_id={host}, which is emr-7.12.0" in ended.cause
    assert cloud.steps(host) == []


# --- retries -------------------------------------------------------------------------------


def test_a_retry_finds_its_step_on_an_existing_cluster(bench, cloud, host):
    request = bench.request("guest", cluster_id=host, run_job_flow=None)
    job, again = left_running(bench, request), job_of(bench)
    assert again.adopt(TOKEN, request) == f"{ROOT}/pipes/guest"
    assert (again.cluster_id, again.step_id, again.own) == (host, job.step_id, False)
    assert again.end() == ()
    assert [one["Status"]["State"] for one in cloud.steps(host)] == ["CANCELLED"]
    assert job_of(bench).adopt(TOKEN, request) is None


def test_a_retry_on_a_cluster_that_is_not_there_says_so(bench, cloud):
    request = bench.request("guest", cluster_id="j-UNKNOWN", run_job_flow=None)
    with pytest.raises(UnusableClusterError, match=r"engine\.cluster_id=j-UNKNOWN"):
        job_of(bench).adopt(TOKEN, request)


@pytest.mark.parametrize("what", ["arguments", "configuration", "stop", "context"])
def test_a_retry_ends_what_is_not_the_step_that_is_asked_for(bench, cloud, host, what):
    """Nor does it go on with one that is about to end itself."""
    on = {"cluster_id": host, "run_job_flow": None}
    request, store = bench.request("guest", **on), S3Store(cloud.place)
    left_running(bench, request)
    if what == "arguments":
        request = bench.request("guest", arguments=["other"], **on)
    elif what == "configuration":
        named = {**request.step_config, "Name": "tests/guest <token> 0123456789ab"}
        request = bench.request("guest", step_config=named, **on)
    elif what == "stop":
        store.write(f"{ROOT}/pipes/guest/stop", b"")
    else:
        store.delete(f"{ROOT}/pipes/guest")
    assert job_of(bench).adopt(TOKEN, request) is None
    assert [one["Status"]["State"] for one in cloud.steps(host)] == ["CANCELLED"]


def test_a_retry_ends_a_cluster_of_its_own_that_runs_something_else(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    left_running(bench, bench.request("changed"))
    assert len(cloud.alive()) == 1
    assert job_of(bench).adopt(TOKEN, bench.request("changed", arguments=["other"])) is None
    assert cloud.alive() == []


def test_no_retry_of_what_would_be_refused_again(bench, cloud):
    retries = dg.RetryPolicy(max_retries=2)
    cloud.behave(fault("cluster", "validation_error", times=9))
    bench.run(bench.request("wrong"), retry_policy=retries)
    assert cloud.calls("RunJobFlow") == 1
    cloud.behave(fault("RunJobFlow", "refused", code="ValidationException", times=9))
    bench.run(bench.request("wrong"), retry_policy=retries)
    assert cloud.calls("RunJobFlow") == 2
    cloud.behave(provisioning_seconds=7200)
    bench.run(bench.request("late", start_timeout_s=600.0), retry_policy=retries)
    assert cloud.calls("RunJobFlow") == 3


# --- calls without a clear answer ----------------------------------------------------------


def test_a_cluster_that_an_unclear_call_makes_late_is_ended_too(bench, cloud):
    cloud.behave(fault("RunJobFlow", "server_error"), provisioning_seconds=36_000, speed=200)
    request, job = filled(bench.request("twice")), job_of(bench)
    job.submit(request)
    cloud.behave(provisioning_seconds=36_000, speed=1)
    cloud.forget()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(job.end()))
    thread.start()
    until(lambda: cloud.calls("ListClusters"))  # it has not been shown at the first look
    cloud.emr.run_job_flow(**request.run_job_flow)  # what the failed call comes to after all
    cloud.behave(provisioning_seconds=36_000, speed=100)
    thread.join(30)
    assert ended == [()]
    assert cloud.alive() == []
    assert len(cloud.clusters("tests/twice")) == 2


def test_an_answer_that_names_nothing_is_no_clear_answer(cloud):
    emr, asked = Emr(cloud.place, cloud.clock, threading.Event()), []

    def submit(number: int) -> str:
        asked.append(number)
        raise IncompleteAnswerError("EMR's answer to run_job_flow is without JobFlowId")

    assert once(emr, submit, lambda number: "j-1" if number > 1 else None) == "j-1"
    assert asked == [1, 2]
    with pytest.raises(UnclearError, match="does not name what it has made"):
        once(emr, submit, lambda _number: None)


def test_a_step_that_an_unclear_call_adds_late_is_cancelled(bench, cloud, host):
    cloud.behave(
        fault("AddJobFlowSteps", "server_error", times=3), provisioning_seconds=36_000, speed=200
    )
    request = filled(bench.request("guest", cluster_id=host, run_job_flow=None))
    job = job_of(bench)
    with pytest.raises(UnclearError):
        job.submit(request)
    cloud.emr.add_job_flow_steps(JobFlowId=host, Steps=[request.step_config])
    assert job.end() == ()
    assert [one["Status"]["State"] for one in cloud.steps(host)] == ["CANCELLED"]
    assert cloud.keys("pipes/guest/stop") != []  # no other step has this folder


def test_stopping_after_an_unclear_call_is_not_said_to_have_submitted_nothing(bench, cloud):
    cloud.behave(fault("RunJobFlow", "server_error", times=9), speed=10)
    stop = threading.Event()

    def stop_later() -> None:
        until(lambda: cloud.calls("RunJobFlow"))
        stop.set()

    thread = threading.Thread(target=stop_later)
    thread.start()
    ended = bench.run(bench.request("hasty"), bench.client(stop=stop))
    thread.join()
    assert "hasty may or may not have been submitted" in ended.cause
    assert cloud.calls("RunJobFlow") == 1


@pytest.mark.parametrize("code", ["InternalServerError", "InternalFailure"])
def test_a_fault_of_emr_is_known_by_its_name(bench, cloud, code):
    cloud.behave(fault("DescribeCluster", "refused", code=code, times=2), REFUSED)
    assert "EMR refuses its cluster" in bench.run(bench.request("named")).cause


# --- credentials ---------------------------------------------------------------------------


def test_credentials_that_expire_while_a_step_is_watched_are_an_outage(bench, cloud):
    lapsed = {"effect": "refused", "code": "ExpiredTokenException"}
    cloud.behave(
        {"target": "ListSteps", "after": 2, **lapsed},
        {"target": "TerminateJobFlows", **lapsed},
        provisioning_seconds=7200,
        speed=300,  # a new client takes some real time
    )
    ended = bench.run(bench.request("lapsed", start_timeout_s=900.0))
    assert "its cluster was still STARTING" in ended.cause
    assert any("log in again" in line for line in ended.logged)
    assert cloud.alive() == []


def test_messages_are_read_on_with_new_credentials(cloud):
    """The client that had the old ones is not asked again."""
    folder, warned = PipesFolder(S3Store(cloud.place), f"{ROOT}/pipes/lapsed"), []
    cloud.behave(fault("s3:GetObject", "refused", code="ExpiredToken", after=1, times=2))
    message = {"__dagster_pipes_version": "0.1", "method": "closed", "params": {}}

    @dg.asset
    def lapsed(context):
        reader = FolderReader(folder, warned.append)
        with dg.open_pipes_session(
            context=context,
            context_injector=FolderContextInjector(folder, warned.append),
            message_reader=reader,
        ) as session:
            until(lambda: warned)
            folder.write("messages/1.json", json.dumps(message).encode() + b"\n\n")
            assert reader.closed.wait(30)
        assert reader.fault is None
        return session.get_results()

    assert dg.materialize([lapsed]).success
    assert len([one for one in warned if "log in again" in one]) == 1


def test_expired_credentials_are_an_error_at_first(bench, cloud):
    cloud.behave(fault("RunJobFlow", "refused", code="ExpiredTokenException", times=9))
    assert "ExpiredTokenException" in bench.run(bench.request("expired")).cause
    assert cloud.calls("RunJobFlow") == 1


# --- limits --------------------------------------------------------------------------------


def test_a_step_that_waits_too_long_for_its_turn_is_cancelled(bench, cloud, host):
    cloud.behave(provisioning_seconds=36_000)
    request = bench.request("queued", cluster_id=host, run_job_flow=None, start_timeout_s=600.0)
    ended = bench.run(request)
    assert f"has waited 10 min for its turn on cluster {host}" in ended.cause
    assert [one["Status"]["State"] for one in cloud.steps(host)] == ["CANCELLED"]


def test_the_deadline_of_a_cluster_is_reckoned_from_its_submission(bench):
    action = {"Name": LIFETIME_ACTION, "ScriptBootstrapAction": {"Path": "-", "Args": ["60"]}}
    request = bench.request("mortal", flow={"BootstrapActions": [action]})
    made = submitted_identity(Identity("run", "launch", TOKEN, ""), request, 3600.0)
    assert made.deadline == "1970-01-01T01:01:00+00:00"
