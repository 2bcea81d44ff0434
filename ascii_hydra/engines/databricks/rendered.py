"""From a step's run to everything that Databricks is asked for. Pure: no network, no credentials;
read are files of this machine alone."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ascii_hydra.aws.place import place_of
from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.config.choices import Architecture, Endpoint
from ascii_hydra.config.cluster_schema import DatabricksCluster
from ascii_hydra.config.engine_schema import DatabricksEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.settle import StepSettings
from ascii_hydra.databricks.workspace import workspace_of
from ascii_hydra.engines.costing import costing_of
from ascii_hydra.engines.databricks.cluster_config import cluster_config_problems, merged_cluster
from ascii_hydra.engines.databricks.cluster_spec import (
    TAG_VALUE_LENGTH,
    rendered_cluster,
    rendered_pools,
    shares_pools,
)
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.runtimes import environment_of, python_of
from ascii_hydra.engines.databricks.wheel import RESERVED_MODULES, step_wheel
from ascii_hydra.engines.libraries import step_libraries
from ascii_hydra.engines.payload import Upload, content_upload, file_upload
from ascii_hydra.engines.step_run import StepRun, on_a_cluster

TASK_KEY, ENVIRONMENT_KEY = "step", "step"
# The service takes 4,096 bytes; nobody reads more than this.
_NAME_LENGTH = 200
_UNTAGGABLE = re.compile(r"[^\w .:/=+\-@]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.py")


@dataclass(frozen=True)
class Payload:
    """What is uploaded for a step, and what is installed for it.

    Attributes:
        script: the step's script.
        wheel: the step's own Python code.
        digest: names the wheel's content.
        wheels: packages of the user's, as files.
        packages: packages of an index: `name==version`.
    """

    script: Upload
    wheel: Upload
    digest: str
    wheels: tuple[Upload, ...]
    packages: tuple[str, ...]

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """All that is uploaded."""
        return (self.script, self.wheel, *self.wheels)


def databricks_request(run: StepRun) -> DatabricksRequest:
    """What is asked of Databricks for a run of a step.

    Args:
        run: the step's run, with a Databricks engine and cluster.

    Raises:
        ConfigError: with everything for which there is no request.
    """
    settings = run.settings
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    known = instance_types(engine.region)
    problems = list(_cluster_config_problems(settings))
    payload: Payload | None = None
    try:
        payload = _payload(settings, engine, cluster, known)
    except ConfigError as fault:
        problems += fault.problems
    if problems or payload is None:
        raise ConfigError(problems)
    launch_tags = _launch_tags(run, engine)
    pools = rendered_pools(settings, launch_tags, known) if shares_pools(settings) else {}
    root = engine.staging_root.rstrip("/")
    return DatabricksRequest(
        step=settings.name,
        output=run.output,
        workspace=workspace_of(settings),
        # S3 is reached through the engine's region too: a bucket elsewhere is found by redirection.
        place=replace(place_of(settings), region=engine.region),
        spark_version=engine.spark_version,
        cluster_id=None if engine.serverless else engine.cluster_id,
        serverless=engine.serverless,
        submit=_submit(run, engine, payload, launch_tags, pools, known),
        pools=pools,
        uploads=payload.uploads,
        messages_uri=f"{root}/pipes/<run>-<token>",
        timeout_s=engine.timeout_minutes * 60,
        start_timeout_s=engine.start_timeout_minutes * 60,
        poll_s=engine.poll_seconds,
        costing=costing_of(settings, engine.region),
        writes_output=settings.config.writes_output,
    )


def has_own_cluster(engine: DatabricksEngine) -> bool:
    """A job cluster is made for the step."""
    return not engine.serverless and engine.cluster_id is None


# --- the payload --------------------------------------------------------------------------------


def _payload(
    settings: StepSettings,
    engine: DatabricksEngine,
    cluster: DatabricksCluster,
    known: Mapping[str, InstanceType],
) -> Payload:
    at, root = f"pipeline.steps.{settings.name}", engine.staging_root
    problems = list(_module_problems(f"{at}.py_files", settings.py_files))
    wheels: list[Upload] = []
    packages: list[str] = []
    try:
        for one in _requirements(settings, engine, cluster, known):
            if one.endswith(".whl"):
                wheels.append(_wheel_upload(root, Path(one), f"{at}.libraries"))
            else:
                packages.append(one)
    except ConfigError as fault:
        problems += fault.problems
    script: Upload | None = None
    wheel: tuple[str, bytes, str] | None = None
    try:
        script = file_upload(root, settings.script)
        wheel = step_wheel(settings.py_files)
    except OSError as fault:
        problems.append(Problem(at, f"{fault.filename} cannot be read: {fault.strerror}."))
    if problems or script is None or wheel is None:
        raise ConfigError(problems)
    name, content, digest = wheel
    return Payload(
        script=script,
        wheel=content_upload(root, name, content),
        digest=digest,
        wheels=tuple(wheels),
        packages=tuple(packages),
    )


def _requirements(
    settings: StepSettings,
    engine: DatabricksEngine,
    cluster: DatabricksCluster,
    known: Mapping[str, InstanceType],
) -> tuple[str, ...]:
    python = (
        environment_of(engine.environment_version).python
        if engine.serverless
        else python_of(engine.spark_version)
    )
    worker = known.get(cluster.worker_node_type)
    architecture = Architecture.x86_64 if worker is None else worker.architecture
    # A rehearsal runs on this machine, with this Python.
    rehearsal = settings.endpoint.name is Endpoint.rehearsal
    found = step_libraries(settings, python, None if rehearsal else architecture)
    return () if found is None else found.requirements


def _wheel_upload(root: str, path: Path, where: str) -> Upload:
    try:
        # pip reads what a wheel is from its name, which is therefore kept as it is.
        parse_wheel_filename(path.name)
        return content_upload(root, path.name, path.read_bytes(), path)
    except InvalidWheelFilename:
        raise ConfigError([Problem(where, f"{path.name} is no name of a wheel.")]) from None
    except OSError as fault:
        why = f"{path} cannot be read: {fault.strerror}."
        raise ConfigError([Problem(where, why)]) from fault


def _module_problems(where: str, py_files: tuple[Path, ...]) -> Iterator[Problem]:
    names = [path.name for path in py_files]
    for name in names:
        if not _MODULE.fullmatch(name):
            yield Problem(
                where,
                f"{name}: a Python module's name has letters without accents, digits and _ alone,"
                " begins with no digit and ends with .py.",
            )
        elif name.removesuffix(".py") in RESERVED_MODULES:
            yield Problem(where, f"{name} would hide the module that every step imports.")
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield Problem(where, f"{name} is there more than once; one would hide the other.")


# --- the run ------------------------------------------------------------------------------------


def _submit(
    run: StepRun,
    engine: DatabricksEngine,
    payload: Payload,
    launch_tags: Mapping[str, str],
    pools: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, InstanceType],
) -> dict[str, Any]:
    settings = run.settings
    partition = f" {run.partition_key}" if run.partition_key is not None else ""
    name = _cut(f"ascii_hydra {settings.pipeline}/{settings.name}{partition}", _NAME_LENGTH)
    task: dict[str, Any] = {
        "task_key": TASK_KEY,
        "spark_python_task": {
            "python_file": payload.script.uri,
            "parameters": _parameters(run, engine, payload),
            "source": "WORKSPACE",
        },
        # A run of its own would report to Dagster what the first one has reported: retries are
        # Dagster's.
        "max_retries": 0,
    }
    made: dict[str, Any] = {
        # A retry takes a run over only if it was made from the same configuration.
        "run_name": " ".join(filter(None, (name, "<token>", run.digest))),
        # The client cancels a run in time; this is for a client that is there no more.
        "timeout_seconds": int((engine.start_timeout_minutes + engine.timeout_minutes) * 60) + 60,
        "queue": {"enabled": True},
        "tasks": [task],
    }
    if engine.serverless:
        task["environment_key"] = ENVIRONMENT_KEY
        # It is this that retries on serverless compute.
        task["disable_auto_optimization"] = True
        made["environments"] = [_environment(engine, payload)]
        if engine.budget_policy_id is not None:
            made["budget_policy_id"] = engine.budget_policy_id
        return made
    task["libraries"] = [
        *({"whl": one.uri} for one in (payload.wheel, *payload.wheels)),
        *({"pypi": {"package": one}} for one in payload.packages),
    ]
    if engine.cluster_id is not None:
        task["existing_cluster_id"] = engine.cluster_id
        return made
    tags = {
        **launch_tags,
        **_taggable({"ascii_hydra/step": settings.name}),
        "ascii_hydra/run": "<run>",
        "ascii_hydra/token": "<token>",
    }
    task["new_cluster"] = merged_cluster(
        rendered_cluster(settings, tags, pools, known), settings.config.databricks_cluster_config
    )
    return made


def _parameters(run: StepRun, engine: DatabricksEngine, payload: Payload) -> list[str]:
    words = [on_a_cluster(word) for word in run.arguments()]
    words += ["--payload", payload.digest]
    if not has_own_cluster(engine):
        # Such compute has its own settings already; these are of the step's session.
        for key, value in engine.spark_conf.items():
            words += ["--spark-conf", f"{key}={value}"]
    return words


def _environment(engine: DatabricksEngine, payload: Payload) -> dict[str, Any]:
    return {
        "environment_key": ENVIRONMENT_KEY,
        "spec": {
            "environment_version": engine.environment_version,
            "dependencies": [
                *(one.uri for one in (payload.wheel, *payload.wheels)),
                *payload.packages,
            ],
        },
    }


def _cluster_config_problems(settings: StepSettings) -> Iterator[Problem]:
    theirs = settings.config.databricks_cluster_config
    if theirs:
        # The SDK takes a second to import, and nothing else here needs it.
        from ascii_hydra.databricks.model import field_names

        where = f"pipeline.steps.{settings.name}.databricks_cluster_config"
        yield from cluster_config_problems(where, theirs, field_names("compute.ClusterSpec"))


# --- names --------------------------------------------------------------------------------------


def _launch_tags(run: StepRun, engine: DatabricksEngine) -> dict[str, str]:
    """Tags of everything of a launch."""
    settings = run.settings
    tags = {
        "project": "ascii_hydra",
        "ascii_hydra/pipeline": settings.pipeline,
        "ascii_hydra/config": run.digest,
        "ascii_hydra/owner": settings.launch.owner or _user(),
    }
    return {**_taggable(tags), "ascii_hydra/launch": "<launch>", **engine.tags}


def _taggable(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: _UNTAGGABLE.sub("_", value)[:TAG_VALUE_LENGTH] for key, value in tags.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _cut(text: str, length: int) -> str:
    plain = _UNPRINTABLE.sub("_", text)
    return plain if len(plain) <= length else f"{plain[: length - 3]}..."
