"""Each fault that a rule can ask for, as a client meets it."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.faults import (
    DATABRICKS_EFFECTS,
    EFFECTS,
    SUBMISSION_EFFECTS,
    impossible_fault,
)
from ascii_hydra.config.schema import FaultRule
from ascii_hydra.rehearsal.faults import Faults
from tests.rehearsal.conftest import (
    BUCKET,
    CORE,
    MASTER,
    TASK,
    Rehearsed,
    seconds_between,
)


def rule(on: str, effect: str, **settings) -> FaultRule:
    return FaultRule(target=on, effect=FaultEffect(effect), **settings)


def error(call, **params) -> tuple[str, int]:
    with pytest.raises(ClientError) as fault:
        call(**params)
    response = fault.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


# --- rules


def test_a_rule_counts_what_it_is_about() -> None:
    faults = Faults(
        [rule("RunJobFlow", "throttled", after=1, times=2), rule("step", "step_killed")]
    )
    assert [faults.taken("RunJobFlow") is not None for _ in range(4)] == [False, True, True, False]
    assert faults.taken("ListSteps") is None
    assert faults.taken("step") is not None
    assert faults.taken("step") is None


def test_of_two_rules_the_first_takes_effect_and_both_count() -> None:
    first, second = rule("X", "throttled"), rule("X", "slow", times=2)
    faults = Faults([first, second])
    assert [faults.taken("X") for _ in range(3)] == [first, second, None]


def test_an_effect_must_be_possible_where_it_is_asked_for() -> None:
    why = impossible_fault(rule("cluster", "throttled"))
    assert why is not None
    assert why.startswith(
        "target=cluster effect=throttled: allowed are bootstrap_failure, instance"
    )
    assert impossible_fault(rule("s3:GetObject", "throttled")) is None
    assert impossible_fault(rule("s3:GetObject", "expired")) is not None
    assert impossible_fault(rule("databricks:clusters/get", "expired")) is None
    late = rule("ListClusters", "visible_late", seconds=60)
    assert "effect=visible_late: allowed are refused" in (impossible_fault(late) or "")
    assert impossible_fault(rule("databricks:jobs/runs/submit", "effect_late", seconds=60))
    for name in ("RunJobFlow", "AddJobFlowSteps"):
        assert impossible_fault(rule(name, "effect_late", seconds=60)) is None
        assert impossible_fault(rule(name, "reply_lost")) is None
        at_once = impossible_fault(rule(name, "visible_late"))
        assert at_once == f"target={name} effect=visible_late: give seconds, above 0"
    everywhere = DATABRICKS_EFFECTS.union(SUBMISSION_EFFECTS, *EFFECTS.values())
    assert everywhere == set(FaultEffect), "every effect can be had somewhere"


def test_rules_that_are_no_rules_are_refused(cloud: Rehearsed) -> None:
    for told in (
        [{"target": "x"}],
        [{"target": "x", "effect": "no"}],
        [{"effect": "slow", "onn": 1}],
        [1],
    ):
        with pytest.raises(OSError, match="400"):
            cloud.put("faults", told)
    with pytest.raises(OSError, match="400"):
        cloud.put("config", {"speed": 0})


# --- operations


def test_throttled_refused_and_failing_calls_have_no_effect(cloud: Rehearsed) -> None:
    cloud.faults(
        rule("RunJobFlow", "throttled"),
        rule("RunJobFlow", "refused", after=1, code="AccessDeniedException", message="not you"),
        rule("RunJobFlow", "server_error", after=2),
    )
    flow = cloud.flow()
    assert error(cloud.emr.run_job_flow, **flow) == ("ThrottlingException", 400)
    with pytest.raises(ClientError, match=r"AccessDeniedException.*not you"):
        cloud.emr.run_job_flow(**flow)
    assert error(cloud.emr.run_job_flow, **flow) == ("InternalServerException", 500)
    assert cloud.get("alive") == []
    operations = [one["operation"] for one in cloud.get("calls")]
    assert operations[-3:] == ["RunJobFlow"] * 3


def test_a_lost_reply_leaves_the_effect(cloud: Rehearsed) -> None:
    cloud.goes_wrong("RunJobFlow", "reply_lost")
    instances = {"InstanceFleets": [MASTER, CORE], "KeepJobFlowAliveWhenNoSteps": True}
    with pytest.raises(ConnectionClosedError):
        cloud.emr.run_job_flow(**cloud.flow(Instances=instances))
    (cluster,) = cloud.get("alive")
    cloud.goes_wrong("AddJobFlowSteps", "reply_lost")
    with pytest.raises(ConnectionClosedError):
        cloud.emr.add_job_flow_steps(JobFlowId=cluster, Steps=[cloud.step()])
    assert len(cloud.steps(cluster)) == 1
    cloud.end(cluster)


def test_a_submission_may_take_effect_late(cloud: Rehearsed) -> None:
    """Its reply is lost, and what EMR would refuse is never made."""
    late = {"effect": FaultEffect.effect_late, "seconds": 7200.0}
    cloud.configure(faults=(FaultRule(target="RunJobFlow", times=2, **late),), speed=60)
    before = cloud.get("clock")["now"]
    instances = {"InstanceFleets": [MASTER, CORE], "KeepJobFlowAliveWhenNoSteps": True}
    for label in ("emr-7.12.0", "emr-0.0.0"):
        with pytest.raises(ConnectionClosedError):
            cloud.emr.run_job_flow(**cloud.flow(Instances=instances, ReleaseLabel=label))
    assert cloud.get("alive") == []
    cloud.configure()
    (cluster,) = cloud.until(lambda: cloud.get("alive"))
    created = cloud.status(cluster)["Timeline"]["CreationDateTime"].timestamp()
    assert created - before >= 7200
    cloud.configure(faults=(FaultRule(target="AddJobFlowSteps", **late),), speed=60)
    with pytest.raises(ConnectionClosedError):
        cloud.emr.add_job_flow_steps(JobFlowId=cluster, Steps=[cloud.step()])
    assert cloud.steps(cluster) == []
    cloud.configure()
    assert cloud.until(lambda: len(cloud.steps(cluster)) == 1)
    cloud.until(lambda: cloud.get("clock")["now"] > created + 3 * 7200)
    assert cloud.get("alive") == [cluster]
    cloud.end(cluster)


def test_a_submission_may_be_shown_late(cloud: Rehearsed) -> None:
    """Lists show it late; what has its id is told of it at once."""
    unseen = {"effect": FaultEffect.visible_late, "seconds": 7200.0}
    cloud.configure(faults=(FaultRule(target="RunJobFlow", **unseen),), speed=60)
    instances = {"InstanceFleets": [MASTER, CORE], "KeepJobFlowAliveWhenNoSteps": True}
    known = {one["Id"] for one in cloud.emr.list_clusters()["Clusters"]}
    with pytest.raises(ConnectionClosedError):
        cloud.emr.run_job_flow(**cloud.flow(Instances=instances))
    (cluster,) = cloud.get("alive")
    created = cloud.status(cluster)["Timeline"]["CreationDateTime"].timestamp()
    assert {one["Id"] for one in cloud.emr.list_clusters()["Clusters"]} == known
    cloud.configure()
    (shown,) = cloud.until(
        lambda: {one["Id"] for one in cloud.emr.list_clusters()["Clusters"]} - known
    )
    assert shown == cluster
    assert cloud.get("clock")["now"] >= created + 7200
    cloud.configure(faults=(FaultRule(target="AddJobFlowSteps", **unseen),), speed=60)
    with pytest.raises(ConnectionClosedError):
        cloud.emr.add_job_flow_steps(JobFlowId=cluster, Steps=[cloud.step()])
    assert cloud.steps(cluster) == []
    cloud.configure()
    (step,) = cloud.until(lambda: cloud.steps(cluster))
    assert step["Status"]["State"] == "COMPLETED"
    cloud.end(cluster)


def test_a_slow_call_takes_virtual_time(cloud: Rehearsed) -> None:
    cloud.goes_wrong("ListClusters", "slow", seconds=3600)
    before = cloud.get("clock")["now"]
    begun = time.monotonic()
    cloud.emr.list_clusters()
    assert cloud.get("clock")["now"] - before >= 3600
    assert time.monotonic() - begun < 60


def test_s3_fails_as_s3_does(cloud: Rehearsed) -> None:
    at = {"Bucket": BUCKET, "Key": "faulty"}
    cloud.faults(
        rule("s3:PutObject", "throttled"),
        rule("s3:PutObject", "refused", after=1),
        rule("s3:PutObject", "reply_lost", after=2),
        rule("s3:GetObject", "server_error"),
        rule("s3:HeadObject", "throttled"),
    )
    assert error(cloud.s3.put_object, **at, Body=b"1") == ("SlowDown", 503)
    assert error(cloud.s3.put_object, **at, Body=b"2") == ("AccessDenied", 403)
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="faulty")
    with pytest.raises(ConnectionClosedError):
        cloud.s3.put_object(**at, Body=b"3")
    assert error(cloud.s3.get_object, **at) == ("InternalError", 500)
    assert error(cloud.s3.head_object, **at) == ("503", 503)
    assert cloud.s3.get_object(**at)["Body"].read() == b"3"
    cloud.s3.delete_object(**at)


# --- clusters


@pytest.mark.parametrize(
    ("effect", "code", "message"),
    [
        ("validation_error", "VALIDATION_ERROR", "not supported in the requested availability"),
        ("start_failure", "INTERNAL_ERROR", "Failed to start the job flow"),
        ("no_capacity", "INSTANCE_FLEET_TIMEOUT", "insufficient capacity"),
        ("bootstrap_failure", "BOOTSTRAP_FAILURE", "bootstrap action 1 returned a non-zero"),
    ],
)
def test_clusters_that_do_not_start(cloud: Rehearsed, effect: str, code: str, message: str) -> None:
    cloud.goes_wrong("cluster", effect)
    cluster = cloud.run(cloud.step())
    status = cloud.until_state(cluster)
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"]["Code"] == code
    assert message in status["StateChangeReason"]["Message"]
    assert "ReadyDateTime" not in status["Timeline"]
    (step,) = cloud.steps(cluster)
    assert step["Status"]["State"] == "CANCELLED"
    assert "StartDateTime" not in step["Status"]["Timeline"]
    assert cloud.until_state(cloud.run(cloud.step()))["State"] == "TERMINATED", (
        "the next one is fine"
    )


def test_a_failed_bootstrap_says_where_its_log_is(cloud: Rehearsed) -> None:
    missing = {"Name": "m", "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/no/such.sh"}}
    cluster = cloud.run(BootstrapActions=[missing])
    status = cloud.until_state(cluster)
    (detail,) = status["ErrorDetails"]
    assert detail["ErrorCode"] == "BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY"
    log = detail["ErrorData"][0]["primary-log"]
    assert log.startswith(f"s3://{BUCKET}/logs/{cluster}/node/i-")
    assert "no/such.sh" in cloud.log(cluster, "bootstrap-actions/1/stderr.gz")


def test_groups_wait_for_ever_where_there_is_no_capacity(cloud: Rehearsed) -> None:
    cloud.goes_wrong("cluster", "no_capacity")
    request = cloud.flow()
    group = {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
    request["Instances"] = {"InstanceGroups": [group]}
    cluster = cloud.emr.run_job_flow(**request)["JobFlowId"]
    before = cloud.get("clock")["now"]
    cloud.until(lambda: cloud.get("clock")["now"] > before + 3600)
    assert cloud.status(cluster)["State"] == "STARTING"
    (instance,) = cloud.emr.list_instances(ClusterId=cluster)["Instances"]
    assert instance["Status"]["State"] == "AWAITING_FULFILLMENT"
    cloud.end(cluster)


def test_without_spot_capacity_a_fleet_switches_to_on_demand(cloud: Rehearsed) -> None:
    cloud.goes_wrong("cluster", "no_capacity", code="SPOT")
    cluster = cloud.run(cloud.step(), Instances={"InstanceFleets": [MASTER, CORE, TASK]})
    status = cloud.until_state(cluster)
    assert status["State"] == "TERMINATED"
    assert seconds_between(status, "Creation", "Ready") == 600 + 210
    task = cloud.emr.list_instances(ClusterId=cluster, InstanceFleetType="TASK")["Instances"]
    assert {one["Market"] for one in task} == {"ON_DEMAND"}


def test_a_cluster_that_loses_its_instances(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=600, faults=(rule("cluster", "instance_failure", seconds=3600),))
    cluster = cloud.run(cloud.step())
    status = cloud.until_state(cluster)
    assert status["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    assert seconds_between(status, "Ready", "End") == 3660
    assert cloud.steps(cluster)[0]["Status"]["State"] == "INTERRUPTED"


# --- steps and logs


def test_an_interrupted_step(cloud: Rehearsed) -> None:
    cloud.goes_wrong("step", "step_interrupted")
    cluster = cloud.run(cloud.step(action="CONTINUE"), cloud.step())
    cloud.until_state(cluster)
    states = [step["Status"]["State"] for step in cloud.steps(cluster)]
    assert states == ["INTERRUPTED", "COMPLETED"]


def test_a_killed_driver_has_begun(cloud: Rehearsed) -> None:
    cloud.goes_wrong("step", "step_killed", seconds=0.5)
    script = "import time\nprint('begun', flush=True)\ntime.sleep(600)\nprint('ended')\n"
    cluster = cloud.run(cloud.submit(script))
    cloud.until_state(cluster)
    (step,) = cloud.steps(cluster)
    assert step["Status"]["State"] == "FAILED"
    assert cloud.log(cluster, "_000001/stdout.gz") == "begun\n"
    assert "Killed by external signal" in cloud.log(cluster, f"{step['Id']}/stderr.gz")


def test_late_and_missing_logs(cloud: Rehearsed) -> None:
    cloud.faults(rule("logs", "logs_late", seconds=7200), rule("logs", "logs_missing", after=1))
    late, missing = cloud.run(cloud.step("hive")), cloud.run(cloud.step("hive"))

    def logs(cluster: str) -> bool:
        found = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"logs/{cluster}/")
        return bool(found["KeyCount"])

    clusters = (late, missing)
    ended = max(cloud.until_state(one)["Timeline"]["EndDateTime"] for one in clusters)
    assert not any(logs(one) for one in clusters)
    cloud.until(lambda: any(logs(one) for one in clusters))
    assert cloud.get("clock")["now"] >= ended.timestamp() + 7200 - 120
    assert sum(logs(one) for one in clusters) == 1
