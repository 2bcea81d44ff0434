"""What would be submitted: pure values, printed by `plan` and started by a launch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from ascii_hydra.assets.launchpad import SparkPipesClient, for_pipeline, launch_choice
from ascii_hydra.config.choices import ClusterSize
from ascii_hydra.config.compose import composed, conf_folder
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.settle import Settings, settle, settled_step
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import output_folder, planned_run
from ascii_hydra.step import Engine, ExecutionMode, StepArguments


def settled(*overrides: str) -> Settings:
    return settle(composed(overrides), overrides)


def local(*overrides: str, step: str = "step_1") -> LocalRequest:
    settings = settled(*overrides)
    asked = request(planned_run(settings, settings.steps[step]))
    assert isinstance(asked, LocalRequest)
    return asked


@pytest.mark.parametrize(
    ("size", "cores", "gib"), [("small", 2, 1), ("medium", 4, 2), ("large", 8, 4)]
)
def test_the_cluster_sets_cores_and_memory(size: str, cores: int, gib: int) -> None:
    asked = local(f"cluster={size}")
    assert asked.master == f"local[{cores}]"
    assert asked.driver_memory_mib == gib * 1024


def test_a_standalone_cluster_gets_the_same_cores_and_memory() -> None:
    asked = local("engine.master=spark://host:7077", "cluster=medium")
    assert asked.master == "spark://host:7077"
    assert asked.spark_conf["spark.cores.max"] == "4"
    assert asked.spark_conf["spark.executor.memory"] == "2048m"


def test_a_step_is_told_that_it_need_not_write() -> None:
    assert StepArguments.parsed(local().arguments).writes_output
    asked = local("pipeline.steps.step_1.writes_output=false")
    assert not StepArguments.parsed(asked.arguments).writes_output


def test_what_is_said_nearest_to_the_step_wins() -> None:
    asked = local(
        "+engine.spark_conf={spark.sql.shuffle.partitions: '3', spark.ui.enabled: 'true'}",
        "+pipeline.steps.step_1.local_spark_config={spark.sql.shuffle.partitions: 5, a.b: true}",
    )
    assert asked.spark_conf["spark.sql.shuffle.partitions"] == "5"
    assert asked.spark_conf["spark.ui.enabled"] == "true"
    assert asked.spark_conf["a.b"] == "true"


def test_the_quick_compiler_is_for_samples_only() -> None:
    assert local().small_data
    assert not local("mode=full", "action=plan").small_data


def test_a_request_is_json_and_the_script_reads_its_arguments() -> None:
    asked = local("pipeline=webgraph", step="graph")
    assert json.loads(json.dumps(asked.as_json()))["step"] == "graph"
    given = StepArguments.parsed(asked.arguments)
    assert (given.engine, given.mode) == (Engine.pyspark, ExecutionMode.small_dev_sample_local)
    assert given.partition == {"crawl": "<crawl>", "query": "<query>"}
    assert given.partition_key == "<crawl>|<query>"
    assert set(given.inputs) == {"nodes", "edges"}
    assert given.inputs["nodes"].endswith("/webgraph/nodes/query=<query>")


@pytest.mark.parametrize("engine", ["pyspark", "emr", "databricks"])
def test_the_script_is_told_the_same_on_every_engine(engine: str) -> None:
    words = ("pipeline=webgraph", f"engine={engine}", "mode=full", "action=plan")
    settings = settled(*words)
    run = planned_run(settings, settings.steps["graph"])
    asked = request(run)
    if isinstance(asked, LocalRequest):
        given = asked.arguments
    elif isinstance(asked, EmrRequest):
        given = tuple(asked.step_config["HadoopJarStep"]["Args"])
    else:
        given = tuple(asked.task["spark_python_task"]["parameters"])
    at = given.index("--engine")
    assert given[at + 1] == engine
    told = StepArguments.parsed(given[at:])
    assert told.partition_key == "<crawl>|<query>"
    assert set(told.inputs) == {"nodes", "edges"}


def test_a_partition_cannot_leave_its_folder_nor_be_a_pattern() -> None:
    assert output_folder("/data/", {"day": "../x", "query": "*"}) == "/data/day=..%2Fx/query=%2A"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["cluster=medium", "engine.timeout_minutes=7"], ["engine.timeout_minutes=7"]),
        # What lost is gone, wherever it came from: it must not win where it is composed again.
        (["cluster=large", "cluster=medium"], []),
        (["mode=full", "cluster=medium", "mode=small_dev_sample_local"], []),
        (["cluster=medium", "pipeline=two_steps", "action=run"], ["pipeline=two_steps"]),
    ],
)
def test_a_launch_choice_composes_the_same_elsewhere(typed: list[str], kept: list[str]) -> None:
    settings = settled(*typed)
    choice = launch_choice(settings, typed)
    assert choice["overrides"] == kept
    again = SparkPipesClient(**choice).settings(conf_folder(), "two_steps")
    assert again.config.cluster.size is ClusterSize.medium
    assert again.digest == settings.digest


@pytest.mark.parametrize(
    ("run", "named", "own", "cores"),
    [
        ([], None, [], 2),
        (["cluster.cores=1"], None, [], 1),
        (["cluster.cores=1"], "large", [], 8),  # written for the run's size, not for large
        (["cluster.cores=1"], "large", ["cluster.cores=3"], 3),
        (["cluster.cores=1"], None, ["cluster.cores=3"], 3),
        (["cluster=medium"], "small", [], 2),
    ],
)
def test_what_is_chosen_for_a_step_wins_for_that_step_alone(
    run: list[str], named: str | None, own: list[str], cores: int
) -> None:
    settings = settled(*run)
    step = settings.config.pipeline.steps["step_1"]
    if named is not None:
        step = dataclasses.replace(step, cluster=ClusterSize(named))
    made = settled_step(settings, "step_1", step, Path("steps"), own_overrides=own)
    assert made.cluster.cores == cores  # type: ignore[attr-defined]
    assert f"cores: {cores}" in made.yaml


def test_a_steps_own_overrides_are_of_its_engine_and_cluster() -> None:
    settings = settled()
    step = settings.config.pipeline.steps["step_1"]
    with pytest.raises(ConfigError, match="mode=full: a step's own overrides are of engine"):
        settled_step(settings, "step_1", step, Path("steps"), own_overrides=["mode=full"])


def test_the_digest_names_what_a_step_of_its_own_runs_on(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(conf_folder(), conf)
    words = ["pipeline.steps.step_2.cluster=large"]
    before = settle(composed(words, conf), words, conf)
    assert "cores: 8" in before.yaml
    large = conf / "cluster" / "pyspark" / "large.yaml"
    large.write_text(large.read_text().replace("cores: 8", "cores: 3"))
    assert settle(composed(words, conf), words, conf).digest != before.digest


def test_overrides_of_one_pipeline_do_not_reach_another() -> None:
    words = ["pipeline=two_steps", "pipeline.steps.step_1.parameters.seed=1", "cluster=large"]
    assert for_pipeline("two_steps", words) == words
    assert for_pipeline("webgraph", words) == ["pipeline=webgraph", "cluster=large"]
