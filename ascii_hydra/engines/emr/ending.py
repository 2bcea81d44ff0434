"""Ending what was started, and seeing it end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from botocore.exceptions import ClientError

from ascii_hydra.engines.aws_errors import AWS_FAULTS, words
from ascii_hydra.engines.emr.api import LEAVING, STEP_ENDED, Emr, pipes_uri, state_of
from ascii_hydra.engines.pipes_folder import FolderError, PipesFolder
from ascii_hydra.engines.s3_store import S3Store

_CALL_PATIENCE_S = 120.0
_SEEING_S = 60.0
_STEP_SEEING_S = 120.0
_PAUSE_S = 0.5
_BY_ITSELF_S = 1.0


def ended_cluster(emr: Emr, cluster_id: str) -> str | None:
    """Terminate a cluster and see it leave; says what went wrong, or None.

    Args:
        emr: where; its stop does not matter.
        cluster_id: the cluster.
    """
    out = emr.on_the_way_out()

    def terminate() -> None:
        out.call("terminate_job_flows", JobFlowIds=[cluster_id])

    try:
        out.patient(terminate, _CALL_PATIENCE_S)
        return _unseen(out, lambda: state_of(out.cluster(cluster_id)) in LEAVING, _SEEING_S)
    except AWS_FAULTS as fault:
        return words(fault)


def left_cluster(emr: Emr, cluster_id: str) -> str | None:
    """See a cluster leave that should end by itself now, else terminate it; says what went wrong,
    or None."""
    out = emr.on_the_way_out()
    try:
        gone = _unseen(out, lambda: state_of(out.cluster(cluster_id)) in LEAVING, _BY_ITSELF_S)
    except AWS_FAULTS as fault:
        gone = words(fault)
    return None if gone is None else ended_cluster(emr, cluster_id)


def cancelled_step(emr: Emr, cluster_id: str, step_id: str) -> str | None:
    """Cancel a step and see it leave; says what went wrong, or None.

    EMR kills spark-submit on the primary. In cluster mode the application lives on elsewhere, so
    the step itself is asked to stop, by way of its folder, and is seen to.
    """
    out = emr.on_the_way_out()

    def step() -> Mapping[str, Any]:
        return out.steps(cluster_id, [step_id]).get(step_id, {})

    def gone() -> bool:
        return (
            state_of(step()) in STEP_ENDED
            # Its applications end with the cluster.
            or state_of(out.cluster(cluster_id)) in LEAVING
        )

    try:
        try:
            found = out.patient(step, _CALL_PATIENCE_S)
        except AWS_FAULTS:
            # It ends all the same, though nobody sees it.
            _refused_cancelling(out, cluster_id, step_id)
            raise
        if state_of(found) in STEP_ENDED:
            return None
        folder = _folder(emr, found)
        unasked = None if folder is None else _fault(folder.ask_to_stop)
        refused = _refused_cancelling(out, cluster_id, step_id)
        if refused is not None and not out.patient(gone, _CALL_PATIENCE_S):
            return refused
        unseen = _unseen(out, gone, _STEP_SEEING_S)
        if unseen is not None or folder is None or unasked is not None:
            return unseen or unasked
        return _unstopped(out, cluster_id, found, folder)
    except (*AWS_FAULTS, FolderError) as fault:
        return str(fault) if isinstance(fault, FolderError) else words(fault)


def cancelled_double(emr: Emr, cluster_id: str, step_id: str) -> str | None:
    """Cancel a step whose driver does not work, and see it leave; says what went wrong, or None.

    Its folder is another step's, too, which must not be asked to stop.
    """
    out = emr.on_the_way_out()

    def gone() -> bool:
        return (
            state_of(out.steps(cluster_id, [step_id]).get(step_id, {})) in STEP_ENDED
            or state_of(out.cluster(cluster_id)) in LEAVING
        )

    try:
        refused = _refused_cancelling(out, cluster_id, step_id)
        if refused is not None and not out.patient(gone, _CALL_PATIENCE_S):
            return refused
        return _unseen(out, gone, _STEP_SEEING_S)
    except AWS_FAULTS as fault:
        return words(fault)


def stopped_driver(emr: Emr, cluster_id: str, step: Mapping[str, Any]) -> str | None:
    """Once somebody else has cancelled a step: let its Spark application, which may live on, end,
    and see it end; says what went wrong, or None.

    Args:
        emr: where; its stop does not matter.
        cluster_id: the cluster.
        step: as ListSteps gives it.
    """
    out, folder = emr.on_the_way_out(), _folder(emr, step)
    if folder is None or not _in_cluster(step):
        return None
    try:
        folder.ask_to_stop()
        return _unstopped(out, cluster_id, step, folder)
    except (*AWS_FAULTS, FolderError) as fault:
        return str(fault) if isinstance(fault, FolderError) else words(fault)


def _unstopped(
    out: Emr, cluster_id: str, step: Mapping[str, Any], folder: PipesFolder
) -> str | None:
    """What is wrong if the application of a step that was asked to stop does not."""
    leaving = state_of(out.patient(lambda: out.cluster(cluster_id))) in LEAVING
    if _in_cluster(step) and not leaving and not folder.seen_stopping():
        return "EMR has cancelled it, but its Spark application does not answer"
    folder.forget_stop()
    return None


def _folder(emr: Emr, step: Mapping[str, Any]) -> PipesFolder | None:
    uri = pipes_uri(step)
    return None if uri is None else PipesFolder(S3Store(emr.place), uri)


def _refused_cancelling(emr: Emr, cluster_id: str, step_id: str) -> str | None:
    """Cancel a step; why EMR does not, or None."""
    try:
        reply = emr.patient(
            lambda: emr.call(
                "cancel_steps",
                ClusterId=cluster_id,
                StepIds=[step_id],
                StepCancellationOption="TERMINATE_PROCESS",
            ),
            _CALL_PATIENCE_S,
        )
    except ClientError as fault:
        # It is refused for a step that has ended, or whose cluster is leaving.
        return words(fault)
    for one in reply["CancelStepsInfoList"]:
        # It fails, too, if somebody has cancelled it before.
        if one.get("Status") == "FAILED" and "CANCEL_PENDING" not in one.get("Reason", ""):
            return f"EMR does not cancel it: {one.get('Reason') or 'no reason is given'}"
    return None


def _in_cluster(step: Mapping[str, Any]) -> bool:
    """Its driver runs in a container of YARN."""
    args = list(step.get("Config", {}).get("Args", ()))
    pairs = set(pairwise(args))
    return bool(
        pairs & {("--deploy-mode", "cluster"), ("--conf", "spark.submit.deployMode=cluster")}
    )


def _fault(call: Callable[[], None]) -> str | None:
    try:
        call()
    except FolderError as fault:
        return f"it could not be asked to stop: {fault}"
    return None


def _unseen(emr: Emr, seen: Callable[[], bool], patience_s: float) -> str | None:
    deadline = emr.clock.local.now() + patience_s
    while not emr.patient(seen, patience_s):
        if emr.clock.local.now() >= deadline:
            return f"it has not been seen to end within {patience_s:g} s"
        emr.clock.sleep(_PAUSE_S, emr.stop)
    return None
