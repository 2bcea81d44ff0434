"""Every state that Databricks knows means something, and nothing but SUCCESS is a success."""

from __future__ import annotations

import pytest
from databricks.sdk.service.jobs import (
    QueueDetailsCodeCode,
    RunLifeCycleState,
    RunLifecycleStateV2State,
    RunResultState,
    TerminationCodeCode,
    TerminationTypeType,
)

from ascii_hydra.engines.databricks.explain import Evidence, cause, is_in_vain, may_pass
from ascii_hydra.engines.databricks.states import Result, Stage, cluster_id_of, state_of, work_of

STAGES = {
    "QUEUED": Stage.queued,
    "BLOCKED": Stage.queued,
    "WAITING": Stage.queued,
    "WAITING_FOR_RETRY": Stage.queued,
    "PENDING": Stage.starting,
    "RUNNING": Stage.running,
    "TERMINATING": Stage.ending,
    "TERMINATED": Stage.ended,
    "SKIPPED": Stage.ended,
    "INTERNAL_ERROR": Stage.ended,
}
RESULTS = {
    "SUCCESS": Result.success,
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


def old(cycle, result=None, message=""):
    return {"state": {"life_cycle_state": cycle, "result_state": result, "state_message": message}}


def new(state, code=None, kind=None, message=""):
    details = {"code": code, "type": kind, "message": message}
    return {"status": {"state": state, "termination_details": details if code else None}}


@pytest.mark.parametrize("cycle", [one.value for one in RunLifeCycleState])
def test_every_life_cycle_state(cycle):
    assert state_of(old(cycle)).stage is STAGES[cycle]
    ended = STAGES[cycle] is Stage.ended
    assert (state_of(old(cycle)).result is not None) == ended


@pytest.mark.parametrize("state", [one.value for one in RunLifecycleStateV2State])
def test_every_newer_state(state):
    assert state_of(new(state)).stage is STAGES[state]


@pytest.mark.parametrize("result", [one.value for one in RunResultState])
def test_every_result(result):
    assert state_of(old("TERMINATED", result)).result is RESULTS[result]
    assert state_of(old("RUNNING", result)).result is None
    internal = state_of(old("INTERNAL_ERROR", result)).result
    assert internal is Result.internal


@pytest.mark.parametrize("kind", [one.value for one in TerminationTypeType])
@pytest.mark.parametrize("code", [one.value for one in TerminationCodeCode])
def test_every_termination_code(code, kind):
    """Green for SUCCESS alone; every other one is a sentence, and the same for each account."""
    newer = new("TERMINATED", code, kind, "So it is.")
    assert (state_of(newer).result is Result.success) == (code == "SUCCESS")
    if code == "SUCCESS":
        return
    both = {**newer, **old("TERMINATED", "FAILED", "So it is.")}
    for run in (newer, both):
        evidence = Evidence(step="step_1", run=run)
        told = cause(evidence)
        assert told is not None
        assert told.startswith("step_1 ")
        assert "{" not in told
        assert not (may_pass(evidence) and is_in_vain(evidence))
        if state_of(run).result in (Result.failed, Result.internal):
            assert may_pass(evidence) == (kind in ("CLOUD_FAILURE", "INTERNAL_ERROR"))


@pytest.mark.parametrize("code", [one.value for one in QueueDetailsCodeCode])
def test_why_a_run_is_queued(code):
    run = {"status": {"state": "QUEUED", "queue_details": {"code": code, "message": "Too many."}}}
    assert state_of(run).messages == ("Too many.",)


def test_states_of_the_future():
    """They are borne with, and are no success."""
    assert state_of(old("HIBERNATING")).stage is Stage.running
    assert state_of(old("TERMINATED", "SPLENDID")).result is Result.failed
    assert state_of(new("TERMINATED", "SPLENDID", "SPLENDID")).result is Result.failed
    assert state_of({}).stage is Stage.queued


def test_the_task_says_what_is_done():
    run = {**old("RUNNING"), "tasks": [{**old("PENDING"), "cluster_instance": {}}]}
    assert work_of(run).stage is Stage.starting
    assert cluster_id_of(run) is None
    over = {**old("RUNNING"), "tasks": [old("TERMINATED", "SUCCESS")]}
    assert work_of(over).stage is Stage.ending
    assert work_of({**old("TERMINATED", "SUCCESS"), "tasks": []}).result is Result.success
