"""The states of clusters, steps and instances over virtual time: hours in seconds."""

from __future__ import annotations

import pytest

from tests.rehearsal.conftest import (
    BUCKET,
    CORE,
    MASTER,
    NOTHING,
    TASK,
    Rehearsed,
    seconds_between,
)


def test_a_cluster_with_a_step_ends_by_itself(cloud: Rehearsed, uploaded) -> None:
    cloud.configure(step_minutes=60, speed=500)  # it starts for half a second
    script = {"Path": uploaded("setup.sh", b"exit 0"), "Args": ["a"]}
    actions = [{"Name": f"action {n}", "ScriptBootstrapAction": script} for n in (1, 2)]
    cluster = cloud.run(cloud.step(), BootstrapActions=actions)
    assert cloud.status(cluster)["State"] == "STARTING"
    assert cloud.steps(cluster)[0]["Status"]["State"] == "PENDING"
    # What step_minutes promises: hours of a step that has long ended.
    assert seconds_between(cloud.until_step(cluster, "COMPLETED"), "Start", "End") == 3600
    status = cloud.until_state(cluster)
    assert status["State"] == "TERMINATED"
    assert status["StateChangeReason"] == {
        "Code": "ALL_STEPS_COMPLETED",
        "Message": "Steps completed",
    }
    assert seconds_between(status, "Creation", "Ready") == 240
    assert seconds_between(status, "Ready", "End") == 3660
    (step,) = cloud.steps(cluster)
    assert step["Config"]["Args"] == NOTHING
    assert step["AdditionalInfo"]["ResourceManagerApplicationIds"][0].startswith("application_")
    told = cloud.emr.list_bootstrap_actions(ClusterId=cluster)["BootstrapActions"]
    assert [one["Name"] for one in told] == ["action 1", "action 2"]
    assert told[0]["ScriptPath"] == script["Path"]


def test_it_passes_through_every_state(cloud: Rehearsed, uploaded) -> None:
    cloud.configure(speed=200, step_minutes=1, bootstrap_seconds=60)
    script = {"Path": uploaded("setup.sh", b"exit 0")}
    action = {"Name": "action", "ScriptBootstrapAction": script}
    cluster = cloud.run(cloud.step(), BootstrapActions=[action])
    seen: list[str] = []

    def ended() -> bool:
        state = cloud.status(cluster)["State"]
        if state not in seen:
            seen.append(state)
        return state == "TERMINATED"

    cloud.until(ended)
    assert seen == ["STARTING", "BOOTSTRAPPING", "RUNNING", "TERMINATING", "TERMINATED"]


def test_a_kept_cluster_waits_takes_steps_and_ends_when_told(cloud: Rehearsed) -> None:
    cluster = cloud.kept()
    cloud.until_state(cluster, "WAITING")
    added = cloud.emr.add_job_flow_steps(JobFlowId=cluster, Steps=[cloud.step(), cloud.step()])
    assert len(added["StepIds"]) == 2
    cloud.until_step(cluster, "COMPLETED", index=1)
    first, second = (step["Status"]["Timeline"] for step in cloud.steps(cluster))
    assert second["StartDateTime"] >= first["EndDateTime"], "one at a time"
    assert cloud.until_state(cluster, "WAITING")
    assert cloud.get("alive") == [cluster]
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster])
    status = cloud.until_state(cluster)
    assert (status["State"], status["StateChangeReason"]["Code"]) == ("TERMINATED", "USER_REQUEST")


def test_steps_side_by_side(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=30)
    steps = [cloud.step(action="CONTINUE") for _ in range(3)]
    cluster = cloud.run(*steps, StepConcurrencyLevel=2)
    cloud.until_state(cluster)
    times = [step["Status"]["Timeline"] for step in cloud.steps(cluster)]
    assert times[1]["StartDateTime"] < times[0]["EndDateTime"] <= times[2]["StartDateTime"]


def test_an_idle_cluster_ends_by_its_policy(cloud: Rehearsed) -> None:
    cluster = cloud.kept(cloud.step(), AutoTerminationPolicy={"IdleTimeout": 600})
    status = cloud.until_state(cluster)
    (step,) = cloud.steps(cluster)
    idle = status["Timeline"]["EndDateTime"] - step["Status"]["Timeline"]["EndDateTime"]
    assert idle.total_seconds() == pytest.approx(660, abs=1)
    assert "idle" in status["StateChangeReason"]["Message"]


