"""The Dagster runs that make a pipeline, in the order in which they can be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ascii_hydra.config.partitions import chosen_partitions
from ascii_hydra.config.settle import Settings
from ascii_hydra.outcome import Ending, StepOutcome


@dataclass(frozen=True)
class PlannedRun:
    """One Dagster run: the steps it makes, of one partition (empty for unpartitioned steps)."""

    steps: tuple[str, ...]
    partition: Mapping[str, str]


def planned_runs(settings: Settings, values: Mapping[str, Sequence[str]]) -> list[PlannedRun]:
    """The runs that make a pipeline, each after those it depends on.

    Steps that follow each other and have the same dimensions are made by one run.
    """
    groups: list[tuple[tuple[str, ...], list[str]]] = []
    for name, step in settings.steps.items():
        dimensions = step.config.partitions
        if groups and groups[-1][0] == dimensions:
            groups[-1][1].append(name)
        else:
            groups.append((dimensions, [name]))
    wanted = settings.config.pipeline.partitions
    runs = []
    for dimensions, names in groups:
        partitions = chosen_partitions(dimensions, values, wanted) if dimensions else [{}]
        runs += [PlannedRun(tuple(names), one) for one in partitions]
    return runs


def lacks_input(planned: PlannedRun, settings: Settings, ended: Iterable[StepOutcome]) -> bool:
    """Whether something that a run reads was not made."""
    unmade = [one for one in ended if one.ending is not Ending.succeeded]
    needs = {dep for name in planned.steps for dep in settings.steps[name].config.deps}
    for one in unmade:
        if one.step not in needs:
            continue
        dimensions = sorted(settings.steps[one.step].config.partitions)
        theirs = dict(zip(dimensions, (one.partition or "").split("|"), strict=False))
        # Of a dimension that this run has not, it reads every value.
        if all(planned.partition.get(name, value) == value for name, value in theirs.items()):
            return True
    return False
