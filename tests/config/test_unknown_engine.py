"""An engine that nobody has written is refused by name, and is nowhere taken for another one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pytest

from ascii_hydra.assets.launchpad import SparkPipesClient, client_type
from ascii_hydra.catalogue.prices import Market
from ascii_hydra.config.cluster_schema import ClusterConfig
from ascii_hydra.config.engine_schema import EngineConfig
from ascii_hydra.config.problems import UnknownEngineError
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.costs.bill import bill
from ascii_hydra.costs.usage import InstanceUse, Usage
from ascii_hydra.engines.clock import SystemClock
from ascii_hydra.engines.credentials import credential_problems, launch_credential_problems
from ascii_hydra.engines.estimate import estimated, plan_estimates
from ascii_hydra.engines.expected_run import expected_run, expected_startup, shared_flow
from ascii_hydra.engines.planned import capacity, describe, planned_usage
from ascii_hydra.engines.request import (
    keeps_promise,
    request,
    request_notices,
    request_problems,
    run_problems,
)
from ascii_hydra.engines.step_run import StepRun, planned_run
from tests import request_asking
from tests.conftest import PROJECT
from tests.costs.fixed_prices import PRICES


class Fourth(StrEnum):
    """An engine that is in no registry."""

    slurm = "slurm"


@dataclass(frozen=True)
class SlurmEngine(EngineConfig):
    """Its configuration."""


@dataclass(frozen=True)
class SlurmCluster(ClusterConfig):
    """Its cluster."""


@dataclass(frozen=True)
class SlurmRequest:
    """What would be asked of it."""

    costing: Any = None


def settings() -> Settings:
    """A run whose steps are all on the unknown engine; its data is in S3."""
    known = request_asking.settled("emr")
    engine = SlurmEngine(name=Fourth.slurm, timeout_minutes=1.0)  # type: ignore[arg-type]
    cluster = known.config.cluster
    strange = SlurmCluster(size=cluster.size, promise=cluster.promise)
    steps = {
        name: replace(one, engine=engine, cluster=strange) for name, one in known.steps.items()
    }
    return replace(known, steps=steps, config=replace(known.config, engine=engine, cluster=strange))


def step() -> StepSettings:
    return settings().steps["step_1"]


def run() -> StepRun:
    return planned_run(settings(), step())


def used() -> Usage:
    instance = InstanceUse("worker", "m5d.xlarge", Market.on_demand, 1, 60, 60, 60)
    return Usage(Fourth.slurm, "us-east-1", (instance,))  # type: ignore[arg-type]


ASKED: Any = SlurmRequest()
REFUSALS: dict[str, Callable[[], object]] = {
    "request": lambda: request(run()),
    "run_problems": lambda: run_problems(run()),
    "request_problems": lambda: list(request_problems(settings())),
    "request_notices": lambda: list(request_notices(settings())),
    "keeps_promise": lambda: keeps_promise(settings()),
    "planned_usage": lambda: planned_usage(ASKED, 0.0, 1.0),
    "describe": lambda: describe(ASKED),
    "capacity": lambda: capacity(ASKED),
    "shared_flow": lambda: shared_flow(ASKED),
    "expected_run": lambda: expected_run(run(), ASKED, [], vcpus=1.0),
    "expected_startup": lambda: expected_startup(run(), ASKED, []),
    "estimated": lambda: estimated(run(), ASKED, []),
    "plan_estimates": lambda: plan_estimates(settings(), []),
    "credential_problems": lambda: list(credential_problems(step())),
    "launch_credential_problems": lambda: launch_credential_problems(settings()),
    "client_type": lambda: client_type(Fourth.slurm),  # type: ignore[arg-type]
    "pipes_client": lambda: SparkPipesClient().pipes_client(step()),
    "cloud_client": lambda: SparkPipesClient().cloud_client(
        Fourth.slurm,  # type: ignore[arg-type]
        SystemClock(),
    ),
    "bill": lambda: bill([used()], PRICES),
}
# The modules that decide something by the engine, whose public functions must all be above, or be
# for one engine alone.
DISPATCHING = {
    "engines/request.py": set(),
    "engines/planned.py": set(),
    "engines/expected_run.py": set(),
    "engines/credentials.py": set(),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_unknown_engine_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UnknownEngineError) as refused:
        REFUSALS[name]()
    said = str(refused.value)
    assert said.startswith(("engine=slurm: there is no ", "engine=SlurmRequest: there is no "))
    assert said.endswith(("use pyspark, emr or databricks.", "use emr or databricks."))


@pytest.mark.parametrize("module", DISPATCHING)
def test_every_public_function_that_dispatches_is_tried(module: str) -> None:
    tree = ast.parse((PROJECT / "ascii_hydra" / module).read_text(encoding="utf-8"))
    public = {
        one.name
        for one in tree.body
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
    }
    assert public - DISPATCHING[module] <= set(REFUSALS)
