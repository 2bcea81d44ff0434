"""The Dagster UI: what it shows, and runs that are started in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ascii_hydra.assets.command_line import record_overrides
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.rehearsal.started import started
from tests.rehearsed.conftest import Cloud
from tests.ui.running_ui import LAUNCHED, Ui, running_ui


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    with running_ui(tmp_path_factory.mktemp("project")) as running:
        yield running


def test_assets_with_groups_kinds_and_the_place_of_their_script(ui: Ui) -> None:
    nodes = ui.ask(
        """{ assetNodes { assetKey { path } groupName description kinds jobNames
        metadataEntries { label ... on CodeReferencesMetadataEntry { codeReferences {
        ... on LocalFileCodeReference { filePath } } } } } }"""
    )["assetNodes"]
    known = {"/".join(node["assetKey"]["path"]): node for node in nodes}
    assert set(known) == {
        "two_steps/step_1",
        "two_steps/step_2",
        *(f"webgraph/{one}" for one in ("nodes", "edges", "graph", "graph_aggr")),
        *(f"{one}/cost_comparison" for one in ("two_steps", "webgraph")),
    }
    step = known["two_steps/step_2"]
    assert step["groupName"] == "two_steps"
    assert step["description"] == "The length of every text, and how many differ."
    assert set(step["kinds"]) == {"pyspark", "parquet"}
    assert "two_steps" in step["jobNames"]
    places = [one for one in step["metadataEntries"] if one["label"] == "dagster/code_references"]
    assert places[0]["codeReferences"] == [{"filePath": str(ui.project / "steps" / "step_2.py")}]


def test_partitions_are_there_from_the_start(ui: Ui) -> None:
    nodes = ui.ask(
        "{ assetNodes { assetKey { path } partitionKeysByDimension { name partitionKeys } } }"
    )
    known = {node["assetKey"]["path"][-1]: node for node in nodes["assetNodes"]}
    dimensions = {
        one["name"]: one["partitionKeys"] for one in known["graph_aggr"]["partitionKeysByDimension"]
    }
    assert set(dimensions) == {"crawl", "query"}
    assert "all_pages" in dimensions["query"]
    assert len(dimensions["crawl"]) >= 2


def test_a_wrong_choice_is_refused_before_anything_starts(ui: Ui) -> None:
    refused = ui.launch("two_steps", {"engine": "snowflake"})
    assert refused["__typename"] == "RunConfigValidationInvalid"
    assert "not in enum type Engine" in refused["errors"][0]["message"]
    assert ui.ask("{ runsOrError { ... on Runs { results { runId } } } }")["runsOrError"] == {
        "results": []
    }


def test_a_cloud_without_credentials_says_so(ui: Ui) -> None:
    run_id = ui.launch("two_steps", {"engine": "databricks", "mode": "full"})["run"]["runId"]
    assert ui.ended(run_id) == "FAILURE"
    assert "there are no credentials for Databricks" in ui.why_failed(run_id)


def test_a_run_on_a_rehearsed_emr(ui: Ui) -> None:
    rows = "pipeline.steps.step_1.parameters.rows.small_dev_sample_s3=500"
    overrides = ["endpoint=rehearsal", "rehearsal.speed=600", "launch.reuse_cluster=run", rows]
    choice = {"engine": "emr", "mode": "small_dev_sample_s3", "overrides": overrides}
    run_id = ui.launch("two_steps", choice)["run"]["runId"]
    assert ui.ended(run_id, timeout_s=200) == "SUCCESS"
    events = ui.ask(
        """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
        ... on MaterializationEvent { assetKey { path } metadataEntries { label
        ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } } }
        ... on EngineEvent { message metadataEntries { label } } } } } }""",
        id=run_id,
    )["logsForRun"]["events"]
    made = {one["assetKey"]["path"][-1]: one for one in events if one.get("assetKey")}
    assert set(made) == {"step_1", "step_2"}
    for one in made.values():
        known = {entry["label"]: entry for entry in one["metadataEntries"]}
        assert known["dagster/row_count"]["intValue"] == 500
        assert known["ascii_hydra/engine"]["text"] == "emr"
    # The cluster's link is in the log from the start.
    assert any("j-" in (one.get("message") or "") for one in events)


def test_runs_that_build_on_each_other_in_a_kept_rehearsal(ui: Ui, tmp_path: Path) -> None:
    crawl, query = {"crawl": "SAMPLE-2024-10"}, {"query": "night_sky"}
    with started(RehearsalConfig(speed=600)) as url:
        overrides = ["endpoint=rehearsal", f"endpoint.url={url}"]
        choice = {"engine": "emr", "mode": "small_dev_sample_s3", "overrides": overrides}
        # As after a run of the command line, which is where an address may be typed.
        record_overrides(Path(ui.environment["DAGSTER_HOME"]), overrides)
        for job, partition in (
            ("webgraph_by_query", query),
            ("webgraph_by_crawl", crawl),
            ("webgraph_by_crawl_and_query", crawl | query),
        ):
            run_id = ui.launch(job, choice, **partition)["run"]["runId"]
            assert ui.ended(run_id, timeout_s=200) == "SUCCESS", job
        made = Cloud(url).rows(
            "s3a://ascii-hydra/small_dev_sample/output/webgraph/graph_aggr"
            "/crawl=SAMPLE-2024-10/query=night_sky",
            tmp_path,
        )
    assert made
    assert {(row["crawl"], row["query"]) for row in made} == {("SAMPLE-2024-10", "night_sky")}


def test_a_run_of_the_command_line_is_run_again_from_the_ui(ui: Ui, tmp_path: Path) -> None:
    ended = subprocess.run(
        # Where the output goes, only configuration and the command line can say.
        [sys.executable, "-m", "ascii_hydra", "cluster=medium", f"mode.output_root={tmp_path}"],
        cwd=ui.project,
        env=ui.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = ui.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId status } } } }")
    first = run["runsOrError"]["results"][0]
    assert first["status"] == "SUCCESS"
    again = ui.ask(
        "mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p)"
        f" {{ {LAUNCHED} }} }}",
        p={"parentRunId": first["runId"], "strategy": "ALL_STEPS"},
    )["launchRunReexecution"]
    assert again["__typename"] == "LaunchRunSuccess", again
    assert ui.ended(again["run"]["runId"]) == "SUCCESS"
    snapshots = {
        ui.ask(
            "query($id: ID!) { runOrError(runId: $id) { ... on Run { pipelineSnapshotId } } }",
            id=one,
        )["runOrError"]["pipelineSnapshotId"]
        for one in (first["runId"], again["run"]["runId"])
    }
    assert len(snapshots) == 1
    assert ui.last_config("step_2")["cluster"]["size"] == "medium"
    assert ui.last_config("step_2")["mode"]["output_root"] == str(tmp_path)


def test_editing_conf_does_not_change_a_run_already_shown(ui: Ui) -> None:
    path = ui.project / "conf" / "cluster" / "pyspark" / "small.yaml"
    before = path.read_text()
    path.write_text(before.replace("cores: 2", "cores: 1"))
    try:
        run_id = ui.launch("two_steps", {"cluster": "small"})["run"]["runId"]
        assert ui.ended(run_id) == "SUCCESS"
    finally:
        path.write_text(before)
    assert ui.last_config("step_1")["cluster"]["cores"] == 2


def test_terminate_ends_the_run_as_canceled_and_its_step_with_it(ui: Ui) -> None:
    begun = ui.project / "begun"
    script = ui.project / "steps" / "step_1.py"
    before = script.read_text()
    script.write_text(
        "import time\n"
        "from ascii_hydra.step import SparkStep\n"
        "class Slow(SparkStep):\n"
        "    def execute_business_logic(self, **known):\n"
        f"        open({str(begun)!r}, 'w').close()\n"
        "        time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    Slow.run()\n"
    )
    try:
        run_id = ui.launch("two_steps", {})["run"]["runId"]
        deadline = time.monotonic() + 90
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        ui.ask("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id)
        assert ui.ended(run_id) == "CANCELED"
    finally:
        script.write_text(before)
    left = [one for one in psutil.process_iter() if str(script) in " ".join(_words(one))]
    assert left == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_bad_environment_is_named_before_the_ui_starts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ascii_hydra.serve"],
        cwd=tmp_path,
        env={**environment, "SPARK_PIPES_ENGINE": "spark"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "SPARK_PIPES_ENGINE=spark: is not known. Set it to pyspark, emr or databricks.\n"
    )


def test_a_backfill_makes_the_partitions_that_are_asked_for(ui: Ui) -> None:
    started = ui.ask(
        """mutation($p: LaunchBackfillParams!) {
        launchPartitionBackfill(backfillParams: $p) { __typename
        ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        p={
            "assetSelection": [{"path": ["webgraph", "nodes"]}],
            "partitionNames": ["night_sky", "paper_folding"],
        },
    )["launchPartitionBackfill"]
    assert started["__typename"] == "LaunchBackfillSuccess", started
    deadline = time.monotonic() + 240
    while True:
        backfill = ui.ask(
            "query($id: String!) { partitionBackfillOrError(backfillId: $id)"
            " { ... on PartitionBackfill { status } } }",
            id=started["backfillId"],
        )["partitionBackfillOrError"]["status"]
        if backfill not in {"REQUESTED", "IN_PROGRESS"} or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert backfill == "COMPLETED_SUCCESS"
    made = ui.project / "data" / "small_dev_sample_local" / "webgraph" / "nodes"
    assert sorted(one.name for one in made.iterdir()) == ["query=night_sky", "query=paper_folding"]
