"""Submitting exactly once: by the API's idempotency token, and by looking if that is not enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ascii_hydra.engines.calls import CallFault, pause_s
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.parameters import pipes_uri
from ascii_hydra.engines.databricks.states import task_of
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.pipes_run import StepError
from ascii_hydra.engines.still_running import StillRunning

ACTIVE_RUNS = "databricks jobs list-runs --active-only --run-type SUBMIT_RUN"
"""The command that shows whether a run is left."""
LOOKS_S = (0.0, 1.0, 3.0, 6.0)
"""Pauses, in seconds, before each look for a new run: runs/list may show it with some delay."""
# Of an answer that does not say which run it is.
_NO_RUN_ID = (KeyError, TypeError)
_NAMELESS = CallFault("NoRunId", "its answer names no run", transient=True)
_UNCLEAR_ATTEMPTS = 5
_PATIENCE_S = 10 * 60.0  # with throttling
_CLOCKS_DIFFER_S = 300.0


class StoppedError(InterruptedError):
    """The launch was stopped before anything was submitted."""


class UnclearError(StepError):
    """Nobody can tell whether something was submitted.

    Args:
        why: a clause for people.
    """

    def __init__(self, why: str) -> None:
        super().__init__(
            f"may or may not have been submitted: {why}. Look whether a run is left: {ACTIVE_RUNS}"
        )
        self.left = perhaps_a_run(why)


def perhaps_a_run(why: str) -> StillRunning:
    """A run that a call without a clear answer may have made."""
    return StillRunning("a run that may have been submitted", why, ACTIVE_RUNS)


def submitted_run(
    api: Databricks,
    body: Mapping[str, Any],
    found: Callable[[], int | None],
    doubt: Callable[[], None] = lambda: None,
) -> int:
    """Id of the one run that runs/submit has made.

    A call without a clear answer is made again: with the same idempotency token it gives the run
    that it has made before. ("If a run with the provided token already exists, the request does
    not create a new run but returns the ID of the existing run instead.")

    Args:
        api: where.
        body: the request, with its idempotency token.
        found: looks for the run, should no call give a clear answer.
        doubt: is told of every call that may have made it.

    Raises:
        StoppedError: stopped, and nothing is submitted.
        UnclearError: no reply came several times, or once and then no other call could be made,
            and nothing is to be found.
        DATABRICKS_FAULTS: the call was refused, or throttled for ten minutes.
    """
    deadline = api.clock.local.now() + _PATIENCE_S
    failures, unclear = 0, list[str]()
    while True:
        if api.stop.is_set():
            if not unclear:
                raise StoppedError
            return _looked_up(api, found, f"{unclear[-1]}, and was not asked again, being stopped")
        try:
            return api.submitted(body)
        except (*DATABRICKS_FAULTS, *_NO_RUN_ID) as raised:
            fault = _NAMELESS if isinstance(raised, _NO_RUN_ID) else fault_of(raised)
            failures += 1
            if not fault.transient or (fault.undone and api.clock.local.now() > deadline):
                if not unclear:
                    raise
                return _looked_up(api, found, f"{unclear[-1]}, and then {fault.words}")
            if not fault.undone:
                unclear.append(f"Databricks gave no clear answer ({fault.words})")
                doubt()
                if len(unclear) >= _UNCLEAR_ATTEMPTS:
                    return _looked_up(api, found, unclear[-1])
            wait_s = max(pause_s(failures), fault.retry_after_s or 0.0)
        api.clock.sleep(wait_s, api.stop)


def _looked_up(api: Databricks, found: Callable[[], int | None], why: str) -> int:
    # Even if stopped meanwhile: what was made is wanted all the more, to be ended.
    for pause in LOOKS_S:
        api.clock.sleep(pause, threading.Event())
        try:
            made = found()
        except DATABRICKS_FAULTS as raised:
            words = fault_of(raised).words
            raise UnclearError(f"{why}, and cannot be looked up ({words})") from raised
        if made is not None:
            return made
    raise UnclearError(why)


def runs_made(
    api: Databricks, name: str, uri: str | None, since: float, *, active: bool = False
) -> list[int]:
    """Ids of the runs that calls of runs/submit with this name and Pipes URI have made, newest
    first; with patience.

    Args:
        api: where.
        name: the run_name.
        uri: where the messages go, which names one attempt.
        since: seconds since the epoch, before the first call.
        active: only those that have not ended.
    """

    def runs() -> list[Mapping[str, Any]]:
        return list(api.runs(active=active, since=since - _CLOCKS_DIFFER_S, tasks=True))

    return [
        int(one["run_id"])
        for one in api.patient(runs)
        if uri is not None and one.get("run_name") == name and pipes_uri(task_of(one)) == uri
    ]


def living(api: Databricks, token: str) -> Iterator[Mapping[str, Any]]:
    """Runs that earlier attempts at the same step have left, newest first; with patience."""
    for one in api.patient(lambda: list(api.runs(active=True, tasks=True))):
        if token in str(one.get("run_name", "")) and pipes_uri(task_of(one)) is not None:
            yield one
