"""Clusters that serve all steps of a launch."""

from __future__ import annotations

from ascii_hydra.engines.emr.shared import close_shared

SILENT = "pass"


def run(bench, name, launch, **settings):
    request = bench.request(name, SILENT, shared=True, log_wait_s=0.0, **settings)
    return bench.run(request, bench.client(launch_id=launch))


def test_another_specification_gets_another_cluster_and_the_log_says_why(bench, cloud):
    run(bench, "one", "differing")
    run(bench, "two", "differing")
    assert any("two: uses the launch's cluster j-" in line for line in bench.told)
    assert cloud.calls("RunJobFlow") == 1
    run(bench, "three", "differing", flow={"EbsRootVolumeSize": 30})
    assert cloud.calls("RunJobFlow") == 2
    (why,) = [line for line in bench.told if "starts another cluster" in line]
    assert why.endswith("of this launch differs in EbsRootVolumeSize")
    assert len(cloud.alive()) == 2
    run(bench, "four", "another-launch")
    assert len(cloud.alive()) == 3
    assert close_shared("differing") == ()
    (left,) = cloud.alive()
    assert left == cloud.clusters("another-launch")[0]["Id"]
    assert close_shared() == ()
    assert cloud.alive() == []


def test_a_cluster_that_is_gone_is_replaced(bench, cloud):
    run(bench, "first", "idle")
    cloud.emr.terminate_job_flows(JobFlowIds=cloud.alive())
    ended = run(bench, "second", "idle")
    assert "without any Dagster Pipes message" in ended.cause  # it ran
    assert any("takes no more steps" in line for line in bench.told)
    assert len(cloud.clusters("idle")) == 2
    assert len(cloud.alive()) == 1


def test_a_full_cluster_is_replaced(bench, cloud):
    cloud.behave(
        {
            "target": "AddJobFlowSteps",
            "effect": "refused",
            "code": "ValidationException",
            "message": "Maximum number of active steps(State = 'Running', 'Pending' or"
            " 'Cancel_Pending') for cluster exceeded.",
        }
    )
    ended = run(bench, "full", "crowded")
    assert "without any Dagster Pipes message" in ended.cause
    assert any("as many steps as EMR allows" in line for line in bench.told)
    assert close_shared("crowded") == ()
    assert cloud.alive() == []


def test_a_step_that_emr_refuses_is_no_reason_for_another_cluster(bench, cloud):
    cloud.behave(
        {
            "target": "AddJobFlowSteps",
            "effect": "refused",
            "code": "ValidationException",
            "message": "The total length of the step's strings exceeds 10240.",
        }
    )
    ended = run(bench, "refused", "strict")
    assert "ValidationException: The total length" in ended.cause
    assert cloud.calls("RunJobFlow") == 1
    assert cloud.calls("AddJobFlowSteps") == 1


def test_a_cluster_made_by_another_process_of_the_launch_is_used(bench, cloud):
    run(bench, "here", "both")
    from ascii_hydra.engines.emr import shared

    entries = dict(shared._SHARED)
    shared._SHARED.clear()  # as it is in a process that has just begun
    try:
        run(bench, "there", "both")
        assert cloud.calls("RunJobFlow") == 1
        assert any("which another process has made" in line for line in bench.told)
        close_shared("both")
        assert len(cloud.alive()) == 1  # it is not this process's
    finally:
        shared._SHARED.update(entries)


def test_an_existing_cluster_is_used_and_never_terminated(bench, cloud):
    flow = bench.request("host", shared=True).run_job_flow
    cluster_id = cloud.emr.run_job_flow(**flow)["JobFlowId"]
    ended = bench.run(bench.request("guest", cluster_id=cluster_id, run_job_flow=None))
    assert ended.green, ended.cause
    assert ended.materialized["emr/cluster_id"] == cluster_id
    assert cloud.alive() == [cluster_id]
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_a_cluster_that_does_not_start_in_time_is_replaced(bench, cloud):
    cloud.behave(provisioning_seconds=7200)
    ended = run(bench, "late", "slow", start_timeout_s=1800.0)
    assert "its cluster was still STARTING after 30 min" in ended.cause
    assert cloud.alive() == []
    cloud.behave()
    run(bench, "next", "slow")
    assert cloud.calls("RunJobFlow") == 2


def test_a_cluster_that_runs_another_processs_step_is_left(bench, cloud):
    run(bench, "mine", "mixed")
    (cluster_id,) = cloud.alive()
    cloud.behave(step_minutes=600, speed=10)
    step = bench.request("theirs", shared=True).step_config
    (theirs,) = cloud.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])["StepIds"]
    (told,) = close_shared("mixed")
    assert f"{cluster_id} is left to its idle timeout" in told
    assert theirs in told
    assert cloud.alive() == [cluster_id]
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_a_cluster_that_an_unclear_call_makes_late_is_ended_too(bench, cloud):
    cloud.behave({"target": "RunJobFlow", "effect": "server_error"})
    run(bench, "once", "doubted")
    (made,) = cloud.alive()
    tags = cloud.emr.describe_cluster(ClusterId=made)["Cluster"]["Tags"]
    flow = bench.request("once", shared=True).run_job_flow
    name = cloud.clusters("doubted")[0]["Name"]
    cloud.emr.run_job_flow(**{**flow, "Name": name, "Tags": tags})
    assert len(cloud.alive()) == 2
    assert close_shared("doubted") == ()
    assert cloud.alive() == []
