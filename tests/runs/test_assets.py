"""Assets made by the factory: which folders a run reads and overwrites, and when it fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ascii_hydra.assets import SparkPipesClient, spark_asset

# Says what it was told, without Spark: the script's side of the contract is all that is used.
SCRIPT = """
import json, os, sys
from ascii_hydra.step import StepArguments
from ascii_hydra.step.metadata import OUTPUT_CHECKED
from ascii_hydra.step.spark_step import _ArgumentsLoader
from dagster_pipes import open_dagster_pipes

given = StepArguments.parsed(sys.argv[1:])
with open_dagster_pipes(params_loader=_ArgumentsLoader(given)) as context:
    os.makedirs(given.output, exist_ok=True)
    told = {"inputs": dict(given.inputs), "partition": dict(given.partition)}
    told["writes_output"] = given.writes_output
    with open(os.path.join(given.output, "told.json"), "w") as file:
        json.dump(told, file)
    if given.writes_output:
        context.report_custom_message({OUTPUT_CHECKED: True})
    for check in given.parameters.get("checks", {}):
        context.report_asset_check(check, passed=given.parameters["checks"][check])
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "tells.py"
    path.write_text(SCRIPT)
    return str(path)


def made(
    assets: Sequence[dg.AssetsDefinition], folder: Path, **choice: Any
) -> dg.ExecuteInProcessResult:
    overrides = [
        "engine.reuse_jvm=false",
        "engine.class_sharing=false",
        f"mode.output_root={folder}",
    ]
    return dg.materialize(
        assets,
        resources={"spark_pipes_client": SparkPipesClient(overrides=overrides)},
        raise_on_error=False,
        **choice,
    )


def told(folder: Path) -> Any:
    return json.loads((folder / "told.json").read_text())


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    event = next(one for one in result.get_step_failure_events() if one.step_key == step)
    error = event.step_failure_data.error
    assert error is not None
    return str(event.step_failure_data.user_failure_data or error.message) + error.message


def test_a_partition_must_be_chosen(script: str, tmp_path: Path) -> None:
    """Without one, the script would overwrite the folder of all partitions."""
    days = dg.StaticPartitionsDefinition(["mo", "tu"])
    asset = spark_asset("daily", external_script_file=script, partitions_def=days)
    assert made([asset], tmp_path / "d", partition_key="mo").success
    assert told(tmp_path / "d" / "daily" / "partition=mo")["partition"] == {"partition": "mo"}
    range_of_both = {
        "dagster/asset_partition_range_start": "mo",
        "dagster/asset_partition_range_end": "tu",
    }
    refused = made([asset], tmp_path / "d", tags=range_of_both)
    assert not refused.success
    assert "has partitions; choose one of them for a run" in failure(refused, "daily")
    assert not (tmp_path / "d" / "daily" / "told.json").exists()


def test_a_week_reads_its_days_and_no_others(script: str, tmp_path: Path) -> None:
    daily = spark_asset(
        "daily",
        external_script_file=script,
        partitions_def=dg.DailyPartitionsDefinition("2026-01-01"),
    )
    for deps in ([daily], ["daily"], [dg.AssetKey("daily")]):
        weekly = spark_asset(
            "weekly",
            external_script_file=script,
            partitions_def=dg.WeeklyPartitionsDefinition("2026-01-04"),
            deps=deps,
        )
        result = made(
            [daily, weekly], tmp_path / "w", partition_key="2026-01-11", selection=[weekly]
        )
        assert result.success
        days = ",".join(f"2026-01-{day}" for day in range(11, 18))
        read = told(tmp_path / "w" / "weekly" / "partition=2026-01-11")["inputs"]["daily"]
        assert read == f"{tmp_path}/w/daily/partition={{{days}}}"


def test_a_script_with_an_effect_elsewhere_need_not_write(script: str, tmp_path: Path) -> None:
    for writes in (True, False):
        asset = spark_asset(f"e_{writes}", external_script_file=script, writes_output=writes)
        assert made([asset], tmp_path).success
        assert told(tmp_path / f"e_{writes}")["writes_output"] is writes


def test_a_misspelt_override_is_answered_as_on_the_command_line(script: str) -> None:
    asset = spark_asset("misspelt", external_script_file=script)
    client = SparkPipesClient(overrides=["cluster.corse=4"])
    result = dg.materialize([asset], resources={"spark_pipes_client": client}, raise_on_error=False)
    assert "cluster.corse" in failure(result, "misspelt")
    assert "did you mean" in failure(result, "misspelt").lower()
    assert "hydra.errors" not in failure(result, "misspelt")


def test_two_dimensions_are_read_by_one_of_them_and_whole(script: str, tmp_path: Path) -> None:
    crawls = dg.StaticPartitionsDefinition(["a", "b"])
    queries = dg.StaticPartitionsDefinition(["x", "y"])
    both = dg.MultiPartitionsDefinition({"crawl": crawls, "query": queries})
    fine = spark_asset("fine", external_script_file=script, partitions_def=both)
    by_crawl = spark_asset(
        "by_crawl", external_script_file=script, partitions_def=crawls, deps=[fine]
    )
    whole = spark_asset("whole", external_script_file=script, deps=[fine])
    assets = [fine, by_crawl, whole]
    assert made(assets, tmp_path / "m", partition_key="a", selection=[by_crawl]).success
    read = told(tmp_path / "m" / "by_crawl" / "partition=a")["inputs"]["fine"]
    assert read == f"{tmp_path}/m/fine/crawl=a/query={{x,y}}"
    assert made(assets, tmp_path / "m", selection=[whole]).success
    assert told(tmp_path / "m" / "whole")["inputs"]["fine"] == f"{tmp_path}/m/fine"


@pytest.mark.parametrize(("passed", "ends"), [({"sound": True}, True), ({"sound": False}, False)])
def test_a_failed_check_fails_its_step_and_stops_what_follows(
    script: str, tmp_path: Path, passed: dict[str, bool], ends: bool
) -> None:
    first = spark_asset(
        "first", external_script_file=script, checks=["sound"], parameters={"checks": passed}
    )
    second = spark_asset("second", external_script_file=script, deps=[first])
    result = made([first, second], tmp_path / "c")
    assert result.success is ends
    assert (tmp_path / "c" / "second").exists() is ends


def test_a_check_that_is_not_reported_fails_the_step(script: str, tmp_path: Path) -> None:
    asset = spark_asset("silent", external_script_file=script, checks=["sound"])
    assert not made([asset], tmp_path / "s").success


def test_two_deps_of_one_name_are_refused(script: str) -> None:
    deps = [dg.AssetKey(["a", "same"]), dg.AssetKey(["b", "same"])]
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="two deps have the same name"):
        spark_asset("reader", external_script_file=script, deps=deps)