def test_a_policy_can_be_put_and_removed(cloud: Rehearsed) -> None:
    cluster = cloud.kept()
    emr = cloud.emr
    assert "AutoTerminationPolicy" not in emr.get_auto_termination_policy(ClusterId=cluster)
    policy = {"IdleTimeout": 86_400}
    emr.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy=policy)
    told = emr.get_auto_termination_policy(ClusterId=cluster)
    assert told["AutoTerminationPolicy"] == policy
    emr.remove_auto_termination_policy(ClusterId=cluster)
    assert "AutoTerminationPolicy" not in emr.get_auto_termination_policy(ClusterId=cluster)
    cloud.end(cluster)


def test_a_cluster_shuts_itself_down_after_its_hard_lifetime(cloud: Rehearsed, uploaded) -> None:
    cloud.configure(bootstrap_seconds=10, step_minutes=600)
    script = {"Path": uploaded("max_lifetime.sh", b""), "Args": ["7200"]}
    action = {"Name": "ascii_hydra-max-lifetime", "ScriptBootstrapAction": script}
    cluster = cloud.kept(cloud.step(), cloud.step(), BootstrapActions=[action])
    status = cloud.until_state(cluster)
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    assert seconds_between(status, "Creation", "End") == 210 + 10 + 7200 + 60
    states = [step["Status"]["State"] for step in cloud.steps(cluster)]
    assert states == ["INTERRUPTED", "CANCELLED"]


@pytest.mark.parametrize(
    ("action", "code", "states"),
    [
        ("TERMINATE_CLUSTER", "STEP_FAILURE", ["FAILED", "CANCELLED"]),
        ("CANCEL_AND_WAIT", "ALL_STEPS_COMPLETED", ["FAILED", "CANCELLED"]),
        ("CONTINUE", "ALL_STEPS_COMPLETED", ["FAILED", "COMPLETED"]),
    ],
)
def test_what_a_failed_step_does_to_the_others(
    cloud: Rehearsed, action: str, code: str, states: list[str]
) -> None:
    cluster = cloud.run(cloud.step("hive", action=action), cloud.step())
    status = cloud.until_state(cluster)
    assert status["StateChangeReason"]["Code"] == code
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == states
    failure = cloud.steps(cluster)[0]["Status"]["FailureDetails"]
    assert failure["Reason"] == "Unknown Error."
    assert "command is hive" in failure["Message"]
    step = cloud.steps(cluster)[0]["Id"]
    assert failure["LogFile"] == f"s3://{BUCKET}/logs/{cluster}/steps/{step}/stderr.gz"
    assert "command is hive" in cloud.log(cluster, f"{step}/stderr.gz")


def test_steps_of_a_cluster_that_is_terminated_are_cancelled(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=600)
    cluster = cloud.run(cloud.step(), cloud.step())
    cloud.until_step(cluster, "RUNNING")
    cloud.end(cluster)
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == ["CANCELLED"] * 2


def test_cancelling_steps(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=600)
    cluster = cloud.kept(*[cloud.step(action="CONTINUE")] * 3)
    cloud.until_step(cluster, "RUNNING")
    running, pending, last = (step["Id"] for step in cloud.steps(cluster))
    told = cloud.emr.cancel_steps(ClusterId=cluster, StepIds=[pending, running])
    assert [one["Status"] for one in told["CancelStepsInfoList"]] == ["SUBMITTED"] * 2
    cloud.until_step(cluster, "RUNNING", index=2)
    states = [step["Status"]["State"] for step in cloud.steps(cluster)]
    assert states == ["CANCELLED", "CANCELLED", "RUNNING"]
    (again,) = cloud.emr.cancel_steps(ClusterId=cluster, StepIds=[pending])["CancelStepsInfoList"]
    assert again["Status"] == "FAILED"
    assert "CANCELLED" in again["Reason"]
    cloud.emr.cancel_steps(
        ClusterId=cluster, StepIds=[last], StepCancellationOption="TERMINATE_PROCESS"
    )
    cloud.until_step(cluster, "CANCELLED", index=2)
    cloud.end(cluster)


def test_instances_of_fleets_and_their_lifetimes(cloud: Rehearsed) -> None:
    cluster = cloud.run(cloud.step(), Instances={"InstanceFleets": [MASTER, CORE, TASK]})
    described = cloud.cluster(cluster)
    assert described["InstanceCollectionType"] == "INSTANCE_FLEET"
    fleets = {
        one["InstanceFleetType"]: one
        for one in cloud.emr.list_instance_fleets(ClusterId=cluster)["InstanceFleets"]
    }
    assert fleets["TASK"]["TargetSpotCapacity"] == 2
    assert fleets["TASK"]["LaunchSpecifications"] == TASK["LaunchSpecifications"]
    status = cloud.until_state(cluster)
    instances = cloud.emr.list_instances(ClusterId=cluster)["Instances"]
    assert len(instances) == 4
    by_fleet = cloud.emr.list_instances(ClusterId=cluster, InstanceFleetId=fleets["TASK"]["Id"])
    assert {(one["Market"], one["InstanceType"]) for one in by_fleet["Instances"]} == {
        ("SPOT", "m5.xlarge"),
        ("SPOT", "m5d.xlarge"),
    }
    for one in instances:
        assert one["Status"]["State"] == "TERMINATED"
        times, whole = one["Status"]["Timeline"], status["Timeline"]
        # They end when the cluster begins to.
        assert (whole["EndDateTime"] - times["EndDateTime"]).total_seconds() == 60
        assert {**times, "EndDateTime": None} == {**whole, "EndDateTime": None}
    running = cloud.emr.list_instances(ClusterId=cluster, InstanceStates=["RUNNING"])
    assert running["Instances"] == []


