"""The plan as people and machines read it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ascii_hydra.costs.bill import Bill
from ascii_hydra.costs.ledger import record
from ascii_hydra.engines.estimate import plan_estimates
from ascii_hydra.report.plan import show_plan
from ascii_hydra.report.plan_costs import duration_text
from ascii_hydra.report.plan_json import plan_json
from ascii_hydra.report.progress import Screen
from tests.conftest import PROJECT, CommandLine
from tests.plan.test_estimate import MINUTES, RUN, planned
from tests.request_asking import settled

NO_REQUESTS = "plan.requests=false"


def shown(engine: str, *overrides: str, history: tuple = (), width: int = 200) -> str:  # type: ignore[type-arg]
    settings = settled(engine, *overrides)
    text = io.StringIO()
    console = Screen(file=text, width=width, force_terminal=True, color_system=None)
    show_plan(settings, plan_estimates(settings, history), console)
    return text.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of a row of the table of costs, which is the last."""
    table = text.partition("start-up")[2]
    line = next(one for one in table.splitlines() if one.startswith(f"{name} "))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_durations_that_are_told_and_list_prices_are_no_estimates_but_the_total_is() -> None:
    text = shown("emr", *MINUTES, NO_REQUESTS)
    # 30 min of 3 x m5d.xlarge: 0.339; 3 x 0.057 / 2; 45 GiB x 0.08 / 1440; 210 s of all
    assert row(text, "step_1") == [
        *("step_1", "30 min", "$0.34", "$0.09", "$0.0025", "~$0.05", "~$0.48")
    ]
    assert row(text, "together")[-1] == "~$0.70"
    assert "Expected total: ~$0.70, in 49 min with start-up." in text
    assert "Duration of step_1: 30 min, pipeline.steps.step_1.expected_minutes." in text
    assert "Start-up on emr: 3 min 30 s, assumed, as AWS's aws-emr-advisor does." in text
    assert "AWS Price List API" in text
    assert "2026-07-20" in text
    assert "Request of" not in text


def test_without_durations_there_are_rates() -> None:
    text = shown("emr", NO_REQUESTS)
    assert row(text, "step_1") == [
        *("step_1", "not known", "$0.68/h", "$0.17/h", "$0.0050/h", "~$0.05", "$0.85/h")
    ]
    assert "> ~$0.10, lacking the duration of step_1, step_2." in text
    assert (
        "Duration of step_1, step_2: no run of it is known; tell it by"
        " pipeline.steps.STEP.expected_minutes." in text
    )


def test_measured_durations_and_spot_are_marked() -> None:
    history = (RUN, replace(RUN, run_s=900.0))
    text = shown("emr", "cluster.spot_share=0.5", MINUTES[1], NO_REQUESTS, history=history)
    assert all(cell.startswith("~") for cell in row(text, "step_1")[1:])
    assert "Duration of step_1: 12 min 30 s" not in text  # minutes are exact enough from ten on
    assert "12 min (10 min to 15 min), median of its last 2 runs." in text
    assert "; ~AWS Price List API, Linux, shared tenancy, less 53 % for spot" in " ".join(
        text.split()
    )


def test_what_has_no_price_is_named() -> None:
    text = shown("databricks", "engine.serverless=true", *MINUTES, NO_REQUESTS)
    assert row(text, "step_1") == ["step_1", "30 min", "-", "-", "-", "-", "?"]
    assert "Not priced: serverless compute: its DBU are metered, and not known before." in text
    assert "$0" not in text


def test_assumptions_are_told() -> None:
    text = shown("databricks", "cluster.max_workers=5", *MINUTES, NO_REQUESTS)
    assert (
        "Assumed: 180 GiB of gp3 that Databricks attaches to every instance; 2 workers, where"
        " autoscaling may grow to 5." in text
    )


def test_a_shared_cluster_has_a_row() -> None:
    text = shown("emr", "launch.reuse_cluster=run", *MINUTES, NO_REQUESTS)
    assert row(text, "shared cluster")[-1] == "~$0.05"
    assert row(text, "step_1")[5] == "-"
    assert "Start-up of what is shared: 3 min 30 s" in text


def test_this_machine_costs_nothing() -> None:
    text = shown("pyspark", "mode=small_dev_sample_local", NO_REQUESTS)
    assert row(text, "step_1") == ["step_1", "not known", "-", "-", "-", "-", "$0.00"]
    assert "$0.00, nothing is rented" in text


def test_partitions_are_counted_and_multiplied() -> None:
    text = shown(
        "pyspark",
        *("mode=small_dev_sample_local", "pipeline=webgraph", NO_REQUESTS),
        "pipeline.steps.edges.expected_minutes=2",
    )
    crawls = next(
        one.partitions
        for one in plan_estimates(
            settled("pyspark", "mode=small_dev_sample_local", "pipeline=webgraph"), []
        ).steps
        if one.step == "edges"
    )
    assert row(text, "edges")[1] == f"{crawls} x 2 min"
    assert f"{crawls} (crawl)" in text
    unknown = shown("emr", "pipeline=webgraph", "pipeline.steps.edges.expected_minutes=60")
    assert "? (crawl)" in unknown
    assert row(unknown, "edges")[-1].endswith(" each")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_it_fits_any_terminal(width: int) -> None:
    text = shown("databricks", "cluster=large", *MINUTES, NO_REQUESTS, width=width)
    path = "s3a://ascii-hydra/full/output/two_steps/step_1"
    assert path in text  # whole, so that it can be copied
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert len(row(text, "step_1")) == 7


