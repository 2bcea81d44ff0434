"""Why a step or a run has failed, from Dagster's account of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._utils.error import SerializableErrorInfo  # type: ignore[attr-defined]

from ascii_hydra.engines.step_failure import CAUSED_BY, FAILED_AT, LOGS, OUTPUT_TAIL
from ascii_hydra.engines.wording import exception_words
from ascii_hydra.report.progress import nearby

_log = logging.getLogger(__name__)
# Metadata of a failed step that says where to look further, and what it is called.
_WHERE = {
    FAILED_AT: "at",
    CAUSED_BY: "caused by",
    OUTPUT_TAIL: "last lines of its output",
    LOGS: "log",
    "emr/logs": "logs",
    "databricks/run_page": "run",
}


def told_failure(event: dg.DagsterEvent, step: str, run_id: str) -> str:
    """What a failed step says to a person: our own sentence and where to look further, else the
    exception.

    Args:
        event: Dagster's.
        step: the step's name as people know it.
        run_id: of the run that it failed in.
    """
    data = event.step_failure_data
    told = data.user_failure_data
    if told is not None and told.description:
        return "\n".join([str(told.description), *_whereabouts(told.metadata)])
    if data.error is None:
        return f"{step} failed, and Dagster does not say why"
    return _told_error(data.error, f"{step} ended by an unexpected exception", run_id)


def _whereabouts(metadata: Mapping[str, dg.MetadataValue[Any]]) -> Iterator[str]:
    for key, label in _WHERE.items():
        lines = str(metadata[key].value).splitlines() if key in metadata else []
        if key == OUTPUT_TAIL and lines:
            yield f"{label}:"
            yield from (f"  {one}" for one in lines)
        else:
            yield from (f"{label}: {nearby(one)}" for one in lines)


def _told_error(error: SerializableErrorInfo, what: str, run_id: str) -> str:
    """An exception that nobody has put into words. Dagster wraps those of steps and resources:
    what counts is the cause."""
    thrown = error
    while thrown.cause is not None:
        thrown = thrown.cause
    if thrown is error:
        return error.message.strip()
    root = thrown
    while (before := root.cause or root.context) is not None:
        root = before
    after = "" if root is thrown else f" (after {_words(root)})"
    _log.error("%s\n%s", what, error.to_string())
    return (
        f"{what}: {_words(thrown)}{after}\n"
        f"traceback: in the run's events in the Dagster UI (make start), at /runs/{run_id}, and in"
        " ascii_hydra.log of this command's folder"
    )


def _words(error: SerializableErrorInfo) -> str:
    return exception_words(error.cls_name or "Exception", error.message)


def failure_metadata(event: dg.DagsterEvent) -> Mapping[str, dg.MetadataValue[Any]]:
    """What our own failure of a step says besides its sentence; nothing of a step that succeeded,
    or that failed otherwise."""
    told = event.step_failure_data.user_failure_data if event.is_step_failure else None
    return {} if told is None else told.metadata


def run_failure(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """What Dagster says of a run that failed outside its steps."""
    for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        event = record.dagster_event
        if event is not None:
            error = event.job_failure_data.error
            if error is None:
                return str(event.message)
            return _told_error(error, "the run ended by an unexpected exception", run_id)
    return None
