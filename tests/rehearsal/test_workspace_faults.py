"""Each fault of a cluster or step that a rule can ask for, as a run on Databricks meets it."""

from __future__ import annotations

import pytest

from tests.rehearsal.conftest import Rehearsed, step_processes
from tests.rehearsal.workspace import CLUSTER, QUICK, SLEEPER, Workspace, result, termination


@pytest.mark.parametrize(
    ("effect", "run_ends", "cluster_ends"),
    [
        (
            "no_capacity",
            ("CLOUD_FAILURE", "CLOUD_FAILURE"),
            ("AWS_INSUFFICIENT_INSTANCE_CAPACITY_FAILURE", "CLOUD_FAILURE"),
        ),
        (
            "validation_error",
            ("INVALID_CLUSTER_REQUEST", "CLIENT_ERROR"),
            ("INVALID_ARGUMENT", "CLIENT_ERROR"),
        ),
        (
            "bootstrap_failure",
            ("CLUSTER_ERROR", "CLIENT_ERROR"),
            ("INIT_SCRIPT_FAILURE", "CLIENT_ERROR"),
        ),
        (
            "start_failure",
            ("CLUSTER_ERROR", "INTERNAL_ERROR"),
            ("INTERNAL_ERROR", "SERVICE_FAULT"),
        ),
        (
            "library_failure",
            ("LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR"),
            ("JOB_FINISHED", "SUCCESS"),
        ),
    ],
)
def test_clusters_that_do_not_start(
    cloud: Rehearsed,
    workspace: Workspace,
    effect: str,
    run_ends: tuple[str, str],
    cluster_ends: tuple[str, str],
) -> None:
    cloud.goes_wrong("cluster", effect)
    run = workspace.ended(workspace.body())
    assert run.state.life_cycle_state.value == "INTERNAL_ERROR"
    assert (result(run), termination(run)) == ("FAILED", run_ends)
    assert run.tasks[0].execution_duration == 0
    cluster = workspace.sdk.clusters.get(run.tasks[0].cluster_instance.cluster_id)
    reason = cluster.termination_reason
    assert (reason.code.value, reason.type.value) == cluster_ends
    if effect != "library_failure":
        assert cluster_ends[0] in run.state.state_message
    assert workspace.output(run).error == run.tasks[0].state.state_message
    assert result(workspace.ended(workspace.body())) == "SUCCESS", "the next one is fine"


def test_a_cluster_that_loses_its_instances_while_a_script_runs(
    cloud: Rehearsed, workspace: Workspace
) -> None:
    cloud.goes_wrong("cluster", "instance_failure", seconds=20)
    cloud.configure(step_minutes=600, faults=_rules(cloud))
    run = workspace.ended(workspace.body())
    assert termination(run) == ("CLUSTER_ERROR", "CLOUD_FAILURE")
    assert "was terminated during the run" in run.state.state_message


def _rules(cloud: Rehearsed):
    from ascii_hydra.rehearsal.settings import rules_from_json

    return rules_from_json(cloud.get("config")["faults"])


def test_without_spot_capacity_there_is_a_fallback(cloud: Rehearsed, workspace: Workspace) -> None:
    spot = {**CLUSTER, "aws_attributes": {"availability": "SPOT"}}
    cloud.goes_wrong("cluster", "no_capacity", code="SPOT", times=2)
    assert result(workspace.ended(workspace.body())) == "SUCCESS"
    run = workspace.ended(workspace.body(task_new_cluster=spot))
    assert termination(run)[0] == "CLOUD_FAILURE"


@pytest.mark.parametrize(
    ("availability", "ended"), [("SPOT", "CLOUD_FAILURE"), ("ON_DEMAND", "SUCCESS")]
)
def test_a_pool_on_spot_has_no_fallback(
    cloud: Rehearsed, workspace: Workspace, availability: str, ended: str
) -> None:
    body = {
        "instance_pool_name": availability,
        "node_type_id": CLUSTER["node_type_id"],
        "aws_attributes": {"availability": availability},
    }
    pool = workspace.call("POST", "2.0/instance-pools/create", body=body)["instance_pool_id"]
    spec = {key: one for key, one in CLUSTER.items() if key in ("spark_version", "num_workers")}
    cloud.goes_wrong("cluster", "no_capacity", code="SPOT", times=1)
    run = workspace.ended(workspace.body(task_new_cluster={**spec, "instance_pool_id": pool}))
    assert termination(run)[0] == ended
    workspace.sdk.instance_pools.delete(pool)


def test_a_run_waits_in_a_queue(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.goes_wrong("step", "queued", seconds=3600)
    body = workspace.body(QUICK)
    run = workspace.submit(body)
    told = workspace.sdk.jobs.get_run(run)
    assert told.state.life_cycle_state.value == told.status.state.value == "QUEUED"
    assert told.status.queue_details.code.value == "ACTIVE_RUNS_LIMIT_REACHED"
    assert told.tasks[0].cluster_instance is None
    ended = workspace.until(run)
    assert (result(ended), ended.queue_duration) == ("SUCCESS", 3_600_000)
    cloud.goes_wrong("step", "queued", seconds=1_000_000)
    run = workspace.submit(body)
    workspace.sdk.jobs.cancel_run(run)
    assert result(workspace.until(run)) == "CANCELED"


def test_a_run_that_is_skipped(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.goes_wrong("step", "skipped")
    run = workspace.ended(workspace.body())
    assert (result(run), termination(run)[0]) == ("SKIPPED", "SKIPPED")


def test_a_driver_that_is_killed_has_begun(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.goes_wrong("step", "step_killed", seconds=0.5)
    run = workspace.ended(workspace.body(SLEEPER))
    output = workspace.output(run)
    assert output.logs == "begun\n"
    assert output.error.startswith("The Python process exited unexpectedly with exit code 137")
    assert (result(run), step_processes()) == ("FAILED", [])
