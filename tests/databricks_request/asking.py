"""What these tests share: a step's request, from overrides as people type them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ascii_hydra.config.compose import composed
from ascii_hydra.config.schema import DatabricksEngine
from ascii_hydra.config.settle import Settings, StepSettings, settle
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.request import request, request_notices, request_problems
from ascii_hydra.engines.step_run import StepRun, planned_run

ALWAYS = ("engine=databricks", "mode=full", "action=plan", "launch.owner=someone")


@cache
def settled(*overrides: str) -> Settings:
    words = (*ALWAYS, *overrides)
    return settle(composed(words), words)


def run_of(*overrides: str, step: str = "step_1", **config: Any) -> StepRun:
    """A step's run. `config`: fields of its StepConfig that are not typed."""
    settings = settled(*overrides)
    own = settings.steps[step]
    return planned_run(settings, replace(own, config=replace(own.config, **config)))


def asked(run: StepRun) -> DatabricksRequest:
    made = request(run)
    assert isinstance(made, DatabricksRequest)
    return made


def cluster_of(*overrides: str, **config: Any) -> dict[str, Any]:
    return dict(asked(run_of(*overrides, **config)).task["new_cluster"])


def words_of(request: DatabricksRequest) -> list[str]:
    found: list[str] = request.task["spark_python_task"]["parameters"]
    return found


def told(*overrides: str, **config: Any) -> str:
    """All problems, as a person reads them."""
    return problems_of(changed(settled(*overrides), config))


def noticed(*overrides: str, **config: Any) -> list[str]:
    return list(request_notices(changed(settled(*overrides), config)))


def problems_of(settings: Settings) -> str:
    return "\n".join(map(str, request_problems(settings)))


def changed(settings: Settings, config: dict[str, Any]) -> Settings:
    def step(one: StepSettings) -> StepSettings:
        made = replace(one.config, **config) if one.name == "step_1" else one.config
        return replace(one, config=made)

    return replace(settings, steps={name: step(one) for name, one in settings.steps.items()})


def with_engine(settings: Settings, **fields: Any) -> Settings:
    """The settings with fields of the engine that Hydra's command line cannot read."""
    engine = settings.config.engine
    assert isinstance(engine, DatabricksEngine)
    engine = replace(engine, **fields)
    steps = {name: replace(one, engine=engine) for name, one in settings.steps.items()}
    return replace(settings, config=replace(settings.config, engine=engine), steps=steps)
