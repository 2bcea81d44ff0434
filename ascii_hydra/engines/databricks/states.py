"""What a run of Databricks is doing, from its two accounts of it. Pure.

`state` (life cycle and result) is on every run; `status` is newer, and says in its termination
details why a run has ended. Both are read as plain text: "additional states might be introduced".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Stage(Enum):
    """Where a run is."""

    queued = "queued"
    starting = "starting"
    running = "running"
    ending = "ending"
    ended = "ended"


class Result(Enum):
    """How a run has ended."""

    success = "success"
    failed = "failed"
    timed_out = "timed out"
    cancelled = "cancelled"
    skipped = "skipped"
    upstream = "upstream"
    internal = "internal"


WAITING = (Stage.queued, Stage.starting)
_LIFE_CYCLE = {
    "QUEUED": Stage.queued,
    "BLOCKED": Stage.queued,
    "WAITING_FOR_RETRY": Stage.queued,
    "WAITING": Stage.queued,
    "PENDING": Stage.starting,
    "RUNNING": Stage.running,
    "TERMINATING": Stage.ending,
    "TERMINATED": Stage.ended,
    "SKIPPED": Stage.ended,
    "INTERNAL_ERROR": Stage.ended,
}
_RESULT = {
    "SUCCESS": Result.success,
    # Of one task that has failed nothing is a success.
    "SUCCESS_WITH_FAILURES": Result.failed,
    "FAILED": Result.failed,
    "TIMEDOUT": Result.timed_out,
    "CANCELED": Result.cancelled,
    "MAXIMUM_CONCURRENT_RUNS_REACHED": Result.skipped,
    "EXCLUDED": Result.skipped,
    "DISABLED": Result.skipped,
    "UPSTREAM_FAILED": Result.upstream,
    "UPSTREAM_CANCELED": Result.upstream,
}
_OF_LIFE_CYCLE = {"SKIPPED": Result.skipped, "INTERNAL_ERROR": Result.internal}
# Of a run that has `status` alone.
_OF_CODE = {
    "SUCCESS": Result.success,
    "USER_CANCELED": Result.cancelled,
    "CANCELED": Result.cancelled,
    "SKIPPED": Result.skipped,
    "DISABLED": Result.skipped,
    "MAX_CONCURRENT_RUNS_EXCEEDED": Result.skipped,
    "MAX_JOB_QUEUE_SIZE_EXCEEDED": Result.skipped,
    "INTERNAL_ERROR": Result.internal,
}


@dataclass(frozen=True)
class RunState:
    """What a run is doing.

    Attributes:
        stage: where it is. A state that is not known counts as running, which is borne longest.
        result: how it has ended; None before.
        told: Databricks' own words for it: `TERMINATED FAILED`.
        code, kind: of the termination details: `CLOUD_FAILURE`, and whose fault it is:
            `CLIENT_ERROR`, `CLOUD_FAILURE`, `INTERNAL_ERROR`; empty if there are none.
        messages: what Databricks adds, if anything.
    """

    stage: Stage
    result: Result | None
    told: str
    code: str
    kind: str
    messages: tuple[str, ...]


def state_of(run: Mapping[str, Any]) -> RunState:
    """The state of a run, or of the run of a task; of nothing, that of a queued one."""
    state, status = run.get("state") or {}, run.get("status") or {}
    details = status.get("termination_details") or {}
    cycle = str(state.get("life_cycle_state") or status.get("state") or "")
    result, code = str(state.get("result_state") or ""), str(details.get("code") or "")
    stage = _LIFE_CYCLE.get(cycle, Stage.running) if cycle else Stage.queued
    told = " ".join(filter(None, (cycle, result if result else code)))
    queue = status.get("queue_details") or {}
    messages = (
        *(details.get("message"), state.get("state_message")),
        *(state.get("queue_reason"), queue.get("message")),
    )
    said = dict.fromkeys(str(one).strip() for one in messages if one and str(one).strip())
    return RunState(
        stage=stage,
        result=_result(cycle, result, code) if stage is Stage.ended else None,
        told=told,
        code=code,
        kind=str(details.get("type") or ""),
        messages=tuple(said),
    )


def work_of(run: Mapping[str, Any]) -> RunState:
    """The state of a run of one task, by what the task does: the run as a whole may be called
    running while its cluster starts."""
    whole, tasks = state_of(run), run.get("tasks") or ()
    if whole.stage is Stage.ended or not tasks:
        return whole
    task = state_of(tasks[0])
    if task.stage is not Stage.ended:
        return task
    return RunState(Stage.ending, None, task.told, task.code, task.kind, task.messages)


def task_of(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one task of a run, with a run id of its own; empty if it is not told (yet)."""
    found: Mapping[str, Any] = next(iter(run.get("tasks") or ()), {})
    return found


def cluster_id_of(run: Mapping[str, Any]) -> str | None:
    """Id of the cluster that a run has, or had."""
    for one in (task_of(run), run):
        found = (one.get("cluster_instance") or {}).get("cluster_id")
        if found:
            return str(found)
    return None


def has_executed(run: Mapping[str, Any]) -> bool:
    """Its own account shows that it has executed, whether it tells for how long or not."""
    state = work_of(run)
    return state.stage is Stage.running or state.result is Result.success


def _result(cycle: str, result: str, code: str) -> Result:
    """How a run has ended: any that is not known has failed."""
    if cycle in _OF_LIFE_CYCLE:
        return _OF_LIFE_CYCLE[cycle]
    if result:
        return _RESULT.get(result, Result.failed)
    return _OF_CODE.get(code, Result.failed)
