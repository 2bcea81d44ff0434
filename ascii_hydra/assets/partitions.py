"""Dagster partitions from a pipeline's configuration.

The values of a dimension are known only where its input can be read, and differ from input to
input, so the partitions are dynamic: they are registered with the Dagster instance when a run
starts or the UI is started, and the definitions stay the same.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

from dagster import DynamicPartitionsDefinition, MultiPartitionsDefinition, PartitionsDefinition

from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.schema import PartitionDimension, PipelineConfig


def dimension_name(pipeline: str, dimension: str) -> str:
    """The name under which Dagster keeps the values of a dimension."""
    return f"{pipeline}_{dimension}"


def partitions_definition(
    pipeline: str, dimensions: Sequence[str]
) -> PartitionsDefinition[str] | None:
    """The partitions of a step with these dimensions, or None for a step without any."""
    each: dict[str, PartitionsDefinition[str]] = {
        one: DynamicPartitionsDefinition(name=dimension_name(pipeline, one)) for one in dimensions
    }
    if len(each) <= 1:
        return next(iter(each.values()), None)
    return MultiPartitionsDefinition(each)


def partition_key(partition: Mapping[str, str]) -> str | None:
    """Dagster's key of a partition: its values in alphabetical order of their dimensions."""
    return "|".join(partition[name] for name in sorted(partition)) or None


def dimension_values(pipeline: PipelineConfig) -> dict[str, tuple[str, ...]]:
    """Every value of every dimension of a pipeline, in the order in which its input has them.

    Raises:
        ConfigError: the input cannot be read, or has no such column, or repeats a reserved value.
    """
    values: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for name, dimension in pipeline.partition_dimensions.items():
        try:
            values[name] = tuple(dict.fromkeys(_values(name, dimension, pipeline.input)))
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    return values


def _values(name: str, dimension: PartitionDimension, folder: str) -> Iterable[str]:
    if dimension.csv is None:
        return (*dimension.keys, *dimension.also)
    path = Path(folder) / dimension.csv
    at = f"pipeline.partition_dimensions.{name}"
    if not path.is_file():
        raise ConfigError(
            [Problem("pipeline.input", f"there is no file {path}, from which {name} is read.")]
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        known = rows.fieldnames or []
        missing = [one for one in (dimension.column, *dimension.where) if one not in known]
        if missing:
            raise ConfigError(
                [Problem(at, f"{path} has no column {', '.join(map(str, missing))}.")]
            )
        found = [
            row[str(dimension.column)]
            for row in rows
            if all(row[column] == value for column, value in dimension.where.items())
        ]
    reserved = [one for one in dimension.also if one in found]
    if reserved:
        raise ConfigError(
            [Problem(at, f"{path} uses {reserved[0]!r}, which has a meaning of its own here.")]
        )
    return (*dimension.keys, *(one for one in found if one), *dimension.also)


def chosen_partitions(
    dimensions: Sequence[str],
    values: Mapping[str, Sequence[str]],
    wanted: Sequence[str] | None,
) -> list[dict[str, str]]:
    """The partitions of a step to make.

    Args:
        dimensions: the step's dimensions.
        values: every value of every dimension of the pipeline.
        wanted: values (a partition is made if each of its dimensions has a wanted value, or has
            none wanted) and whole keys (`a|b`, dimensions in alphabetical order); None for all.
    """
    if not dimensions:
        return []
    every = [
        dict(zip(dimensions, one, strict=True))
        for one in product(*(values[name] for name in dimensions))
    ]
    if wanted is None:
        return every
    per_dimension = {name: [one for one in wanted if one in values[name]] for name in dimensions}
    keys = [one for one in wanted if "|" in one]

    def matches(partition: Mapping[str, str]) -> bool:
        if keys and any(set(partition.values()) <= set(key.split("|")) for key in keys):
            return True
        listed = [name for name in partition if per_dimension[name]]
        if keys and not listed:
            return False
        return all(partition[name] in per_dimension[name] for name in listed)

    return [one for one in every if matches(one)]


def check_wanted(values: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> None:
    """Raise ConfigError for everything wanted that is no value and no key of known values."""
    known = {one for each in values.values() for one in each}
    unknown = [one for one in wanted if not set(one.split("|")) <= known]
    if unknown:
        places = "; ".join(f"{name}: {', '.join(each)}" for name, each in values.items())
        places = places or "This pipeline has no partitions"
        raise ConfigError(
            [Problem("pipeline.partitions", f"there is no {', '.join(unknown)}. {places}.")]
        )
