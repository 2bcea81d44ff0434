"""Why a step or a run has failed, from Dagster's account of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

# Metadata of a failed step that says where to look further, and what it is called.
_WHERE = {"emr/logs": "logs", "databricks/run_page": "run"}


def told_failure(event: dg.DagsterEvent) -> str:
    """What a failed step says to a person: our own sentence, else the exception's message."""
    data = event.step_failure_data
    told = data.user_failure_data
    if told is not None and told.description:
        where = [
            f"\n{label}: {told.metadata[key].value}"
            for key, label in _WHERE.items()
            if key in told.metadata
        ]
        return str(told.description) + "".join(where)
    return data.error.message.strip() if data.error is not None else "the step failed"


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
            return str(event.message) if error is None else error.message.strip()
    return None
