"""Runs as Databricks' API tells them."""

from __future__ import annotations

from typing import Any

from ascii_hydra.rehearsal.databricks_cluster import USER
from ascii_hydra.rehearsal.databricks_execution import kept_logs
from ascii_hydra.rehearsal.databricks_login import WORKSPACE_ID
from ascii_hydra.rehearsal.databricks_runs import Run, message_of_run

# What the task's own run says of itself in its output.
_OF_TASK = (
    *("run_id", "run_page_url", "start_time", "end_time", "attempt_number", "state", "status"),
    *("setup_duration", "execution_duration", "cleanup_duration", "cluster_instance"),
)
_ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")


def run_as_json(run: Run, url: str, *, tasks: bool) -> dict[str, Any]:
    """A run as jobs/runs/get and jobs/runs/list tell it.

    Args:
        run: which.
        url: of the workspace.
        tasks: with its task.
    """
    told = {
        "job_id": run.job_id,
        "run_id": run.id,
        "job_run_id": run.id,
        "number_in_job": run.id,
        "creator_user_name": USER,
        "run_name": run.body.get("run_name", "Untitled"),
        "run_page_url": f"{url}/?o={WORKSPACE_ID}#job/{run.job_id}/run/{run.id}",
        "run_type": "SUBMIT_RUN",
        "trigger": "ONE_TIME",
        "start_time": _ms(run.started),
        "end_time": _ms(run.ended),
        # Of several tasks, each has durations of its own, and the whole has only one.
        "setup_duration": 0,
        "execution_duration": 0,
        "cleanup_duration": 0,
        **_whole(run),
        **_states(run, message_of_run(run)),
    }
    if tasks:
        told["tasks"] = [task_as_json(run, url)]
    return told


def task_as_json(run: Run, url: str) -> dict[str, Any]:
    """The one task of a run."""
    told: dict[str, Any] = {
        "run_id": run.task_run_id,
        **{key: one for key, one in run.task.items() if key != "health"},
        "run_page_url": f"{url}/?o={WORKSPACE_ID}#job/{run.job_id}/run/{run.task_run_id}",
        "start_time": _ms(run.started),
        "end_time": _ms(run.ended),
        "attempt_number": 0,
        **_durations(run),
        **_states(run, run.message),
    }
    if run.cluster is not None:
        instance = {"cluster_id": run.cluster.id}
        if run.cluster.running_since is not None or run.script_started is not None:
            instance["spark_context_id"] = str(run.cluster.context_id)
        told["cluster_instance"] = instance
    return told


def output_as_json(run: Run, url: str) -> dict[str, Any]:
    """What jobs/runs/get-output tells of a run's task."""
    task = task_as_json(run, url)
    metadata: dict[str, Any] = {
        "job_id": run.job_id,
        "number_in_job": run.task_run_id,
        "creator_user_name": USER,
        "run_name": run.task["task_key"],
        "run_type": "SUBMIT_RUN",
    }
    metadata |= {key: task[key] for key in _OF_TASK if key in task}
    told: dict[str, Any] = {"metadata": metadata}
    outcome = run.outcome
    if outcome is not None:
        told |= {"logs": kept_logs(outcome), "logs_truncated": outcome.truncated}
        if outcome.error and run.result == "FAILED":
            told |= {"error": outcome.error, "error_trace": outcome.trace}
    if "error" not in told and run.result not in ("", "SUCCESS") and run.message:
        told["error"] = run.message
    return told


def _states(run: Run, message: str) -> dict[str, Any]:
    """Its state as the API tells it, and as it used to."""
    state: dict[str, Any] = {
        "life_cycle_state": run.state,
        "state_message": "" if run.active else message,
        "user_cancelled_or_timedout": run.stopped_by_others and not run.active,
    }
    status: dict[str, Any] = {"state": "TERMINATED" if run.state in _ENDED else run.state}
    if run.state == "QUEUED":
        why = "Queued due to reaching the maximum of concurrent runs in the workspace."
        state["queue_reason"] = why
        status["queue_details"] = {"code": "ACTIVE_RUNS_LIMIT_REACHED", "message": why}
    if not run.active:
        if run.result:
            state["result_state"] = run.result
        details = {"code": run.code, "type": run.kind, "message": message}
        status["termination_details"] = details
    return {"state": state, "status": status}


def _whole(run: Run) -> dict[str, int]:
    whole = {} if run.ended is None else {"run_duration": _ms(run.ended) - _ms(run.started)}
    if run.queued_until is not None:
        whole["queue_duration"] = _ms(run.queued_until) - _ms(run.started)
    return whole


def _durations(run: Run) -> dict[str, int]:
    begun = run.started if run.queued_until is None else run.queued_until
    script, left = run.script_started, run.script_ended
    told = {"setup_duration": 0, "execution_duration": 0, "cleanup_duration": 0}
    if script is not None:
        told["setup_duration"] = _ms(script) - _ms(begun)
    if script is not None and left is not None:
        told["execution_duration"] = _ms(left) - _ms(script)
    if left is not None and run.ended is not None:
        told["cleanup_duration"] = _ms(run.ended) - _ms(left)
    return {**told, **_whole(run)}


def _ms(seconds: float | None) -> int:
    """Milliseconds since the epoch; 0 for what has not happened."""
    return 0 if seconds is None else int(seconds * 1000)
