"""The Dagster UI over HTTP: started as `make start` starts it, from a copy of the project, because
one test edits its conf/."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.rehearsal.started import started
from tests.conftest import PROJECT
from tests.rehearsed.conftest import Cloud

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
ROWS = "pipeline.steps.step_1.parameters.rows.small_dev_sample_local=500"
LAUNCHED = """
__typename
... on LaunchRunSuccess { run { runId } }
... on PythonError { message }
... on RunConfigValidationInvalid { errors { message } }
"""


@dataclass
class Ui:
    """A running UI."""

    port: int
    project: Path
    environment: dict[str, str]

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=body,
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        assert "errors" not in answer, answer
        return answer["data"]

    def ended(self, run_id: str, timeout_s: float = 120) -> str:
        """The state in which a run ended."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.ask(
                "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
            )["runOrError"]["status"]
            if status in ENDED:
                return str(status)
            time.sleep(0.3)
        raise TimeoutError(f"run {run_id} is still {status}")

    def launch(self, job: str, choice: dict[str, Any], **partition: str) -> Any:
        """Launch a job, or one partition of it, with a choice of engine, mode and cluster, as the
        launchpad does."""
        tags = {f"dagster/partition/{name}": value for name, value in partition.items()}
        if partition:
            tags["dagster/partition"] = "|".join(partition[name] for name in sorted(partition))
        return self.ask(
            f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {LAUNCHED} }} }}",
            p={
                "selector": {
                    "repositoryLocationName": "ascii_hydra.definitions",
                    "repositoryName": "__repository__",
                    "jobName": job,
                },
                "runConfigData": {"resources": {"spark_pipes_client": {"config": choice}}},
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in tags.items()]
                },
            },
        )["launchRun"]

    def last_config(self, step: str) -> Any:
        """The composed configuration with which an asset was last made."""
        found = self.ask(
            """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
            assetMaterializations(limit: 1) { metadataEntries { label
            ... on MarkdownMetadataEntry { mdStr } } } } } }""",
            key={"path": ["two_steps", step]},
        )["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
        text = next(one["mdStr"] for one in found if one["label"] == "ascii_hydra/config")
        return yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```"))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    project = tmp_path_factory.mktemp("project")
    for name in ("ascii_hydra", "conf", "steps", "samples"):
        shutil.copytree(PROJECT / name, project / name)
    shutil.copy(PROJECT / "pyproject.toml", project)
    known = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "ASCII_"))}
    environment = {
        **known,
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(project / ".dagster_home"),
        "ASCII_HYDRA_OVERRIDES": ROWS,
    }
    port = free_port()
    log = (project / "ui.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "ascii_hydra.serve", "--port", str(port)],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5).close()
                break
            assert process.poll() is None, (project / "ui.log").read_text()
            assert time.monotonic() < deadline, (project / "ui.log").read_text()
            time.sleep(0.3)
        yield Ui(port, project, environment)
    finally:
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
        os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=20)
        for one in alive:
            one.kill()
        process.wait()
        log.close()


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
    chosen = {"engine": "databricks", "mode": "full", "overrides": ["mode.bucket=mine"]}
    run_id = ui.launch("two_steps", chosen)["run"]["runId"]
    assert ui.ended(run_id) == "FAILURE"
    events = ui.ask(
        """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
        ... on ExecutionStepFailureEvent { failureMetadata { description }
        error { message } } } } } }""",
        id=run_id,
    )["logsForRun"]["events"]
    assert "there are no credentials for Databricks" in json.dumps(events)


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


def test_a_run_of_the_command_line_is_run_again_from_the_ui(ui: Ui) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ascii_hydra", "cluster=medium"],
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
    script = ui.project / "slow.py"
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
    overrides = [f"pipeline.steps.step_1.script={script}"]
    run_id = ui.launch("two_steps", {"overrides": overrides})["run"]["runId"]
    deadline = time.monotonic() + 90
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    ui.ask(
        "mutation($id: String!) { terminateRun(runId: $id) { __typename } }",
        id=run_id,
    )
    assert ui.ended(run_id) == "CANCELED"
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
