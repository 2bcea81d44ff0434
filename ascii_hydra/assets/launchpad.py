"""What can be chosen when a run is launched, in the UI as on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from dagster import (
    Config,
    ConfigurableResource,
    DagsterInvariantViolationError,
    InitResourceContext,
)
from pydantic import Field, PrivateAttr

from ascii_hydra.assets.command_line import recorded_overrides
from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.choices import ClusterSize, Endpoint
from ascii_hydra.config.compose import composed
from ascii_hydra.config.launchpad_rule import launchpad_problem, refused_overrides
from ascii_hydra.config.problems import ConfigError, UnknownEngineError
from ascii_hydra.config.schema import EndpointConfig
from ascii_hydra.config.settle import Settings, StepSettings, settle
from ascii_hydra.costs.bill import Bill, together
from ascii_hydra.engines import budget
from ascii_hydra.engines.clock import Clock, SystemClock
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.step_costs import told_shared
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.still_running_events import report_still_running
from ascii_hydra.rehearsal.own import rehearsed
from ascii_hydra.step.choices import Engine, ExecutionMode

if TYPE_CHECKING:
    from ascii_hydra.engines.cloud_client import CloudClient

SHARED = "shared by the steps"
"""Whose it is, where a step is named otherwise."""
_SHARING = ("ascii_hydra.engines.emr.shared", "ascii_hydra.engines.databricks.pools")


class StepChoice(Config):
    """For one asset: an engine or a cluster other than the run's."""

    engine: Optional[Engine] = Field(  # noqa: UP045 - Dagster reads this spelling
        default=None, description="Where this step runs; null: where the run says."
    )
    cluster: Optional[ClusterSize] = Field(  # noqa: UP045
        default=None, description="How much computing this step gets; null: as the run says."
    )
    overrides: list[str] = Field(
        default_factory=list,
        description="Raw overrides of the configuration for this step: engine.timeout_minutes=30",
    )


class SparkPipesClient(ConfigurableResource):  # type: ignore[type-arg]
    """Where a run's steps run, on how much data and with how much computing."""

    engine: Engine = Field(default=Engine.pyspark, description="Where the steps run.")
    mode: ExecutionMode = Field(
        default=ExecutionMode.small_dev_sample_local,
        description="How much data they read, and where it lives.",
    )
    cluster: ClusterSize = Field(
        default=ClusterSize.small, description="How much computing a step gets."
    )
    overrides: list[str] = Field(
        default_factory=list,
        description="Raw overrides of the configuration: cluster.cores=4. In the launchpad, those"
        " that set sizes, times, closed choices and options of conf/",
    )
    # What the definitions' own code gives; None outside a run, where there is nothing but code.
    _given: tuple[str, ...] | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Remember what this resource has in the definitions, before the run's own choice."""
        try:
            schema = context.resource_def.config_schema
        except DagsterInvariantViolationError:
            return  # code initializes it, without a job
        defined = schema.default_value if schema.default_provided else {}
        self._given = tuple(defined.get("overrides", ()))

    def settings(
        self, conf: Path, pipeline: str | None, step_overrides: Sequence[str] = ()
    ) -> Settings:
        """The settings of this run.

        Args:
            conf: the folder of the Hydra configuration.
            pipeline: option of the group `pipeline` that is run, or None.
            step_overrides: what was chosen for one step alone; checked, not composed.

        Raises:
            ConfigError: the choice is no valid configuration, or none that a run may make.
        """
        if self._given is not None:
            given = {*self._given, *recorded_overrides()}
            if refused := refused_overrides([*self.overrides, *step_overrides], given, conf):
                raise ConfigError([launchpad_problem(refused)])
        chosen = [f"{name}={getattr(self, name).value}" for name in ("engine", "mode", "cluster")]
        overrides = tuple(for_pipeline(pipeline, [*chosen, *self.overrides]))
        return rehearsed(_settled(conf, overrides), conf)

    def pipes_client(self, step: StepSettings) -> LocalSparkClient | CloudClient[Any]:
        """The Pipes client of a step's engine."""
        if step.engine.name is Engine.pyspark:
            return self.local_client()
        return self.cloud_client(step.engine.name, clock_of(step.endpoint))

    def local_client(self) -> LocalSparkClient:
        """The Pipes client of Spark on this machine."""
        return LocalSparkClient()

    def cloud_client(self, engine: Engine, clock: Clock) -> CloudClient[Any]:
        """The Pipes client of a cloud, whose time is the clock's."""
        return client_type(engine)(clock=clock)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """End what the steps of a run have shared, once the run has ended."""
        if context.run_id is None or context.log is None:
            return
        bills: list[Bill] = []
        for one in shared_ended(context.run_id, bills.append):
            if not isinstance(one, StillRunning):
                context.log.info(one)
            elif context.instance is not None and context.run is not None:
                report_still_running(context.instance, context.run, one, who=SHARED)
            else:
                context.log.error(f"{SHARED}: {one.sentence}")
        if bills and context.instance is not None:
            line = told_shared(context.instance, context.run, together(bills))
            context.log.info(line)


