"""The Definitions that Dagster loads: every pipeline of conf/, its job, and the resource.

They are built from the default composition and the overrides of the environment, never from those
of one run: what is chosen for a run travels as its run config. So a run from the command line and
one from the UI are runs of the same job, and each can be executed again from the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ascii_hydra.assets.cost_comparison import NAME, cost_comparison
from ascii_hydra.assets.factory import pipeline_assets
from ascii_hydra.assets.launchpad import SparkPipesClient, for_pipeline, launch_choice
from ascii_hydra.config.arguments import environment_overrides, override_key
from ascii_hydra.config.compose import composed
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.schema import PipelineConfig
from ascii_hydra.config.settle import Settings, settle

RESOURCE = "spark_pipes_client"


def pipeline_options(conf: Path) -> list[str]:
    """The options of the group `pipeline` in a folder of configuration."""
    return sorted(path.stem for path in (conf / "pipeline").glob("*.yaml"))


def pipeline_jobs(pipeline: PipelineConfig) -> dict[str, list[str]]:
    """The steps of each job of a pipeline, by the job's name.

    All assets of a Dagster job have the same partitions. So a pipeline is one job of its name, or,
    if its steps differ in their dimensions, one job for each set of dimensions.
    """
    jobs: dict[str, list[str]] = {}
    one_only = len({step.partitions for step in pipeline.steps.values()}) == 1
    for name, step in pipeline.steps.items():
        by = "_and_".join(step.partitions)
        job = pipeline.name if one_only or not by else f"{pipeline.name}_by_{by}"
        jobs.setdefault(job, []).append(name)
    return jobs


def default_settings(conf: Path, pipeline: str) -> Settings:
    """What the environment's overrides, and nothing else, compose for a pipeline.

    Raises:
        ConfigError: this is no valid configuration.
    """
    # The definitions say what could be launched, so they are checked as a plan is.
    overrides = [*for_pipeline(pipeline, _environment(conf)), "action=plan"]
    return settle(composed(overrides, conf), overrides, conf)


def pipeline_structure(conf: Path, pipeline: str) -> PipelineConfig:
    """A pipeline as the definitions have it: what no single run may change of it counts.

    Raises:
        ConfigError: this is no valid configuration.
    """
    # Where it runs does not change it, and a run may choose that although the environment's
    # choice is no valid one.
    here = {"engine", "mode", "cluster"}
    overrides = [
        one
        for one in for_pipeline(pipeline, _environment(conf))
        if override_key(one).partition(".")[0] not in here
    ]
    overrides.append("action=plan")
    return settle(composed(overrides, conf), overrides, conf).config.pipeline


def default_choice(conf: Path) -> dict[str, Any]:
    """What the launchpad offers: the choice that the environment's overrides make.

    Raises:
        ConfigError: this is no valid configuration.
    """
    overrides = [*_environment(conf), "action=plan"]
    return launch_choice(settle(composed(overrides, conf), overrides, conf), overrides)


def structure_problems(wanted: PipelineConfig, known: PipelineConfig) -> Iterator[Problem]:
    """What a run asks for that only the definitions can have.

    Args:
        wanted: the pipeline as a run has it.
        known: as the definitions have it.
    """
    why = (
        "is part of what Dagster knows of the assets, so no single run can change it: change it in"
        " conf/pipeline, or for every run in ASCII_HYDRA_OVERRIDES."
    )
    if wanted.name != known.name:
        yield Problem(f"pipeline.name={wanted.name}", why)
    if set(wanted.partition_dimensions) != set(known.partition_dimensions):
        yield Problem("pipeline.partition_dimensions", why)
    if set(wanted.steps) != set(known.steps):
        yield Problem("pipeline.steps", why)
    for name in wanted.steps.keys() & known.steps.keys():
        for key in ("deps", "partitions", "checks"):
            if getattr(wanted.steps[name], key) != getattr(known.steps[name], key):
                yield Problem(f"pipeline.steps.{name}.{key}", why)


def _environment(conf: Path) -> list[str]:
    """The environment's overrides; those of `pipeline.` with the pipeline they are written for."""
    problems: list[Problem] = []
    overrides, _ = environment_overrides(os.environ, (), problems)
    if problems:
        raise ConfigError(problems)
    if any(override_key(one).startswith("pipeline.") for one in overrides):
        chosen = composed(overrides, conf, with_hydra=True).hydra.runtime.choices["pipeline"]
        return [f"pipeline={chosen}", *overrides]
    return overrides


def build_definitions(
    conf: Path,
    pipelines: Sequence[str],
    client: SparkPipesClient,
) -> dg.Definitions:
    """The assets of these pipelines, their jobs, and the resource that they share. A pipeline's
    comparison of costs is an asset with a job of its own.

    Args:
        conf: the folder of the configuration.
        pipelines: options of the group `pipeline`.
        client: the resource, with what the launchpad offers.
    """
    assets: list[dg.AssetsDefinition] = []
    jobs = []
    for option in pipelines:
        pipeline = pipeline_structure(conf, option)
        own = pipeline_assets(option, pipeline, conf)
        assets += own
        jobs += [
            dg.define_asset_job(
                name=name,
                selection=dg.AssetSelection.assets(
                    *(one for one in own if one.key.path[-1] in steps)
                ),
                description=pipeline.description or None,
                executor_def=dg.in_process_executor,
            )
            for name, steps in pipeline_jobs(pipeline).items()
        ]
        if (report := cost_comparison(pipeline)) is not None:
            assets.append(report)
            jobs.append(
                dg.define_asset_job(
                    name=f"{pipeline.name}_{NAME}",
                    selection=dg.AssetSelection.assets(report),
                    description=report.descriptions_by_key[report.key],
                    executor_def=dg.in_process_executor,
                )
            )
    return dg.Definitions(
        assets=assets,
        jobs=jobs,
        resources={RESOURCE: client},
        # Waiting for Spark needs no interpreter of its own for each step.
        executor=dg.in_process_executor,
    )
