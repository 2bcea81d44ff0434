"""What can be chosen when a run is launched, in the UI as on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from dagster import Config, ConfigurableResource
from pydantic import Field

from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.compose import composed
from ascii_hydra.config.schema import ClusterSize
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.step.choices import Engine, ExecutionMode


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
        description="Raw overrides of the configuration: cluster.cores=4",
    )

    def settings(self, conf: Path, pipeline: str | None) -> Settings:
        """The settings of this run.

        Args:
            conf: the folder of the Hydra configuration.
            pipeline: option of the group `pipeline` that is run, or None.

        Raises:
            ConfigError: the choice is no valid configuration.
        """
        chosen = [f"{name}={getattr(self, name).value}" for name in ("engine", "mode", "cluster")]
        return _settled(conf, tuple(for_pipeline(pipeline, [*chosen, *self.overrides])))

    def pipes_client(self, engine: Engine) -> LocalSparkClient:
        """The Pipes client of an engine."""
        if engine is Engine.pyspark:
            return self.local_client()
        raise NotImplementedError(f"engine={engine.value} has no Pipes client yet")

    def local_client(self) -> LocalSparkClient:
        """The Pipes client of Spark on this machine."""
        return LocalSparkClient()


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
        if key == "action" or key.startswith("launch."):
            continue
        # Of a choice only the last word counts, and not even that where the Enums carry it: in the
        # launchpad it would win over the Enum that a person changes there.
        if key in chosen and (one != last[key] or one == f"{key}={chosen[key]}"):
            continue
        kept.append(one)
    return {**chosen, "overrides": kept}
