"""What Dagster's history says of what may still run."""

from __future__ import annotations

import json
from typing import Any

from dagster import DagsterEventType, DagsterInstance

from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.still_running_events import STILL_RUNNING_KEY


def still_running(instance: DagsterInstance, run_id: str) -> tuple[StillRunning, ...]:
    """What may still run of a run, in the order in which it was reported, each resource once."""
    left: dict[str, StillRunning] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        if entry.dagster_event is None:
            continue
        metadata = entry.dagster_event.engine_event_data.metadata
        if STILL_RUNNING_KEY in metadata:
            value: Any = metadata[STILL_RUNNING_KEY].value
            told = json.loads(value) if isinstance(value, str) else value
            left |= {one["resource"]: StillRunning(**one) for one in told}
    return tuple(left.values())
