"""A sweep of plans by the real command line: what it ranks, and what it says instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ascii_hydra.costs.ledger import FILE, Sample
from ascii_hydra.engines.estimate import PlannedRun, plan_estimates
from tests.comparison.made_up_sweep import compared_json
from tests.conftest import PROJECT, CommandLine
from tests.request_asking import settled

ENGINES, SIZES = ("emr", "databricks"), ("small", "medium", "large")
MINUTES = {"step_1": 60.0, "step_2": 30.0}
VCPUS = dict(zip(SIZES, (8.0, 32.0, 128.0), strict=True))
SWEEP = ("-m", "action=plan", "engine=emr,databricks", "cluster=small,medium,large", "mode=full")


def told(minutes: dict[str, float]) -> list[str]:
    return [f"pipeline.steps.{step}.expected_minutes={one}" for step, one in minutes.items()]


def swept(
    command_line: CommandLine, tmp_path: Path, *arguments: str, home: Path | None = None
) -> tuple[str, list[dict[str, Any]], Path]:
    """What is printed of a sweep, its rows, and its folder."""
    extra = {"DAGSTER_HOME": str(home or tmp_path / "none"), "COLUMNS": "100"}
    ended = command_line(*arguments, extra=extra)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = max(tmp_path.glob("multirun/*/*"))
    return ended.stdout, compared_json(folder), folder


def plan(engine: str, *overrides: str, history: Sequence[Sample] = ()) -> PlannedRun:
    """The plan of a single run."""
    return plan_estimates(settled(engine, "mode=full", *overrides), history)


def ranked(text: str) -> list[str]:
    """Words of a ranking, but for the page's style sheet."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return [word for word in ("dominated", "cheapest", "per hour") if word in text]


def test_equal_told_minutes_rank_nothing_and_tell_the_break_even(
    command_line: CommandLine, tmp_path: Path
) -> None:
    command, lines = documented()
    printed, rows, folder = swept(command_line, tmp_path, *command.split())
    assert printed[printed.index("#  engine") :].splitlines()[: len(lines)] == lines
    assert {row["standing"] for row in rows} == {"not told apart"}
    for text in (printed, *(path.read_text() for path in folder.glob("comparison.*"))):
        assert not ranked(text)
    assert printed.count("not told apart  ") == 6
    assert "the same minutes are told of them" in printed

    # From which speed Databricks costs no more than EMR, size by size.
    by_size = [
        next(one["speed"] for one in rows[number]["break_even"] if one["against"] == number - 3)
        for number in (3, 4, 5)
    ]
    assert by_size == pytest.approx([1.23, 1.20, 1.18], abs=0.01)
    assert (
        f"break-even (cluster=small): #3 databricks pays from {by_size[0]:.2f} x the speed of #0"
        " emr."
    ) in printed
    # A plan of steps that are so much faster costs as much.
    for size, speed, row in zip(SIZES, by_size, rows[:3], strict=True):
        faster = {step: one / speed for step, one in MINUTES.items()}
        total = plan("databricks", f"cluster={size}", *told(faster))
        assert total.usd == pytest.approx(row["cost_usd"], rel=1e-6)

    # And of sizes, each against the next cheaper one.
    (of_medium,) = rows[1]["break_even"]
    assert of_medium["against"] == 0
    faster = {step: one / of_medium["speed"] for step, one in MINUTES.items()}
    total = plan("emr", "cluster=medium", *told(faster))
    assert total.usd == pytest.approx(rows[0]["cost_usd"], rel=1e-6)
    (line,) = re.findall(r"^break-even \(engine=emr\): (.*)$", printed, re.MULTILINE)
    assert line == (
        f"#1 medium pays from {of_medium['speed']:.2f} x the speed of #0 small; #2 large pays from"
        f" {rows[2]['break_even'][0]['speed']:.2f} x the speed of #1 medium."
    )