def client_type(engine: Engine) -> type[CloudClient[Any]]:
    """The class of a cloud's Pipes client; only its own SDK is imported.

    Raises:
        UnknownEngineError: the engine is no cloud's.
    """
    if engine is Engine.emr:
        from ascii_hydra.engines.emr.client import EmrClient

        return EmrClient
    if engine is Engine.databricks:
        from ascii_hydra.engines.databricks.client import DatabricksClient

        return DatabricksClient
    raise UnknownEngineError(engine, "client of a cloud", (Engine.emr, Engine.databricks))


def shared_ended(launch: str, billed: Callable[[Bill], None]) -> Iterator[StillRunning | str]:
    """End what the steps of a launch have shared; yields what may still run though it was to end,
    and a sentence on what was left to another process.

    Args:
        launch: names the launch: a command of the command line, or a run.
        billed: is given the bills of what was shared, of what it cost besides the steps.
    """
    budget.forget(launch)
    for name in _SHARING:
        # Nothing is shared by what was never imported.
        if (module := sys.modules.get(name)) is not None:
            yield from module.close_shared(launch, billed)


def clock_of(endpoint: EndpointConfig) -> Clock:
    """The time of a cloud."""
    if endpoint.name is not Endpoint.rehearsal or endpoint.url is None:
        return SystemClock()
    from ascii_hydra.rehearsal.clock import RehearsalClock

    return RehearsalClock(endpoint.url)


def for_pipeline(option: str | None, overrides: Sequence[str]) -> list[str]:
    """Overrides for a run of one pipeline.

    Overrides of `pipeline.` that were written for another pipeline, which `pipeline=` among them
    names, are left out: they may stand in the environment, which is there for every pipeline.
    """
    named = [one.partition("=")[2] for one in overrides if override_key(one) == "pipeline"]
    foreign = bool(named) and named[-1] != option
    kept = [
        one
        for one in overrides
        if override_key(one) != "pipeline"
        and not (foreign and override_key(one).startswith("pipeline."))
    ]
    return [*([f"pipeline={option}"] if option is not None else []), *kept]


@lru_cache(maxsize=64)
def _settled(conf: Path, overrides: tuple[str, ...]) -> Settings:
    return settle(composed(overrides, conf), overrides, conf)


def launch_choice(settings: Settings, overrides: Sequence[str]) -> dict[str, Any]:
    """The resource's run config that makes another process compose these settings again.

    Args:
        settings: what was composed.
        overrides: what it was composed from.
    """
    config = settings.config
    chosen = {
        "engine": config.engine.name.value,
        "mode": config.mode.name.value,
        "cluster": config.cluster.size.value,
    }
    last = {override_key(one): one for one in overrides}
    kept = []
    for one in overrides:
        key = override_key(one)
        if key in {"action", "launch.on_failure"}:
            continue
        # Of a choice only the last word counts, and not even that where the Enums carry it: in the
        # launchpad it would win over the Enum that a person changes there.
        if key in chosen and (one != last[key] or one == f"{key}={chosen[key]}"):
            continue
        kept.append(one)
    return {**chosen, "overrides": kept}
