"""Which credentials this machine needs for a step, and whether it has them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from ascii_hydra.aws.client import Place
from ascii_hydra.aws.place import place_of
from ascii_hydra.config.engine_schema import DatabricksEngine, EmrEngine, PySparkEngine
from ascii_hydra.config.problems import Problem, UnknownEngineError
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.databricks.workspace import (
    CLIENT_ID,
    CLIENT_SECRET,
    HOST,
    Workspace,
    workspace_of,
)
from ascii_hydra.step.choices import Engine


def credential_problems(step: StepSettings) -> Iterator[Problem]:
    """What is missing for this machine to have a step run, wherever it runs. Databricks is asked
    for a token, AWS for nothing."""
    for one in _needed(step):
        yield from _problems(one)


def launch_credential_problems(settings: Settings) -> list[Problem]:
    """The same for all steps of a launch, and for what is read here before they start."""
    steps = settings.steps.values()
    needed = dict.fromkeys(one for step in steps for one in _needed(step))
    pipeline = settings.config.pipeline
    read = any(one.csv is not None for one in pipeline.partition_dimensions.values())
    if read and "://" in pipeline.input:
        needed[place_of(next(iter(steps)))] = None
    return list(dict.fromkeys(problem for one in needed for problem in _problems(one)))


def _needed(step: StepSettings) -> Iterator[Place | Workspace]:
    """Where this machine logs in for a step."""
    engine = step.engine
    if not isinstance(engine, PySparkEngine | EmrEngine | DatabricksEngine):
        raise UnknownEngineError(engine.name, "login", Engine)
    # A rehearsal that is still to be started has no address to log in at.
    if isinstance(engine, DatabricksEngine) and not (
        workspace_of(step).rehearsal and step.endpoint.url is None
    ):
        yield workspace_of(step)
    # What Databricks does with the data, it does with credentials of its own.
    here = not isinstance(engine, DatabricksEngine) or engine.staging_root.startswith("s3://")
    if here and step.mode.bucket is not None:
        yield place_of(step)


def _problems(where: Place | Workspace) -> Iterator[Problem]:
    if isinstance(where, Place):
        from ascii_hydra.aws.credentials import credential_problems as aws_problems

        yield from aws_problems(where)
        return
    from ascii_hydra.databricks.credentials import credential_problems as databricks_problems

    missing = list(databricks_problems(where))
    yield from missing or _login_problems(where)


def _login_problems(workspace: Workspace) -> Iterator[Problem]:
    """Why a workspace gives no token. Nobody wants to wait for an upload to hear of it."""
    from ascii_hydra.engines.clock import SystemClock
    from ascii_hydra.engines.databricks.api import Databricks
    from ascii_hydra.engines.databricks_errors import LoginError

    try:
        _ = Databricks(workspace, SystemClock(), threading.Event()).host
    except LoginError as fault:
        if fault.transient:
            host = workspace.url or os.environ.get(HOST, "of the profile")
            yield Problem(
                f"{HOST}={host}",
                "is not to be reached, or is no Databricks workspace: check the address and the"
                " network.",
            )
        else:
            yield Problem(f"{CLIENT_ID}, {CLIENT_SECRET}", f"{fault}: check both.")
