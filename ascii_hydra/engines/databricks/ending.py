"""Ending what was started, and seeing it end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from databricks.sdk.errors import NotFound

from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.states import Stage, cluster_id_of, state_of, task_of
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.still_running import StillRunning

_CALL_PATIENCE_S = 120.0
# Databricks cancels "asynchronously": a cluster that is starting takes its time.
_SEEING_S = 5 * 60.0
_CLUSTER_SEEING_S = 60.0
_PAUSE_S = 0.5
_LEAVING = {"TERMINATING", "TERMINATED", "ERROR"}


def cancelled_run(
    api: Databricks, run_id: int, see: Callable[[Mapping[str, Any]], None] = lambda _run: None
) -> StillRunning | None:
    """Cancel a run and see it end, and its job cluster leave; what may still run, or None.

    Args:
        api: where; its stop does not matter.
        run_id: the run.
        see: is told what runs/get says of it, every time.
    """
    out = api.on_the_way_out()
    seen: list[Mapping[str, Any]] = []

    def ended() -> bool:
        seen.append(out.run(run_id))
        see(seen[-1])
        return state_of(seen[-1]).stage is Stage.ended

    # Before anybody looks: it costs nothing if the run has ended, and if it cannot be looked at it
    # ends all the same.
    why = _refused(out, run_id)
    try:
        if not out.patient(ended, _CALL_PATIENCE_S):
            why = why or _unseen(out, ended, _SEEING_S)
        else:
            why = None
    except DATABRICKS_FAULTS as raised:
        why = why or fault_of(raised).words
    if why is not None:
        return run_left(run_id, why)
    return left_cluster(api, seen[-1])


def run_left(run_id: int, why: str) -> StillRunning:
    """A run that could not be ended."""
    return StillRunning(f"run {run_id}", why, f"databricks jobs cancel-run {run_id}")


def left_cluster(api: Databricks, run: Mapping[str, Any]) -> StillRunning | None:
    """Once a run has ended: see its job cluster leave, as it does by itself, else terminate it;
    what may still run, or None.

    Args:
        api: where; its stop does not matter.
        run: what runs/get says of it.
    """
    cluster_id = cluster_id_of(run)
    if cluster_id is None or task_of(run).get("existing_cluster_id"):
        return None
    if not task_of(run).get("new_cluster"):
        return None  # serverless compute has no cluster of ours
    out = api.on_the_way_out()

    def left() -> bool:
        try:
            return str(out.cluster(cluster_id).get("state")) in _LEAVING
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            # Who may run jobs need not see clusters; that of a run that has ended is Databricks'
            # to end.
            if fault.denied or isinstance(raised, NotFound):
                return True
            raise

    def terminate() -> None:
        out.call("POST", "/api/2.1/clusters/delete", body={"cluster_id": cluster_id})

    try:
        if _unseen(out, left, _CLUSTER_SEEING_S) is None:
            return None
    except DATABRICKS_FAULTS:
        pass  # nobody knows, so it is told to
    try:
        out.patient(terminate, _CALL_PATIENCE_S)
        why = _unseen(out, left, _CLUSTER_SEEING_S)
    except DATABRICKS_FAULTS as raised:
        why = fault_of(raised).words
    if why is None:
        return None
    what = f"cluster {cluster_id} of the ended run {run.get('run_id')}"
    return StillRunning(what, why, f"databricks clusters delete {cluster_id}", may_write=False)


def _refused(out: Databricks, run_id: int) -> str | None:
    """Cancel a run; why Databricks does not, or None."""
    try:
        out.patient(lambda: out.cancel(run_id), _CALL_PATIENCE_S)
    except DATABRICKS_FAULTS as raised:
        return fault_of(raised).words
    return None


def _unseen(out: Databricks, seen: Callable[[], bool], patience_s: float) -> str | None:
    deadline = out.clock.local.now() + patience_s
    while not out.patient(seen, patience_s):
        if out.clock.local.now() >= deadline:
            return f"it has not been seen to end within {patience_s:g} s"
        out.clock.sleep(_PAUSE_S, out.stop)
    return None
