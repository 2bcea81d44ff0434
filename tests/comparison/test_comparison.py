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
    assert [row["standing"] for row in compared_json(tmp_path)] == ["not compared", "cheapest"]


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
    assert places == ["cheapest", "front", "cheapest", "cheapest", "cheapest"]
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
    assert [row["standing"] for row in compared_json(tmp_path)] == ["front", "cheapest"]


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


def test_one_duration_told_for_all_sizes_tells_no_sizes_apart(tmp_path: Path) -> None:
    rows = {
        f"cluster={size}": an_outcome(
            usd, 1, cluster=size, ending=Ending.planned, workers=(vcpus, 4 * vcpus)
        )
        for size, usd, vcpus in (("small", 1.0, 8.0), ("large", 9.0, 128.0))
    }
    _, lines = shown(sweep_of(tmp_path / "alike", rows))
    assert any(line.startswith("sizes are not told apart: ") for line in lines)
    faster = replace(a_bill(9.0), run_s=60.0)
    (step,) = rows["cluster=large"].steps
    rows["cluster=large"] = replace(rows["cluster=large"], steps=(replace(step, bill=faster),))
    _, lines = shown(sweep_of(tmp_path / "scaled", rows))
    assert not any(line.startswith("sizes are not told apart") for line in lines)


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
