"""How the steps of a run ended, from Dagster's events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from ascii_hydra.assets.failures import failure_metadata, told_failure
from ascii_hydra.assets.launchpad import clock_of
from ascii_hydra.assets.runs import PlannedRun
from ascii_hydra.config.partitions import partition_key
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.costing import BILL_KEY
from ascii_hydra.engines.step_costs import (
    ESTIMATED_KEY,
    MEMORY_KEY,
    VCPUS_KEY,
    bill_in,
    told_costs,
)
from ascii_hydra.engines.step_run import output_folder
from ascii_hydra.outcome import Ending, StepOutcome
from ascii_hydra.step.choices import Engine
from ascii_hydra.step.metadata import INPUT_BYTES

_ROWS = "dagster/row_count"
_BYTES_PER_GB = 1e9


@dataclass
class _Seen:
    """What is known of a step that has started."""

    begun: float
    made: Mapping[str, dg.MetadataValue[Any]] = field(default_factory=dict)


def clock_for(step: StepSettings) -> Callable[[], float]:
    """The time by which a step's duration is measured: a rehearsed cloud has its own."""
    if step.engine.name is Engine.pyspark:
        return time.monotonic
    return clock_of(step.endpoint).now


def not_started(settings: Settings, planned: PlannedRun, name: str) -> StepOutcome:
    """A step of a run that was not begun; it has cost nothing."""
    step = settings.steps[name]
    base = f"{settings.config.pipeline.output}/{name}"
    return StepOutcome(
        step=name,
        partition=partition_key(planned.partition),
        engine=step.engine.name.value,
        cluster=step.cluster.size.value,
        ending=Ending.not_started,
        bill=Bill(),
        output=output_folder(base, planned.partition),
    )


def followed(
    settings: Settings,
    planned: PlannedRun,
    events: Iterable[dg.DagsterEvent],
    instance: dg.DagsterInstance,
    *,
    run_id: str,
    started: Callable[[str, str | None], None],
    stopped: Callable[[], bool],
) -> Iterator[StepOutcome]:
    """Every step of a run as it ends.

    Args:
        settings: of the pipeline.
        planned: the run.
        events: Dagster's, as they happen.
        instance: where the run is recorded.
        run_id: names it.
        started: is told of a step that starts, and of its partition.
        stopped: whether somebody has stopped the run.
    """
    seen: dict[str, _Seen] = {}
    clocks = {name: clock_for(settings.steps[name]) for name in planned.steps}
    for event in events:
        name = (event.step_key or "").removeprefix(f"{settings.config.pipeline.name}__")
        if event.is_step_start:
            seen[name] = _Seen(clocks[name]())
            started(name, partition_key(planned.partition))
        elif event.is_step_materialization:
            seen[name].made = event.step_materialization_data.materialization.metadata
        elif event.is_step_success or event.is_step_failure:
            ending, error = Ending.succeeded, None
            if event.is_step_failure:
                ending = Ending.canceled if stopped() else Ending.failed
                error = None if stopped() else told_failure(event, name, run_id)
            ended = replace(
                not_started(settings, planned, name),
                ending=ending,
                duration_s=clocks[name]() - seen[name].begun,
                error=error,
            )
            costs = told_costs(instance, run_id, event.step_key or "")
            costs = costs or _costs_of(seen[name].made) or _costs_of(failure_metadata(event))
            yield _measured(ended, seen[name].made, costs)


def _measured(
    ended: StepOutcome,
    made: Mapping[str, dg.MetadataValue[Any]],
    costs: Mapping[str, dg.MetadataValue[Any]] | None,
) -> StepOutcome:
    read, rows = _number(made, INPUT_BYTES), _number(made, _ROWS)
    return replace(
        ended,
        rows=None if rows is None else int(rows),
        input_gb=None if read is None else read / _BYTES_PER_GB,
        bill=_unbilled(ended) if costs is None else bill_in(costs),
        estimated_usd=_number(costs or {}, ESTIMATED_KEY),
        vcpus=_number(costs or {}, VCPUS_KEY),
        memory_gib=_number(costs or {}, MEMORY_KEY),
    )


def _costs_of(
    metadata: Mapping[str, dg.MetadataValue[Any]],
) -> Mapping[str, dg.MetadataValue[Any]] | None:
    return metadata if BILL_KEY in metadata else None


def _unbilled(ended: StepOutcome) -> Bill | None:
    """What a step has cost that has started and of which no bill is told: nobody knows, unless
    nothing is rented."""
    return Bill() if ended.engine == Engine.pyspark.value else None


def _number(metadata: Mapping[str, dg.MetadataValue[Any]], key: str) -> float | None:
    value = metadata[key].value if key in metadata else None
    return None if value is None else float(str(value))
