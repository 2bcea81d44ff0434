"""Dagster's side of partitions: their definitions, and the folders of those that a step reads.

The values of a dimension are known only where its input can be read, and differ from input to
input, so the partitions of a pipeline are dynamic: they are registered with the Dagster instance
when a run starts or the UI is started, and the definitions stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import dagster as dg

from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.step_run import escaped


def dimension_name(pipeline: str, dimension: str) -> str:
    """The name under which Dagster keeps the values of a dimension."""
    return f"{pipeline}_{dimension}"


def partitions_definition(
    pipeline: str, dimensions: Sequence[str]
) -> dg.PartitionsDefinition[str] | None:
    """The partitions of a step with these dimensions, or None for a step without any."""
    each: dict[str, dg.PartitionsDefinition[str]] = {
        one: dg.DynamicPartitionsDefinition(name=dimension_name(pipeline, one))
        for one in dimensions
    }
    if len(each) <= 1:
        return next(iter(each.values()), None)
    return dg.MultiPartitionsDefinition(each)


def dimensions_of(definition: dg.PartitionsDefinition[str]) -> tuple[str, ...]:
    """The dimensions of partitions that no pipeline has named; a single one is `partition`."""
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return tuple(sorted(one.name for one in definition.partitions_defs))
    return ("partition",)


def partition_of(key: str, dimensions: Sequence[str]) -> dict[str, str]:
    """The value of each dimension that a Dagster key names."""
    if isinstance(key, dg.MultiPartitionKey):
        return {name: key.keys_by_dimension[name] for name in dimensions}
    if len(dimensions) == 1:
        return {dimensions[0]: key}
    by_name = dict(zip(sorted(dimensions), key.split("|"), strict=True))
    return {name: by_name[name] for name in dimensions}


def folder_of(base: str, dimensions: Sequence[str], keys: Sequence[str], asset: str) -> str:
    """The folder of some partitions of an asset.

    Several partitions are one pattern, as Hadoop and so Spark reads it: `base/day={1,2}`.

    Raises:
        ConfigError: there are none, or no single pattern means just these.
    """
    partitions = [partition_of(key, dimensions) for key in keys]
    values = {name: list(dict.fromkeys(one[name] for one in partitions)) for name in dimensions}
    if not keys or prod(map(len, values.values())) != len(keys):
        what = "no partition" if not keys else f"{len(keys)} partitions that no one pattern names"
        raise ConfigError([Problem(asset, f"{what} would be read: check the partition mapping.")])
    return "/".join([base, *(f"{name}={_pattern(each)}" for name, each in values.items())])


def _pattern(values: Sequence[str]) -> str:
    names = [escaped(one) for one in values]
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


def own_partition(
    context: dg.AssetExecutionContext, dimensions: Sequence[str]
) -> Mapping[str, str]:
    """The partition that a run makes; empty for an asset without partitions.

    Raises:
        ConfigError: the run names no single partition of a partitioned asset. Its script would
            overwrite the folder of all of them.
    """
    if not dimensions:
        return {}
    # A backfill may name its one partition as a range.
    known = context.has_partition_key or context.has_partition_key_range
    keys = list(context.partition_keys) if known else []
    if len(keys) != 1:
        name = context.asset_key.to_user_string()
        raise ConfigError(
            [Problem(name, "has partitions; choose one of them for a run, or start a backfill.")]
        )
    return partition_of(keys[0], dimensions)
