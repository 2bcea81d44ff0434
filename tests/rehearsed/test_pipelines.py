"""Both pipelines on the rehearsal clouds, from the command line: the rows of the local engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL, CommandLine
from tests.rehearsed.conftest import Cloud, rows_of

REHEARSAL = ("mode=small_dev_sample_s3", "endpoint=rehearsal")
EMR = ("engine=emr", *REHEARSAL)
S3 = "s3a://ascii-hydra/small_dev_sample/output"
SHARED = ("launch.reuse_cluster=run", "engine.idle_timeout_minutes=10000")
TABLES = {
    "two_steps": ["step_1", "step_2"],
    "webgraph": [
        "edges/crawl=SAMPLE-2024-10/links",
        "edges/crawl=SAMPLE-2024-10/pages",
        "nodes/query=night_sky/nodes",
        "graph_aggr/crawl=SAMPLE-2024-10/query=night_sky",
    ],
}


def outcome_in(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("outputs/*/*/result.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_two_steps_on_a_cloud_of_their_own(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line(*EMR, SMALL["two_steps"], timeout_s=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    outcome = outcome_in(tmp_path)
    steps = outcome["steps"]
    assert isinstance(steps, list)
    assert [(one["step"], one["rows"], one["ending"]) for one in steps] == [
        ("step_1", 2000, "succeeded"),
        ("step_2", 2000, "succeeded"),
    ]
    # Three m5d.xlarge for ten minutes or so, most of them of provisioning.
    assert all(0.04 < one["cost_usd"] < 0.4 for one in steps)
    assert all(one["bill"]["startup_idle_usd"] > one["bill"]["compute_usd"] for one in steps)
    assert all(one["duration_s"] > 210 for one in steps)
    assert outcome["virtual"] is True
    assert "of the rehearsed cloud's time" in ended.stdout


@pytest.mark.parametrize(
    ("pipeline", "words", "engines"),
    [
        pytest.param("two_steps", ["engine=emr", *SHARED], ["emr", "emr"], id="emr"),
        pytest.param("two_steps", ["engine=databricks"], ["databricks"] * 2, id="databricks"),
        pytest.param(
            "webgraph", ["engine=databricks", *SHARED], ["databricks"] * 4, id="databricks_webgraph"
        ),
        pytest.param(
            "webgraph",
            ["engine=emr", "pipeline.steps.graph.engine=databricks", *SHARED],
            ["emr", "emr", "databricks", "emr"],
            id="both_clouds",
        ),
    ],
)
def test_the_same_rows_as_on_this_machine(
    command_line: CommandLine,
    tmp_path: Path,
    cloud: Cloud,
    made_here: Callable[[str], Path],
    pipeline: str,
    words: list[str],
    engines: list[str],
) -> None:
    before = len(cloud.clusters())
    # Another one for each, so that no test finds the output of another.
    output = f"mode.output_root={S3}/{tmp_path.name}"
    ended = command_line(
        *words,
        *REHEARSAL,
        f"endpoint.url={cloud.url}",
        f"pipeline={pipeline}",
        SMALL[pipeline],
        output,
        timeout_s=280,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for table in TABLES[pipeline]:
        there = cloud.rows(f"{S3}/{tmp_path.name}/{pipeline}/{table}", tmp_path / "downloaded")
        expected = rows_of(made_here(pipeline) / table)
        assert expected
        assert there == expected
    outcome = outcome_in(tmp_path)
    steps = outcome["steps"]
    assert isinstance(steps, list)
    assert [one["engine"] for one in steps] == engines
    # Those of EMR shared one cluster, which nobody pays for any more.
    clusters = cloud.clusters()[before:]
    assert [one["Status"]["State"] for one in clusters] == ["TERMINATED"] * ("emr" in engines)
    if pipeline == "webgraph":  # two steps of the same partitions are one run, of whatever engines
        run_ids = outcome["run_ids"]
        assert isinstance(run_ids, list)
        assert len(run_ids) == 3
    # Of the runs' own objects nothing is left, of their payload everything.
    if "emr" in engines:
        keys = cloud.keys("ascii-hydra", "ascii_hydra/")
        assert not [one for one in keys if one.startswith("ascii_hydra/pipes/")]
        assert [one for one in keys if one.startswith("ascii_hydra/payload/")]
    if "databricks" in engines:
        assert "payload" in cloud.volume("/Volumes/main/default/ascii_hydra")
        assert cloud.volume("/Volumes/main/default/ascii_hydra/pipes") == []
