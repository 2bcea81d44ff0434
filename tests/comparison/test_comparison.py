"""The comparison of a sweep's rows, from what the rows have written."""

from __future__ import annotations

import csv
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.costs.bill import Bill, bill, together
from ascii_hydra.costs.usage import Usage
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.comparison import compared
from ascii_hydra.step.choices import Engine
from tests.comparison.made_up_sweep import a_bill, an_outcome, compared_json, sweep_of

DBU = "serverless DBU: see system.billing.usage"


def shown(folder: Path, width: int = 200) -> tuple[bool, list[str]]:
    """What is printed of a sweep, and whether all went well."""
    printed = StringIO()
    went_well = compared(folder, Console(width=width, file=printed))
    return went_well, printed.getvalue().splitlines()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Every kind of row."""
    return sweep_of(
        tmp_path,
        {
            "engine=emr cluster=small mode=full": an_outcome(
                12.0, 10, input_gb=300.0, estimated_usd=15.0
            ),
            "engine=emr cluster=medium mode=full": an_outcome(
                20.0, 6, cluster="medium", workers=(32.0, 128.0), bill=a_bill(20.0, estimated=True)
            ),
            "engine=databricks cluster=small mode=full": an_outcome(
                30.0, 8, engine="databricks", bill=a_bill(30.0, wasted_usd=4.0)
            ),
            "engine=databricks cluster=medium mode=full": an_outcome(
                70.0, 5, engine="databricks", cluster="medium", workers=(64.0, 256.0)
            ),
            "engine=emr cluster=large mode=full": an_outcome(
                3.0, 0.5, cluster="large", ending=Ending.failed, error="no capacity\nmore of it"
            ),
            "engine=databricks cluster=large mode=full": an_outcome(
                None, 1, engine="databricks", cluster="large", bill=a_bill(1.0, unpriced=[DBU])
            ),
            "engine=pyspark cluster=small mode=full": an_outcome(
                0.0, 30, engine="pyspark", workers=(2.0, 1.0), keeps_promise=False
            ),
            "engine=emr cluster=medium mode=full cluster.workers=5": None,
        },
    )


def test_every_row_has_its_place(mixed: Path) -> None:
    went_well, _ = shown(mixed)
    assert not went_well
    rows = compared_json(mixed)
    assert [row["standing"] for row in rows] == [
        "cheapest", "front", "dominated", "front", *["not compared"] * 4,
    ]  # fmt: skip
    assert [row["usd_per_hour_saved"] for row in rows[:4]] == [None, 2.0, None, 50.0]
    assert [row["ending"] for row in rows] == [
        *["succeeded"] * 4, "failed", "succeeded", "succeeded", "not started",
    ]  # fmt: skip
    assert rows[0]["estimate_error_pct"] == pytest.approx(25.0)
    assert rows[0]["usd_per_gb"] == pytest.approx(0.04)
    assert rows[0]["startup_idle_share"] == pytest.approx(0.1)
    assert rows[0]["usd_per_node_hour"] == pytest.approx(1.0)
    assert rows[2]["wasted_usd"] == pytest.approx(4.0)
    # What lacks a price has no cost, and the known part of it is said.
    assert (rows[5]["cost_usd"], rows[5]["known_usd"]) == (None, pytest.approx(1.0))
    assert rows[5]["unpriced"] == DBU
    # How much of it is which part nobody knows: that is no zero.
    unknown = ("compute_usd", "platform_usd", "storage_usd", "startup_idle_usd", "wasted_usd")
    unknown += ("dbu", "instance_hours", "startup_idle_share", "usd_per_node_hour")
    assert [rows[5][one] for one in unknown] == [None] * len(unknown)
    assert (rows[0]["storage_usd"], rows[0]["dbu"]) == (0.0, 0.0)
    assert rows[4]["error"] == "no capacity"
    assert (rows[7]["engine"], rows[7]["cluster"]) == ("emr", "medium")
    with (mixed / "comparison.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [one["cost_usd"] for one in read] == [
        "" if row["cost_usd"] is None else str(row["cost_usd"]) for row in rows
    ]
    assert [read[5][one] for one in unknown] == [""] * len(unknown)


def test_what_is_printed(mixed: Path) -> None:
    _, lines = shown(mixed)
    text = "\n".join(lines)
    for wanted in (
        "~$20.00",  # a price of it is an estimate
        "~$2.00 per hour",
        "$50.00 per hour",
        "> $1.00",
        "~$15.00 (+25 %)",
        "#4 failed: no capacity",
        "#7 not started: it wrote no result.json that can be read",
        f"#5: the cost lacks {DBU}",
        "medium have 32 vCPU and 128 GiB (#1 emr); 64 vCPU and 256 GiB (#3 databricks).",
        "not compared: #6 pyspark on this machine, whose",
        "prices: of 2026-04-10;",
    ):
        assert wanted in text
    # Only what differs, and not what other columns say.
    assert "cluster.workers=5" in text
    assert "mode=full" not in text
    # What the small clusters have is within the tolerance.
    assert "cluster=small have" not in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_row_is_a_line_on_any_terminal(mixed: Path, width: int) -> None:
    _, lines = shown(mixed, width)
    (at,) = [number for number, line in enumerate(lines) if line.startswith("# ")]
    rows = lines[at + 1 : lines.index("", at)]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(8)]
    assert max(map(len, lines[: at + 9])) <= width
    for heading in ("engine", "cluster", "ending", "duration", "cost", "front"):
        assert heading in lines[at]
    # What has no room as a column is told below.
    assert "cluster.workers=5" in "\n".join(lines)


def test_markdown(mixed: Path) -> None:
    shown(mixed)
    lines = (mixed / "comparison.md").read_text().splitlines()
    assert lines[0].startswith("| # | engine | cluster | cost | duration | front | ending |")
    assert len({line.count("|") for line in lines[:10]}) == 1
    assert f"> $1.00, lacking {DBU} |" in lines[7]
    assert "- #4 failed: no capacity" in lines


def test_of_plans_every_cost_is_marked(tmp_path: Path) -> None:
    rows = {
        "cluster=small": an_outcome(2.0, 3, ending=Ending.planned, estimated_usd=2.0),
        "cluster=large": an_outcome(8.0, 1, ending=Ending.planned, cluster="large"),
    }
    went_well, lines = shown(sweep_of(tmp_path, rows))
    assert went_well
    text = "\n".join(lines)
    assert "~$2.00" in text
    assert "~$3.00 per hour" in text
    assert " $8.00" not in text
    # Nor is a figure that was made of one.
    assert text.count("~10%") == 2
    assert text.count("~$1.00") == 2  # a node and hour
    page = (tmp_path / "comparison.html").read_text()
    assert "<td>~$1.20 (60%)</td>" in page
    assert "small: planned, ~$2.00</h3>" in page
    assert "<td>~$1.20</td>" in page
    assert not re.findall(r"<td>\$(?!0\.00)", page.partition("<h2>Bills")[2])
    assert "estimated" not in lines[0]  # beside nothing else
    assert all(row["cost_is_estimate"] for row in compared_json(tmp_path))


def test_a_plan_of_unknown_duration_is_no_cheap_one(tmp_path: Path) -> None:
    unknown = a_bill(0.1, unpriced=["its duration"])
    rows = {
        "cluster=small": an_outcome(None, None, ending=Ending.planned, bill=unknown),
        "cluster=large": an_outcome(8.0, 1, ending=Ending.planned, cluster="large"),
    }
    _, lines = shown(sweep_of(tmp_path, rows))
    text = "\n".join(lines)
    assert "> ~$0.10" in text
    assert "#0: the cost lacks its duration" in text
    assert "wasted" not in text
    assert "Tell a duration by pipeline.steps.STEP.expected_minutes" in text
    assert "100%" not in text
    assert [row["standing"] for row in compared_json(tmp_path)] == ["not compared"] * 2


def test_rows_of_other_work_are_not_compared(tmp_path: Path) -> None:
    rows = {
        "mode=full cluster=small": an_outcome(9.0, 9),
        "mode=full cluster=large": an_outcome(12.0, 8, cluster="large"),
        "mode=small_dev_sample_s3 cluster=small": an_outcome(1.0, 1, mode="small_dev_sample_s3"),
        "mode=full cluster=small pipeline.partitions=[a]": an_outcome(0.5, 0.5),
        "mode=full cluster=small endpoint=rehearsal": an_outcome(0.1, 99.0, virtual=True),
    }
    _, lines = shown(sweep_of(tmp_path, rows))
    places = [row["standing"] for row in compared_json(tmp_path)]
    assert places == ["cheapest", "front", *["not compared"] * 3]
    text = "\n".join(lines)
    assert "not compared with each other" in text
    # By the cloud's account: the launcher's own seconds pass faster there.
    assert "6 min virtual" in text
    assert compared_json(tmp_path)[4]["elapsed_s"] == 99 * 3600
    assert "Nobody was charged." in text


def test_what_earlier_tries_took_counts(tmp_path: Path) -> None:
    """The first try of an hour was in vain; without it, the row would be the faster one."""
    once = Bill(a_bill(2.0).lines, run_s=3600.0)
    twice = replace(a_bill(1.9, wasted_usd=0.9), run_s=3500.0, tried_s=3600.0)
    rows = {
        "seed=1": an_outcome(None, 0.1, bill=once, virtual=True),
        "seed=2": an_outcome(None, 0.1, bill=twice, virtual=True),
    }
    shown(sweep_of(tmp_path, rows))
    assert [row["duration_s"] for row in compared_json(tmp_path)] == [3600.0, 7100.0]
    assert [row["standing"] for row in compared_json(tmp_path)] == ["not told apart"] * 2


def test_a_bill_keeps_the_time_of_every_try() -> None:
    first, second, last = (
        Usage(Engine.emr, "us-east-1", startup_s=startup_s, run_s=run_s)
        for startup_s, run_s in ((300.0, 0.0), (200.0, 50.0), (100.0, 400.0))
    )
    made = bill([first, second, last], price_list(PricesConfig(), "us-east-1"))
    assert (made.startup_s, made.run_s, made.tried_s, made.took_s) == (100, 400, 550, 1050)
    assert Bill.from_json(made.as_json()) == made
    assert together([made, made]).tried_s == 1100
    earlier = made.as_json()
    del earlier["tried_s"]  # as it was written before
    assert Bill.from_json(earlier).took_s == 500


def test_workers_of_steps_with_their_own_cluster_are_compared_too(tmp_path: Path) -> None:
    def row(engine: str, vcpus: float) -> Outcome:
        first = an_outcome(1.0, 1, engine=engine)
        (step,) = first.steps
        own = replace(step, step="step_2", cluster="large", vcpus=vcpus, memory_gib=512.0)
        return replace(first, steps=(step, own))

    rows = {"engine=emr": row("emr", 128.0), "engine=databricks": row("databricks", 64.0)}
    _, lines = shown(sweep_of(tmp_path, rows))
    assert (
        "not equal: the workers of cluster=large have 128 vCPU and 512 GiB (#0 emr);"
        " 64 vCPU and 512 GiB (#1 databricks)."
    ) in lines
    assert "cluster=small" not in "\n".join(lines)


RANKS = ("dominated", "cheapest", "per hour")


def test_rehearsed_rows_are_not_told_apart(tmp_path: Path) -> None:
    """Execution in seconds of two steps that ran on one machine, whatever size was rehearsed, and
    what an hour of each cluster costs."""
    took_s = {
        ("emr", "small"): (60, 47),
        ("emr", "medium"): (45, 66),
        ("emr", "large"): (52, 47),
        ("databricks", "small"): (35, 42),
        ("databricks", "medium"): (38, 25),
        ("databricks", "large"): (22, 23),
    }
    hour_usd = dict(zip(took_s, (0.9, 2.7, 9.9, 1.1, 3.2, 11.5), strict=True))
    rows = {}
    for (engine, cluster), seconds in took_s.items():
        first = an_outcome(1.0, 0.2, engine=engine, cluster=cluster, virtual=True)
        steps = tuple(
            replace(
                first.steps[0],
                step=f"step_{number}",
                # Of which a tenth is start-up.
                bill=replace(
                    a_bill(run_s * hour_usd[engine, cluster] / 3600 / 0.9),
                    run_s=run_s,
                    startup_s=200.0,
                ),
            )
            for number, run_s in enumerate(seconds, start=1)
        )
        rows[f"engine={engine} cluster={cluster}"] = replace(first, steps=steps)
    _, lines = shown(sweep_of(tmp_path, rows))
    found = compared_json(tmp_path)
    assert {row["standing"] for row in found} == {"not told apart"}
    assert found[0]["not_told_apart_from"] == [1, 2, 3, 4, 5]
    bands = ("low_usd", "high_usd", "low_duration_s", "high_duration_s")
    assert {row[one] for row in found for one in bands} == {None}
    written = [path.read_text() for path in tmp_path.glob("comparison.*")]
    assert len(written) == 5
    for text in ("\n".join(lines), *written):
        shown_text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
        assert not [word for word in RANKS if word in shown_text]
    (told,) = [line for line in lines if line.startswith("not told apart: ")]
    assert "in a rehearsal every size and engine executes on this machine" in told
    # What is left is what an hour of each costs.
    broken_even = [one for row in found for one in row["break_even"]]
    assert {one["startup_counts"] for one in broken_even} == {False}
    assert found[3]["break_even"] == [
        {
            "against": 0,
            "speed": pytest.approx(1.1 / 0.9),
            "expected_speed": None,
            "startup_counts": False,
        }
    ]
    assert (
        "break-even (cluster=small, start-up aside): #3 databricks pays from 1.22 x the speed of"
        " #0 emr."
    ) in lines
    assert (
        "break-even (engine=emr, start-up aside): #1 medium pays from 3.00 x the speed of #0 small;"
        " #2 large pays from 3.67 x the speed of #1 medium."
    ) in lines


def planned(usd: float, hours: float, spread: float, **more: Any) -> Outcome:
    """A plan of which the duration, and so the cost but its start-up, may be as many times less or
    more as `spread` says."""
    whole = an_outcome(usd, hours, ending=Ending.planned, **more)
    (step,) = whole.steps
    step = replace(
        step,
        spread_usd=(usd * (0.1 + 0.9 / spread), usd * (0.1 + 0.9 * spread)),
        spread_s=(hours * 3600 / spread, hours * 3600 * spread),
    )
    return replace(whole, steps=(step,))


def test_overlapping_bands_are_not_told_apart_and_others_are(tmp_path: Path) -> None:
    rows = {
        "cluster=small": planned(1.0, 8, 1.1, cluster="small"),
        "cluster=medium": planned(1.1, 4, 1.1, cluster="medium"),
        "cluster=large": planned(4.0, 1, 1.1, cluster="large"),
    }
    _, lines = shown(sweep_of(tmp_path, rows))
    found = compared_json(tmp_path)
    assert [row["standing"] for row in found] == ["not told apart", "not told apart", "front"]
    # Its next cheaper neighbour might be either.
    assert found[2]["usd_per_hour_saved"] is None
    assert (found[1]["low_usd"], found[1]["high_usd"]) == pytest.approx((1.01, 1.199))
    assert (found[1]["low_duration_s"], found[1]["high_duration_s"]) == pytest.approx(
        (3600 * 4 / 1.1, 3600 * 4 * 1.1)
    )
    (told,) = [line for line in lines if line.startswith("not told apart: ")]
    assert told.startswith("not told apart: #0 emr, #1 emr: their bands of cost or of time overlap")
    assert "#1 medium pays from 1.99 x the speed of #0 small (expected: 2.00 x)" not in told
    (line,) = [line for line in lines if line.startswith("break-even (engine=emr)")]
    # S = 0.11, X = 0.99, T / t = 2, C = 1.0
    assert line.endswith("#1 medium pays from 2.22 x the speed of #0 small (expected: 2.00 x).")
    assert "$1.01-1.20" in "\n".join(lines)
    assert "3.6-4.4 h" in "\n".join(lines)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [one["low_usd"] for one in read] == [str(row["low_usd"]) for row in found]
    assert json.loads(read[1]["break_even"]) == found[1]["break_even"]
    assert (read[2]["not_told_apart_from"], read[2]["break_even"]) == ("", "")
    page = (tmp_path / "comparison.html").read_text()
    assert page.count('<td class="">$1.01-1.20</td>') == 1
    assert "break-even (engine=emr)" in page


def test_start_up_alone_may_cost_more(tmp_path: Path) -> None:
    rows = {
        "cluster=small": planned(0.1, 1, 4.0, cluster="small"),
        "cluster=large": planned(2.0, 0.5, 4.0, cluster="large"),
    }
    rows["cluster=large"] = replace(
        rows["cluster=large"],
        steps=(replace(rows["cluster=large"].steps[0], spread_usd=(0.05, 9.0)),),
    )
    _, lines = shown(sweep_of(tmp_path, rows))
    assert (
        "break-even (engine=emr): #1 large costs more than #0 small at any speed, by its start-up"
        " alone."
    ) in lines
    assert compared_json(tmp_path)[1]["break_even"][0]["speed"] is None


def test_single_runs_that_hardly_differ_are_not_told_apart(tmp_path: Path) -> None:
    rows = {
        "engine=emr": an_outcome(10.0, 5),
        "engine=databricks": an_outcome(10.9, 4, engine="databricks"),
        "engine=emr cluster=large": an_outcome(30.0, 1, cluster="large"),
    }
    _, lines = shown(sweep_of(tmp_path, rows))
    found = compared_json(tmp_path)
    assert [row["standing"] for row in found] == ["not told apart", "not told apart", "front"]
    assert (found[0]["low_usd"], found[0]["high_usd"]) == pytest.approx((9.5, 10.5))
    assert any(
        line.startswith("band of #0, #1, #2: ±5 %, as of one run") and "10 %" in line
        for line in lines
    )
    # Both have really run: what they cost is known, and no speed is asked for.
    assert not [line for line in lines if line.startswith("break-even")]
    assert "cost band" not in lines[0]


def test_a_chart_that_cannot_be_drawn_loses_no_table(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [one for one in sys.modules if one.startswith("matplotlib.")]:
        monkeypatch.setitem(sys.modules, name, None)
    _, lines = shown(mixed)
    (told,) = [line for line in lines if line.startswith("The chart could not be drawn: ")]
    assert "matplotlib" in told
    assert told in (mixed / "comparison.html").read_text().replace("&#39;", "'")
    assert len(compared_json(mixed)) == 8
    assert all((mixed / f"comparison.{kind}").is_file() for kind in ("md", "csv", "html"))
    assert not (mixed / "comparison.svg").exists()


def test_the_table_is_kept_though_the_terminal_has_gone(mixed: Path) -> None:
    class Gone(StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with pytest.raises((OSError, SystemExit)):
        compared(mixed, Console(width=80, file=Gone()))
    assert len(compared_json(mixed)) == 8


def test_a_cluster_that_does_not_keep_its_promise_is_told(tmp_path: Path) -> None:
    rows = {
        "cluster.workers=1,2": an_outcome(1.0, 1, keeps_promise=False),
        "cluster.workers=2": an_outcome(2.0, 1),
    }
    _, lines = shown(sweep_of(tmp_path, rows))
    assert "not equal: #0 emr do not keep the promise" in "\n".join(lines)


def test_what_was_not_started_costs_nothing_and_what_is_unknown_is_named() -> None:
    failed = an_outcome(3.0, 1, engine="emr+databricks", ending=Ending.failed)
    first, second = failed.steps
    begun = Outcome(
        **{**vars(failed), "steps": (first, type(second)("b", None, "emr", "small", Ending.failed))}
    )
    assert begun.cost_usd is None
    assert begun.bill is not None
    assert begun.bill.unpriced == ("the cost of b",)
    waited = type(second)("b", None, "emr", "small", Ending.not_started)
    unbegun = Outcome(**{**vars(failed), "steps": (first, waited)})
    assert unbegun.cost_usd == pytest.approx(3.0)


@pytest.mark.parametrize("rows", [{}, {"a=1": None}, {"a=1": an_outcome(workers=None)}])
def test_a_sweep_without_any_figure(tmp_path: Path, rows: dict[str, Outcome | None]) -> None:
    shown(sweep_of(tmp_path, rows))
    assert len(compared_json(tmp_path)) == len(rows)
    assert not (tmp_path / "comparison.svg").exists()
    assert "No row has both a cost and a duration" in (tmp_path / "comparison.html").read_text()


class _Page(HTMLParser):
    """What a page asks of others, and its elements' balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data"}:
                self.asked.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "br"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_else_and_escapes_what_it_is_told(mixed: Path) -> None:
    row = mixed / "4-emr" / "result.json"
    data = json.loads(row.read_text())
    data["steps"][0]["error"] = "<script>alert('x')</script> & more"
    row.write_text(json.dumps(data))
    shown(mixed)
    source = (mixed / "comparison.html").read_text()
    page = _Page()
    page.feed(source)
    page.close()
    assert page.open == []
    assert all(one.startswith("#") for one in page.asked)  # within the chart
    assert "@import" not in source
    assert "<script" not in source
    text = "".join(page.text)
    assert "<script>alert('x')</script> & more" in text
    for wanted in ("a price list, 2026-04-10", "start-up and idle", f"Lacking: {DBU}", "wasted"):
        assert wanted in text
