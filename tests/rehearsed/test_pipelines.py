"""Both pipelines on the rehearsal cloud, through the command line: the rows of the local engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.rehearsed.conftest import Cloud, rows_of

EMR = ("engine=emr", "mode=small_dev_sample_s3", "endpoint=rehearsal")
ROWS = (
    "pipeline.steps.step_1.parameters.rows="
    "{small_dev_sample_local: 2000, small_dev_sample_s3: 2000}"
)
PARTITIONS = "pipeline.partitions=[SAMPLE-2024-10,night_sky]"
S3 = "s3a://ascii-hydra/small_dev_sample/output"


def outcome_in(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("outputs/*/*-emr-*/result.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_two_steps_on_a_cloud_of_their_own(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line(*EMR, ROWS, timeout_s=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    outcome = outcome_in(tmp_path)
    steps = outcome["steps"]
    assert isinstance(steps, list)
    assert [(one["step"], one["rows"], one["ending"]) for one in steps] == [
        ("step_1", 2000, "succeeded"),
        ("step_2", 2000, "succeeded"),
    ]
    # What it costs is not known, which is not zero; the provisioning is in the time that it took.
    assert [one["cost_usd"] for one in steps] == [None, None]
    assert all(one["duration_s"] > 210 for one in steps)


@pytest.mark.parametrize(
    ("pipeline", "chosen", "tables", "steps"),
    [
        ("two_steps", ROWS, ["step_1", "step_2"], 2),
        (
            "webgraph",
            PARTITIONS,
            [
                "edges/crawl=SAMPLE-2024-10/links",
                "edges/crawl=SAMPLE-2024-10/pages",
                "nodes/query=night_sky/nodes",
                "graph_aggr/crawl=SAMPLE-2024-10/query=night_sky",
            ],
            4,
        ),
    ],
)
def test_the_same_rows_as_on_this_machine(
    command_line: CommandLine,
    tmp_path: Path,
    cloud: Cloud,
    pipeline: str,
    chosen: str,
    tables: list[str],
    steps: int,
) -> None:
    before = len(cloud.clusters())
    on_emr = command_line(
        *EMR,
        f"endpoint.url={cloud.url}",
        "launch.reuse_cluster=run",
        "engine.idle_timeout_minutes=120",  # our own time is 600 times as long there
        f"pipeline={pipeline}",
        chosen,
        timeout_s=280,
    )
    assert on_emr.returncode == 0, on_emr.stdout + on_emr.stderr
    here = command_line(
        f"pipeline={pipeline}", f"mode.output_root={tmp_path / 'data'}", chosen, timeout_s=120
    )
    assert here.returncode == 0, here.stdout + here.stderr
    for table in tables:
        there = cloud.rows(f"{S3}/{pipeline}/{table}", tmp_path / "downloaded")
        expected = rows_of(tmp_path / "data" / pipeline / table)
        assert expected
        assert there == expected
    # All steps shared one cluster, which nobody pays for any more.
    (cluster,) = cloud.clusters()[before:]
    assert cluster["Status"]["State"] == "TERMINATED"
    outcome = outcome_in(tmp_path)
    ran = outcome["steps"]
    assert isinstance(ran, list)
    assert len(ran) == steps
    # Of the runs' own objects nothing is left, of their payload everything.
    keys = cloud.keys("ascii-hydra", "ascii_hydra/")
    assert not [one for one in keys if one.startswith("ascii_hydra/pipes/")]
    assert [one for one in keys if one.startswith("ascii_hydra/payload/")]
