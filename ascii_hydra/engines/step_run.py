"""One run of one step as a value: its settings, and where its data comes from and goes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ascii_hydra.config.settle import Settings, StepSettings


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
            words += ["--parameter", f"{name}={_json(value)}"]
        if not settings.config.writes_output:
            words += ["--writes-output", "false"]
        return tuple(words)


def planned_run(settings: Settings, step: StepSettings) -> StepRun:
    """The run of a step, its partition written as `<dimension>`: which ones there are is known
    only where the input can be read."""

    def base(name: str) -> str:
        theirs = settings.steps[name].config.partitions
        folder = f"{settings.config.pipeline.output}/{name}"
        return "/".join([output_folder(folder, {}), *(f"{one}=<{one}>" for one in theirs)])

    partition = {name: f"<{name}>" for name in step.config.partitions}
    return StepRun(
        settings=step,
        output=base(step.name),
        inputs={dep: base(dep) for dep in step.config.deps},
        partition=partition,
        partition_key="|".join(partition[one] for one in sorted(partition)) or None,
        digest=settings.digest,
    )


# A JSON string, and what a shell or YARN would read as something else. YARN starts a driver by
# `bash -c "..."`, in which Spark escapes $ and double quotes alone; YARN expands {{, }} and <..>.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_READ_BY_SHELLS = str.maketrans({one: f"\\u{ord(one):04x}" for one in "`$'<>{}"})


def _json(value: Any) -> str:
    """A value as JSON that reaches a script unchanged by any shell on its way."""

    def quiet(found: re.Match[str]) -> str:
        text = found[0][1:-1].replace("\\\\", "\\u005c").replace('\\"', "\\u0022")
        return f'"{text.translate(_READ_BY_SHELLS)}"'

    made = _JSON_STRING.sub(quiet, json.dumps(value))
    while "}}" in made:
        made = made.replace("}}", "} }")
    return made


# What Dagster Pipes adds to a step's arguments at a launch; the two hold encoded texts.
PIPES_PLACEHOLDERS = (
    *("--dagster-pipes-context", "<context>"),
    *("--dagster-pipes-messages", "<messages>"),
)


def on_a_cluster(text: str) -> str:
    """A URI, or a text with some, as EMR and Databricks want it: behind s3:// stand their own
    connectors and committers; s3a:// is Hadoop's, without a committer for S3 on EMR, and not for
    the external locations of Unity Catalog."""
    return text.replace("s3a://", "s3://")


def output_folder(base: str, partition: Mapping[str, str]) -> str:
    """The folder of one partition: `base/dimension=value/...`."""
    parts = (f"{name}={escaped(value)}" for name, value in partition.items())
    return "/".join([base.rstrip("/"), *parts])


def escaped(value: str) -> str:
    """A partition's value as a part of a path, escaped as in a URL: no value can leave its folder
    or be taken for a pattern."""
    return quote(value, safe=" ")
