"""One run of one step as a value: its settings, and where its data comes from and goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ascii_hydra.config.settle import StepSettings


@dataclass(frozen=True)
class StepRun:
    """What one run of a step reads and writes.

    Attributes:
        settings: the step and where it runs.
        output: folder or URI that this run overwrites.
        inputs: folder or URI of every upstream output, by the upstream step's name.
        partition: the value of every partition dimension, in the order of the step's dimensions.
        partition_key: the partition as Dagster names it, or None.
        digest: names the configuration that this run was composed from.
    """

    settings: StepSettings
    output: str
    inputs: Mapping[str, str]
    partition: Mapping[str, str]
    partition_key: str | None
    digest: str = ""

    def arguments(self) -> tuple[str, ...]:
        """The script's command line, as `SparkStep` reads it; the same on every engine."""
        settings = self.settings
        words = ["--engine", settings.engine.name.value, "--mode", settings.mode.name.value]
        words += ["--output", self.output]
        for name, uri in self.inputs.items():
            words += ["--input", f"{name}={uri}"]
        for dimension, value in self.partition.items():
            words += ["--partition", f"{dimension}={value}"]
        if self.partition_key is not None:
            words += ["--partition-key", self.partition_key]
        for name, value in settings.config.parameters.items():
            words += ["--parameter", f"{name}={json.dumps(value)}"]
        return tuple(words)


def output_folder(base: str, partition: Mapping[str, str]) -> str:
    """The folder of one partition: `base/dimension=value/...`."""
    parts = (f"{name}={escaped(value)}" for name, value in partition.items())
    return "/".join([base.rstrip("/"), *parts])


def escaped(value: str) -> str:
    """A partition's value as a part of a path, escaped as in a URL: no value can leave its folder
    or be taken for a pattern."""
    return quote(value, safe=" ")
