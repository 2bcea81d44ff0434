"""What these tests share: a step's request for Databricks, from overrides as people type them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ascii_hydra.config.engine_schema import DatabricksEngine
from ascii_hydra.config.settle import Settings
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun
from tests import request_asking

settled = partial(request_asking.settled, "databricks")
run_of = partial(request_asking.run_of, "databricks")
told = partial(request_asking.told, "databricks")
noticed = partial(request_asking.noticed, "databricks")


def asked(run: StepRun) -> DatabricksRequest:
    made = request(run)
    assert isinstance(made, DatabricksRequest)
    return made


def cluster_of(*overrides: str, **config: Any) -> dict[str, Any]:
    return dict(asked(run_of(*overrides, **config)).task["new_cluster"])


def words_of(request: DatabricksRequest) -> list[str]:
    found: list[str] = request.task["spark_python_task"]["parameters"]
    return found


def with_engine(settings: Settings, **fields: Any) -> Settings:
    """The settings with fields of the engine that Hydra's command line cannot read."""
    engine = settings.config.engine
    assert isinstance(engine, DatabricksEngine)
    engine = replace(engine, **fields)
    steps = {name: replace(one, engine=engine) for name, one in settings.steps.items()}
    return replace(settings, config=replace(settings.config, engine=engine), steps=steps)
