"""What would be submitted: pure values, printed by `plan` and started by a launch."""

from __future__ import annotations

import json

import pytest

from ascii_hydra.assets.launchpad import SparkPipesClient, StepChoice, for_pipeline, launch_choice
from ascii_hydra.config.compose import composed, conf_folder
from ascii_hydra.config.schema import ClusterSize
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import output_folder
from ascii_hydra.report.plan import planned_run
from ascii_hydra.step import Engine, ExecutionMode, StepArguments


def settled(*overrides: str) -> Settings:
    return settle(composed(overrides), overrides)


def local(*overrides: str, step: str = "step_1") -> LocalRequest:
    settings = settled(*overrides)
    asked = request(planned_run(settings, settings.steps[step]))
    assert asked is not None
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


def test_a_partition_cannot_leave_its_folder_nor_be_a_pattern() -> None:
    assert output_folder("/data/", {"day": "../x", "query": "*"}) == "/data/day=..%2Fx/query=%2A"


def test_a_launch_choice_composes_the_same_elsewhere() -> None:
    typed = ["cluster=medium", "pipeline=two_steps", "engine.timeout_minutes=7", "launch=ci"]
    settings = settled(*typed)
    choice = launch_choice(settings, typed)
    assert choice["overrides"] == ["pipeline=two_steps", "engine.timeout_minutes=7", "launch=ci"]
    again = SparkPipesClient(**choice).settings(
        conf=conf_folder(), pipeline="two_steps", step="step_1", choice=StepChoice()
    )
    assert again.digest == settings.digest


def test_an_assets_own_choice_wins_for_that_asset_alone() -> None:
    client = SparkPipesClient(cluster=ClusterSize.medium)
    settings = client.settings(
        conf=conf_folder(),
        pipeline="two_steps",
        step="step_2",
        choice=StepChoice(cluster=ClusterSize.large),
    )
    assert settings.steps["step_1"].cluster.size is ClusterSize.medium
    assert settings.steps["step_2"].cluster.size is ClusterSize.large


def test_overrides_of_one_pipeline_do_not_reach_another() -> None:
    words = ["pipeline=two_steps", "pipeline.steps.step_1.parameters.seed=1", "cluster=large"]
    assert for_pipeline("two_steps", words) == words
    assert for_pipeline("webgraph", words) == ["pipeline=webgraph", "cluster=large"]
