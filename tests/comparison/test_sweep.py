"""A sweep over both clouds and three sizes, by the real command line on the rehearsal."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ascii_hydra.outcome import Outcome
from tests.comparison.made_up_sweep import compared_json
from tests.conftest import CommandLine

MINUTES = 30
SWEEP = (
    *("-m", "engine=emr,databricks", "cluster=small,medium,large"),
    *("endpoint=rehearsal", "mode=small_dev_sample_s3", "pipeline=two_steps"),
    *("rehearsal.speed=20000", f"rehearsal.step_minutes={MINUTES}"),
    # So that a script knows in which row it is.
    "pipeline.steps.step_1.parameters.seed=${engine.name}-${cluster.size}",
)
ROWS = list(product(("emr", "databricks"), ("small", "medium", "large")))
FAILED = ROWS.index(("databricks", "medium"))


def light_steps(folder: Path) -> list[str]:
    """Steps without Spark: where it is the comparison that is tested, it would show nothing."""
    path = folder / "light.py"
    path.write_text(
        "import sys\n"
        "from dagster_pipes import PipesCliArgsParamsLoader\n"
        "from ascii_hydra.step.folder_messages import opened_pipes\n"
        "with opened_pipes(PipesCliArgsParamsLoader()):\n"
        "    assert 'databricks-medium' not in ' '.join(sys.argv), 'the disk is full'\n",
        encoding="utf-8",
    )
    changes = (f"script={path}", "writes_output=false")
    return [f"pipeline.steps.{step}.{one}" for step in ("step_1", "step_2") for one in changes]


def hour_usd(row: dict[str, Any]) -> float:
    """What an hour of a row's execution costs, of which every step has the same duration."""
    executed = sum(row[f"{name}_usd"] for name in ("compute", "platform", "storage"))
    return float(executed / (2 * MINUTES / 60))


def test_six_rows_of_which_one_fails(command_line: CommandLine, tmp_path: Path) -> None:
    ended = command_line(*SWEEP, *light_steps(tmp_path), timeout_s=280)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (folder,) = tmp_path.glob("multirun/*/*")
    rows = compared_json(folder)

    # Every row is there, and the one that failed with its reason and what it cost all the same.
    assert [(row["engine"], row["cluster"]) for row in rows] == ROWS
    good = [row for number, row in enumerate(rows) if number != FAILED]
    assert {row["ending"] for row in good} == {"succeeded"}, ended.stdout
    failed = rows[FAILED]
    assert (failed["ending"], failed["standing"]) == ("failed", "not compared")
    assert "the disk is full" in failed["error"]
    assert f"#{FAILED} failed: " in ended.stdout
    assert failed["wasted_usd"] == pytest.approx(failed["known_usd"])
    assert failed["wasted_usd"] > 0

    # What it was expected to cost, and what it did: of the same duration, the larger is dearer.
    for row in good:
        assert row["virtual"]
        assert row["duration_s"] >= 2 * MINUTES * 60
        assert row["estimated_usd"] > 0
        assert row["cost_usd"] > 0
        assert abs(row["estimate_error_pct"]) < 50
        parts = [row[f"{name}_usd"] for name in ("compute", "platform", "storage", "startup_idle")]
        assert sum(parts) == pytest.approx(row["cost_usd"])
    assert rows[0]["cost_usd"] < rows[1]["cost_usd"] < rows[2]["cost_usd"]
    assert rows[3]["cost_usd"] < rows[5]["cost_usd"]

    # All executed on this machine, so nothing is ranked; what an hour of each costs is compared.
    for row in good:
        assert row["standing"] == "not told apart"
        assert sorted([row["row"], *row["not_told_apart_from"]]) == [it["row"] for it in good]
        assert (row["low_usd"], row["high_duration_s"]) == (None, None)
    assert not [word for word in ("dominated", "cheapest", "per hour") if word in ended.stdout]
    (against_emr,) = [one for one in rows[3]["break_even"] if one["against"] == 0]
    assert against_emr["speed"] == pytest.approx(hour_usd(rows[3]) / hour_usd(rows[0]), rel=0.01)
    assert "break-even (cluster=small, start-up aside): #3 databricks pays from " in ended.stdout

    # Equal clusters, so nothing to say of that.
    assert [row["workers_vcpus"] for row in rows] == [8, 32, 128] * 2
    assert "not equal" not in ended.stdout
    assert "duration (virtual)" in ended.stdout

    # What it wrote; each row's bill is in its own folder too.
    with (folder / "comparison.csv").open(newline="") as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == list(range(6))
    assert ET.fromstring((folder / "comparison.svg").read_text()).tag.endswith("svg")
    page = (folder / "comparison.html").read_text()
    assert "the disk is full" in page
    assert page.count("<details") == 6
    assert (folder / "comparison.md").read_text().startswith("| # | engine | cluster |")
    first = Outcome.read(next(folder.glob("0-*/result.json")))
    assert first.cost_usd == rows[0]["cost_usd"]
