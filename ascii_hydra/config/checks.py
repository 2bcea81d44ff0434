"""Checks that look at more than one field: what each step is, and what can be launched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.engine_schema import DatabricksEngine, EngineConfig, PySparkEngine
from ascii_hydra.config.problems import Problem, one_of
from ascii_hydra.config.schema import Config, EndpointConfig, ModeConfig, PipelineConfig, StepConfig
from ascii_hydra.step.choices import Engine, ExecutionMode

# Dagster allows no other characters in a name, and a folder is made of it.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MASTER = re.compile(r"local(\[[0-9*]+\])?|spark://[^\s,/]+:\d+(,[^\s,/]+:\d+)*")


_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What conf/mode names, for plans and rehearsals.
EXAMPLE_BUCKET = "ascii-hydra"

_SECRET = re.compile(r"secret|passw|credential|token(?![a-z])|access[._-]?key", re.IGNORECASE)


def looks_secret(text: str) -> bool:
    """Whether a key, or the name of a variable, looks like that of a secret."""
    return _SECRET.search(text) is not None


def secret_problems(value: Any, where: str = "") -> Iterator[Problem]:
    """Values that look like secrets by their key, or by the variable that they are taken from.

    The composed configuration is printed, kept beside the results and shown in the UI.

    Args:
        value: plain data; an interpolation is still written as one.
        where: its full key.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from secret_problems(one, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from secret_problems(one, f"{where}[{number}]")
    elif isinstance(value, str) and value:
        from_variable = re.findall(r"\$\{oc\.env:([^},]+)", value)
        if looks_secret(where) or any(map(looks_secret, from_variable)):
            yield Problem(
                where,
                "looks like a secret, and a configuration is printed and kept in many places."
                " Leave it in the environment, where the step finds it.",
            )


def pipeline_problems(pipeline: PipelineConfig, script_root: Path) -> Iterator[Problem]:
    """What is wrong with the steps of a pipeline, whatever runs them."""
    steps = pipeline.steps
    if not steps:
        yield Problem("pipeline.steps", "a pipeline needs at least one step.")
    for name, step in steps.items():
        yield from _step_problems(name, step, pipeline, script_root)
    for name, dimension in pipeline.partition_dimensions.items():
        at = f"pipeline.partition_dimensions.{name}"
        if dimension.csv is None and not dimension.keys:
            yield Problem(at, "needs keys, or csv and column.")
        if dimension.csv is not None and dimension.column is None:
            yield Problem(f"{at}.column", f"is required: the column of {dimension.csv} to read.")
    looped = _looped({name: set(step.deps) & set(steps) for name, step in steps.items()})
    if looped:
        yield Problem("pipeline.steps", f"deps run in a circle: {' -> '.join(looped)}.")


def _step_problems(
    name: str, step: StepConfig, pipeline: PipelineConfig, script_root: Path
) -> Iterator[Problem]:
    at = f"pipeline.steps.{name}"
    if not _NAME.fullmatch(name):
        yield Problem(at, "a step's name has letters, digits and _ and starts with no digit.")
    for key, paths in (("script", (step.script,)), ("py_files", step.py_files)):
        for path in paths:
            if not (script_root / path).is_file():
                yield Problem(f"{at}.{key}", f"there is no file {script_root / path}.")
    unknown = [dep for dep in step.deps if dep not in pipeline.steps]
    if unknown:
        known = ", ".join(pipeline.steps)
        yield Problem(f"{at}.deps", f"there is no step {one_of(unknown)}. Steps: {known}.")
    for dimension in step.partitions:
        if dimension not in pipeline.partition_dimensions:
            known = ", ".join(pipeline.partition_dimensions) or "none"
            yield Problem(
                f"{at}.partitions", f"there is no dimension {dimension}. Dimensions: {known}."
            )
    if len(step.partitions) > 2:  # noqa: PLR2004 - said in the message
        yield Problem(f"{at}.partitions", "Dagster partitions by two dimensions at most.")


def _looped(waiting: dict[str, set[str]]) -> list[str]:
    """The steps of one cycle, the first one named again at the end; empty without any."""
    while ready := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in ready:
            del waiting[name]
    if not waiting:
        return []
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]] & set(waiting))
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def engine_problems(engine: EngineConfig, mode: ExecutionMode) -> Iterator[Problem]:
    """What is wrong with an engine, and with this engine for this mode."""
    if engine.name is not Engine.pyspark and mode is ExecutionMode.small_dev_sample_local:
        yield Problem(
            f"mode={mode.value}",
            f"reads files on this machine; engine={engine.name.value} cannot see them."
            f" Use mode={ExecutionMode.small_dev_sample_s3.value}, or engine=pyspark.",
        )
    master = engine.master if isinstance(engine, PySparkEngine) else None
    if master is not None and not _MASTER.fullmatch(master):
        yield Problem(f"engine.master={master}", "write spark://host:port, local[n] or null.")