def test_instances_of_groups(cloud: Rehearsed) -> None:
    groups = [
        {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
        {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 2},
        {
            "InstanceRole": "TASK",
            "InstanceType": "m5.xlarge",
            "InstanceCount": 1,
            "Market": "SPOT",
        },
    ]
    request = cloud.flow(cloud.step())
    request["Instances"] = {"InstanceGroups": groups}
    cluster = cloud.emr.run_job_flow(**request)["JobFlowId"]
    told = cloud.emr.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    kinds = [(one["InstanceGroupType"], one["Market"]) for one in told]
    assert kinds == [("MASTER", "ON_DEMAND"), ("CORE", "ON_DEMAND"), ("TASK", "SPOT")]
    core = cloud.emr.list_instances(ClusterId=cluster, InstanceGroupTypes=["CORE"])["Instances"]
    assert len(core) == 2
    cloud.until_state(cluster)


def test_managed_scaling_grows_by_task_nodes_while_there_are_steps(cloud: Rehearsed) -> None:
    cloud.configure(step_minutes=60)
    limits = {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 1,
        "MaximumCapacityUnits": 4,
        "MaximumCoreCapacityUnits": 1,
        "MaximumOnDemandCapacityUnits": 2,
    }
    policy = {"ComputeLimits": limits}
    cluster = cloud.kept(cloud.step(), ManagedScalingPolicy=policy)
    told = cloud.emr.get_managed_scaling_policy(ClusterId=cluster)["ManagedScalingPolicy"]
    assert told == policy
    cloud.until_step(cluster, "COMPLETED")
    added = cloud.emr.list_instances(ClusterId=cluster, InstanceFleetType="TASK")["Instances"]
    assert sorted(one["Market"] for one in added) == ["ON_DEMAND", "SPOT", "SPOT"]
    began = cloud.steps(cluster)[0]["Status"]["Timeline"]["StartDateTime"]
    for one in added:
        ready = one["Status"]["Timeline"]["ReadyDateTime"]
        assert (ready - began).total_seconds() == pytest.approx(210, abs=0.01)

    def gone() -> bool:
        left = cloud.emr.list_instances(ClusterId=cluster, InstanceStates=["RUNNING"])
        return len(left["Instances"]) == 2

    cloud.until(gone)
    cloud.emr.remove_managed_scaling_policy(ClusterId=cluster)
    told = cloud.emr.get_managed_scaling_policy(ClusterId=cluster)
    assert "ManagedScalingPolicy" not in told
    cloud.end(cluster)


def test_a_protected_cluster_lives_until_it_is_released(cloud: Rehearsed) -> None:
    cluster = cloud.kept(Instances={"TerminationProtected": True})
    with pytest.raises(cloud.emr.exceptions.ClientError, match="are termination protected"):
        cloud.emr.terminate_job_flows(JobFlowIds=[cluster])
    assert cloud.until_state(cluster, "WAITING")
    cloud.emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=False)
    cloud.end(cluster)


def test_what_can_be_changed_while_it_lives(cloud: Rehearsed) -> None:
    cluster = cloud.kept(cloud.step("hive", action="CONTINUE"), Tags=[{"Key": "a", "Value": "1"}])
    emr = cloud.emr
    emr.add_tags(ResourceId=cluster, Tags=[{"Key": "b", "Value": "2"}])
    emr.remove_tags(ResourceId=cluster, TagKeys=["a"])
    assert (
        emr.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=5)["StepConcurrencyLevel"] == 5
    )
    described = cloud.cluster(cluster)
    assert described["Tags"] == [{"Key": "b", "Value": "2"}]
    assert described["StepConcurrencyLevel"] == 5
    assert described["AutoTerminate"] is False
    cloud.until_state(cluster, "WAITING")
    emr.set_keep_job_flow_alive_when_no_steps(
        JobFlowIds=[cluster], KeepJobFlowAliveWhenNoSteps=False
    )
    reason = cloud.until_state(cluster)["StateChangeReason"]
    assert reason["Message"] == "Steps completed with errors"
