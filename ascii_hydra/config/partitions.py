"""The partitions of a pipeline: which values its dimensions have, and which ones are to be made."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import BinaryIO

from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.schema import PartitionDimension, PipelineConfig


def partition_key(partition: Mapping[str, str]) -> str | None:
    """Dagster's key of a partition: its values in alphabetical order of their dimensions."""
    return "|".join(partition[name] for name in sorted(partition)) or None


def local_file(location: str) -> BinaryIO:
    """A file of this machine, by its path or `file://` URI, opened to be read.

    Raises OSError if it is not there, and ConfigError for any other URI.
    """
    if "://" in location and not location.startswith("file://"):
        raise ConfigError([Problem("pipeline.input", f"{location} is no file of this machine.")])
    return Path(location.removeprefix("file://")).open("rb")


def dimension_values(
    pipeline: PipelineConfig, opened: Callable[[str], BinaryIO] = local_file
) -> dict[str, tuple[str, ...]]:
    """Every value of every dimension of a pipeline, in the order in which its input has them.

    Args:
        pipeline: the pipeline.
        opened: opens a file of its input to be read. It raises FileNotFoundError if there is none,
            and ConfigError or another OSError if it cannot be read.

    Raises:
        ConfigError: the input cannot be read, has no such column or no value, or uses one that
            has a meaning of its own; or `pipeline.partitions` asks for what is not there.
    """
    values: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for name, dimension in pipeline.partition_dimensions.items():
        at = f"pipeline.partition_dimensions.{name}"
        try:
            found = tuple(dict.fromkeys(_values(at, dimension, pipeline.input, opened)))
        except ConfigError as fault:
            problems += fault.problems
            continue
        except (csv.Error, UnicodeDecodeError) as fault:
            place = _place(dimension, pipeline.input)
            problems.append(Problem(at, f"{place} cannot be read as CSV in UTF-8: {fault}."))
            continue
        if not found:
            problems.append(Problem(at, f"{_place(dimension, pipeline.input)} has no value."))
        values[name] = found
        problems += [
            Problem(at, f"{one!r} has a |, which joins the values of a partition's key.")
            for one in found
            if "|" in one
        ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if pipeline.partitions is not None:
        _check_wanted(values, pipeline.partitions)
    return values


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


def _place(dimension: PartitionDimension, folder: str) -> str:
    if dimension.csv is None:
        return "keys"
    # A path in the middle of a URI would lose one of its slashes.
    return f"{folder.removeprefix('file://').rstrip('/')}/{dimension.csv}"


def _values(
    at: str, dimension: PartitionDimension, folder: str, opened: Callable[[str], BinaryIO]
) -> Iterable[str]:
    if dimension.csv is None:
        return (*dimension.keys, *dimension.also)
    path, name = _place(dimension, folder), at.rpartition(".")[2]
    try:
        stream = opened(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        what = f"there is no file {path}, from which {name} is read."
        raise ConfigError([Problem("pipeline.input", what)]) from None
    except OSError as fault:
        what = f"{path}, from which {name} is read, cannot be read: {fault.strerror or fault}."
        raise ConfigError([Problem("pipeline.input", what)]) from None
    # As steps/webgraph reads it: a byte order mark, spaces and the case of formats do not count.
    with stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        known = [(one or "").strip() for one in rows.fieldnames or ()]
        rows.fieldnames = known
        missing = [one for one in (dimension.column, *dimension.where) if one not in known]
        if missing:
            raise ConfigError(
                [Problem(at, f"{path} has no column {', '.join(map(str, missing))}.")]
            )
        found = [
            (row[str(dimension.column)] or "").strip()
            for row in rows
            if all(
                (row[column] or "").strip().lower() == value.lower()
                for column, value in dimension.where.items()
            )
        ]
    reserved = [one for one in dimension.also if one in found]
    if reserved:
        raise ConfigError(
            [Problem(at, f"{path} uses {reserved[0]!r}, which has a meaning of its own here.")]
        )
    own = [one for one in found if one]
    # What stands for something of every value means nothing without any.
    return (*dimension.keys, *own, *(dimension.also if own or dimension.keys else ()))


def _check_wanted(values: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> None:
    """Raise ConfigError for everything wanted that is no value and no key of known values."""
    places = "; ".join(f"{name}: {', '.join(each)}" for name, each in values.items())
    if not wanted:
        raise ConfigError(
            [Problem("pipeline.partitions", "is empty: leave it out to make all of them.")]
        )
    known = {one for each in values.values() for one in each}
    unknown = [one for one in wanted if not set(one.split("|")) <= known]
    if unknown:
        places = places or "This pipeline has no partitions"
        raise ConfigError(
            [Problem("pipeline.partitions", f"there is no {', '.join(unknown)}. {places}.")]
        )