def serverless_problems(name: str, step: StepConfig, engine: EngineConfig) -> Iterator[Problem]:
    """A step on serverless compute that cannot be there."""
    if step.needs_cluster and isinstance(engine, DatabricksEngine) and engine.serverless:
        yield Problem(
            "engine.serverless=true",
            f"step {name} needs a cluster (pipeline.steps.{name}.needs_cluster): serverless compute"
            " has neither RDDs nor a JVM to call. Leave it out, or let that step run elsewhere:"
            f" pipeline.steps.{name}.engine=emr.",
        )


def launch_problems(config: Config, engines: Mapping[str, EngineConfig]) -> Iterator[Problem]:
    """What cannot be launched, though it can be composed, checked and planned.

    Args:
        config: the whole configuration.
        engines: the engine of every step.
    """
    for name in dict.fromkeys(engine.name for engine in engines.values()):
        if (
            name is not Engine.pyspark
            and config.endpoint.name is Endpoint.cloud
            and config.endpoint.url is not None
        ):
            yield Problem(
                f"endpoint.url={config.endpoint.url}",
                f"is a service compatible with S3, which engine={name.value} does not reach: leave"
                " the url out, or use engine=pyspark.",
            )

    mode = config.mode
    in_aws = config.endpoint.name is Endpoint.cloud and config.endpoint.url is None
    if in_aws and mode.bucket == EXAMPLE_BUCKET:
        yield Problem(
            f"mode.bucket={EXAMPLE_BUCKET}",
            "is an example, and all of AWS shares the names of buckets: name one of yours"
            " (mode.bucket=NAME, or in conf/local/default.yaml), or use endpoint=rehearsal.",
        )


def bucket_problems(mode: ModeConfig) -> Iterator[Problem]:
    """A bucket whose name S3 does not allow (AWS, "General purpose bucket naming rules")."""
    if mode.bucket is not None and not _BUCKET.fullmatch(mode.bucket):
        yield Problem(
            f"mode.bucket={mode.bucket}",
            "has 3 to 63 lower-case letters, digits, dots and hyphens, and begins and ends with a"
            " letter or a digit.",
        )


def endpoint_problems(endpoint: EndpointConfig) -> Iterator[Problem]:
    """What is wrong with the address of a cloud."""
    if endpoint.url is None:
        return
    if "@" in endpoint.url:
        yield Problem("endpoint.url", "has a user or a password in it; credentials stay outside.")
        return
    at = f"endpoint.url={endpoint.url}"
    try:
        parts = urlsplit(endpoint.url)
        _ = parts.port
    except ValueError as fault:
        yield Problem(at, f"is no address: {fault}.")
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield Problem(at, "write http://host:port or https://host.")
    elif endpoint.name is Endpoint.rehearsal and not _is_loopback(parts.hostname):
        yield Problem(
            at,
            "a rehearsal stays on this machine: use null, which starts one for this run, or"
            " http://127.0.0.1:port of one that make rehearsal keeps.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
