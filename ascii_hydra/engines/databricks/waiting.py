"""Waiting for the end of a run, within the limits that were set for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.job import Job
from ascii_hydra.engines.databricks.states import WAITING, Stage, state_of, task_of, work_of
from ascii_hydra.engines.databricks.watcher import Look, watched_run
from ascii_hydra.engines.pipes_folder import FolderReader
from ascii_hydra.engines.watched import looks
from ascii_hydra.engines.wording import duration_words, shortened


def waited(
    api: Databricks,
    job: Job,
    request: DatabricksRequest,
    reader: FolderReader,
    *,
    see: Callable[[Look], None],
    warn: Callable[[str], None],
) -> tuple[Look, str | None]:
    """The last look at a run: it has ended, or must be ended for the reason that is given, which is
    the end of a sentence.

    Args:
        api: where.
        job: the run.
        request: its limits.
        reader: of its messages.
        see: is told of every look.
        warn: is told of an outage.

    Raises:
        InterruptedError: stopped.
        WatchingFailedError: nobody knows what the run does.
        Whatever ended the reading of its messages.
    """
    assert job.run_id is not None
    begun_at: float | None = None
    with watched_run(api, job.run_id, longest_s=request.poll_s, warn=warn) as watched:
        for look in looks(watched, reader, api.stop, request.step):
            see(look)
            if state_of(look.run).stage is Stage.ended:
                return look, None
            if begun_at is None and (reader.report.opened or _works(look.run)):
                begun_at = _began_at(look)
            own = limit_passed(look, begun_at, job.submitted_at, request)
            if own is not None:
                return look, own
    raise AssertionError("looks end by raising alone")


def limit_passed(
    look: Look, begun_at: float | None, submitted_at: float, request: DatabricksRequest
) -> str | None:
    """Which limit a run has passed, as the end of a sentence, or None.

    Args:
        look: the last one.
        begun_at: when the step began to work, seconds since the epoch; None if it has not.
        submitted_at: when the run was submitted, should Databricks not say it.
        request: the limits.
    """
    if begun_at is not None:
        if look.at - begun_at <= request.timeout_s:
            return None
        return (
            f"was stopped after its time limit of {duration_words(request.timeout_s)}: look at its"
            " run page for what it was waiting for, or raise engine.timeout_minutes."
        )
    since = _seconds(look.run, "start_time") or submitted_at
    state = work_of(look.run)
    if state.stage not in WAITING or look.at - since <= request.start_timeout_s:
        return None
    limit = duration_words(request.start_timeout_s)
    said = f" ({shortened(state.messages[0]).rstrip('.')})" if state.messages else ""
    if state.stage is Stage.queued:
        return (
            f"never began: its run was still {state.told} after {limit}{said}, and was cancelled:"
            " end other runs of the workspace, or raise engine.start_timeout_minutes."
        )
    if request.cluster_id is not None:
        return (
            f"never began: cluster {request.cluster_id} had not taken it after {limit}{said}, and"
            " it was cancelled: look at the cluster, or raise engine.start_timeout_minutes."
        )
    return (
        f"never began: its run was still {state.told} after {limit}{said}, most often because EC2"
        " has no capacity: choose other node types (cluster.driver_node_type,"
        " cluster.worker_node_type) or cluster.zone=auto, or raise engine.start_timeout_minutes."
    )


def _works(run: Mapping[str, Any]) -> bool:
    return work_of(run).stage not in WAITING


def _began_at(look: Look) -> float:
    """When the step began to work: its cluster was there."""
    task = task_of(look.run)
    start, setup = _seconds(task, "start_time"), _seconds(task, "setup_duration")
    if start is None or setup is None:
        return look.at
    queued = _seconds(task, "queue_duration") or _seconds(look.run, "queue_duration") or 0.0
    # A start_time that has the queue behind it already must not put it off.
    return min(start + queued + setup, look.at)


def _seconds(of: Mapping[str, Any], name: str) -> float | None:
    found = of.get(name)
    return float(found) / 1000 if found else None