def documented() -> tuple[str, list[str]]:
    """A command of docs/costs.md and what it prints."""
    text = (PROJECT / "docs" / "costs.md").read_text(encoding="utf-8")
    found = re.search(
        r"^```console title=comparison\n\$ python -m ascii_hydra (.*?)\n(.*?)^```$",
        text,
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None
    return found[1], found[2].splitlines()


def test_photon_is_another_machine(command_line: CommandLine, tmp_path: Path) -> None:
    sweep = ("-m", "action=plan", "engine=databricks", "mode=full", "cluster.photon=false,true")
    printed, rows, _ = swept(command_line, tmp_path, *sweep, *told(MINUTES))
    assert [row["standing"] for row in rows] == ["not told apart"] * 2
    (one,) = rows[1]["break_even"]
    faster = {step: minutes / one["speed"] for step, minutes in MINUTES.items()}
    total = plan("databricks", "cluster.photon=true", *told(faster))
    assert total.usd == pytest.approx(rows[0]["cost_usd"], rel=1e-6)
    assert "#1 databricks (cluster.photon=True) pays from " in printed


def test_markets_are_ranked_at_told_minutes(command_line: CommandLine, tmp_path: Path) -> None:
    """The same machines, so the same minutes: on spot they cost less."""
    sweep = ("-m", "action=plan", "engine=emr", "mode=full", "cluster.spot_share=0,1")
    _, rows, _ = swept(command_line, tmp_path, *sweep, *told(MINUTES))
    assert [row["standing"] for row in rows] == ["dominated", "cheapest"]


def sample(engine: str, cluster: str, step: str, run_s: float) -> Sample:
    return Sample(
        at="2026-04-01T00:00:00+00:00",
        endpoint="cloud",
        pipeline="two_steps",
        step=step,
        partition=None,
        mode="full",
        engine=engine,
        cluster=cluster,
        vcpus=VCPUS[cluster],
        startup_s=240.0,
        run_s=run_s,
        usd=None,
        estimated_usd=None,
        run_id="a",
    )


def home_of(tmp_path: Path, samples: Iterable[Sample]) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    lines = [json.dumps(asdict(one)) for one in samples]
    (home / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return home


def test_one_run_on_one_size_of_each_engine_ranks_no_sizes(
    command_line: CommandLine, tmp_path: Path
) -> None:
    known = [
        sample(engine, size, step, minutes * 60)
        for engine, size in (("emr", "small"), ("databricks", "medium"))
        for step, minutes in MINUTES.items()
    ]
    home = home_of(tmp_path, known)
    printed, rows, folder = swept(command_line, tmp_path, *SWEEP, home=home)
    text = "".join(path.read_text() for path in folder.glob("comparison.*"))
    assert not ranked(printed + text)
    assert {row["standing"] for row in rows} == {"not told apart"}
    assert "if half of it scales (spread: none or all of it)" in printed
    # The band of a row is the one that its plan tells, unless that is narrower than a single run.
    for (engine, size), row in zip(product(ENGINES, SIZES), rows, strict=True):
        total = plan(engine, f"cluster={size}", history=known)
        band = row["low_usd"], row["high_usd"]
        if row["duration_basis"] == "scaled":
            assert band == pytest.approx(total.spread_usd)
            assert f"${row['low_usd']:.2f}-{row['high_usd']:.2f}" in printed
        else:
            assert band == pytest.approx((total.known_usd * 0.95, total.known_usd * 1.05))
    assert [row["duration_basis"] for row in rows] == [
        *("runs", "scaled", "scaled"), *("scaled", "runs", "scaled"),
    ]  # fmt: skip


def test_known_durations_are_ranked(command_line: CommandLine, tmp_path: Path) -> None:
    took = dict(zip(SIZES, (10.0, 4.0, 3.9), strict=True))
    known = [
        replace(sample("emr", size, step, hours * 3600 * share), run_id=str(share))
        for size, hours in took.items()
        for step in MINUTES
        for share in (0.98, 1.0, 1.03)
    ]
    home = home_of(tmp_path, known)
    sweep = ("-m", "action=plan", "engine=emr", "cluster=small,medium,large", "mode=full")
    _, rows, _ = swept(command_line, tmp_path, *sweep, home=home)
    # The large one is dearer, and surely no faster than the medium one by more than the band.
    assert [row["standing"] for row in rows] == ["cheapest", "not told apart", "not told apart"]
    took["large"] = 2.0
    (home / FILE).write_text(
        "".join(
            json.dumps(asdict(sample("emr", size, step, hours * 3600))) + "\n"
            for size, hours in took.items()
            for step in MINUTES
        ),
        encoding="utf-8",
    )
    _, rows, _ = swept(command_line, tmp_path, *sweep, home=home)
    assert [row["standing"] for row in rows] == ["cheapest", "front", "front"]
    assert all(row["usd_per_hour_saved"] > 0 for row in rows[1:])