def test_requests_follow_the_money() -> None:
    text = shown("emr", *MINUTES)
    assert text.index("Expected total") < text.index("Request of step_1") < text.index("RunJobFlow")


def test_a_row_of_a_sweep_is_one_line() -> None:
    settings = settled("emr", *MINUTES)
    text = io.StringIO()
    show_plan(settings, plan_estimates(settings, []), Screen(file=text, width=80), short=True)
    assert text.getvalue() == (
        f"Plan of pipeline two_steps, configuration {settings.digest}: ~$0.70.\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "60 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (150, "2 min 30 s"),
        (599.6, "10 min"),
        (720, "12 min"),
        (7140, "119 min"),
        (7170, "2 h"),
        (35964, "9 h 59 min"),
    ],
)
def test_durations_are_as_exact_as_a_plan(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


# --- for machines ---------------------------------------------------------------------------------


def test_json_has_all_of_it() -> None:
    settings = settled("emr", *MINUTES, "launch.reuse_cluster=run")
    whole = plan_estimates(settings, [])
    told = json.loads(json.dumps(plan_json(settings, whole)))
    assert told["plan_version"] == 1
    assert told["configuration"] == settings.digest
    assert told["total"]["usd"] == whole.usd
    assert told["total"]["duration_s"] == 42 * 60 + 210
    first = told["steps"][0]
    assert first["request"]["RunJobFlow"]["ReleaseLabel"] == "emr-7.12.0"
    assert first["expected"]["run_s"] == 1800
    assert (first["vcpus"], first["memory_gib"], first["partitions"]) == (8.0, 32.0, 1)
    by_part = {one["part"]: one["estimated"] for one in first["bill"]["lines"]}
    assert by_part == {"compute": False, "platform": False, "storage": False}
    assert Bill.from_json(first["bill"]) == whole.steps[0].bill
    assert Bill.from_json(first["bill_per_hour"]) == whole.steps[0].hour
    assert all(one["estimated"] for one in told["shared"]["lines"])  # nobody told the start-up
    assert told["shared"]["estimated"] is told["total"]["estimated"] is True
    assert told["shared"]["known_usd"] == whole.shared.known_usd
    usd = sum(one["bill"]["usd"] for one in told["steps"]) + told["shared"]["usd"]
    assert usd == pytest.approx(told["total"]["usd"])
    short = settled("emr", *MINUTES, NO_REQUESTS)
    assert all("request" not in one for one in plan_json(short, planned("emr"))["steps"])


@pytest.mark.parametrize("engine", ["emr", "databricks", "pyspark"])
def test_stdout_is_one_document_and_nothing_else(
    command_line: CommandLine, tmp_path: Path, engine: str
) -> None:
    mode = "small_dev_sample_local" if engine == "pyspark" else "full"
    words = ["action=plan", "plan.format=json", f"engine={engine}", f"mode={mode}", "cluster=large"]
    home = tmp_path / "nowhere"
    ended = command_line(*words, "cluster=medium", extra={"DAGSTER_HOME": str(home)})
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert {one["engine"] for one in told["steps"]} == {engine}
    assert "cluster is given 2 times" in ended.stderr
    # A plan reads a history, and makes none.
    assert not home.exists()


def test_the_ledger_of_dagster_home_counts(command_line: CommandLine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    record(home, RUN)
    with (home / "ascii_hydra_ledger.jsonl").open("a") as file:
        file.write('{"half')
    words = ["action=plan", "engine=emr", "mode=full", NO_REQUESTS]
    ended = command_line(*words, extra={"DAGSTER_HOME": str(home)})
    assert ended.returncode == 0, ended.stderr
    assert "Duration of step_1: 10 min, its last run." in ended.stdout
    assert "1 of 2 lines cannot be read and are skipped" in ended.stderr


@pytest.mark.parametrize("engine", ["emr", "databricks"])
def test_nothing_heavy_is_imported_and_no_socket_is_opened(engine: str, tmp_path: Path) -> None:
    script = f"""
import socket, sys
def refused(*_, **__): raise AssertionError("a plan asks nobody")
socket.socket.connect = refused
socket.getaddrinfo = refused
from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.engines.request import request_problems
from ascii_hydra.report.plan import show_plan
words = ["engine={engine}", "mode=full", "action=plan", "cluster.spot_share=0.5"]
settings = settle(composed(words), words)
assert list(request_problems(settings)) == []
show_plan(settings)
print(sorted({{"dagster", "boto3", "matplotlib", "pyspark", "jinja2"}} & set(sys.modules)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
