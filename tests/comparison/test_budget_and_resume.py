"""What a sweep is not begun for, and what of an earlier one it does not do again: by the real
command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.budget_after import over_budget
from ascii_hydra.engines.budget_before import row_over_budget
from ascii_hydra.engines.estimate import plan_estimates
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.progress import show
from ascii_hydra.report.sweep_folder import earlier_rows, taken_over, written_rows
from tests.comparison.made_up_sweep import a_bill, an_outcome, compared_json
from tests.comparison.test_sweep import light_steps
from tests.conftest import CommandLine
from tests.runs.test_command_line import quick_steps

PLANNED = (
    "mode=full",
    "engine=emr",
    "pipeline.steps.step_1.expected_minutes=600",
    "pipeline.steps.step_2.expected_minutes=60",
)
REHEARSED = ("endpoint=rehearsal", "mode=small_dev_sample_s3", "engine=emr")


def sweep_in(folder: Path) -> Path:
    (found,) = folder.glob("multirun/*/*")
    return found


def settled(*overrides: str) -> Settings:
    words = [*PLANNED, "action=plan", *overrides]
    return settle(composed(words), words)


# --- budget ---------------------------------------------------------------------------------------


def test_a_run_that_is_expected_to_cost_more_is_not_begun(
    command_line: CommandLine, tmp_path: Path
) -> None:
    words = [*REHEARSED, "rehearsal.step_minutes=600", "launch.budget_usd=1.5"]
    ended = command_line(*words)
    assert ended.returncode == 1
    assert ended.stderr.startswith("launch.budget_usd=1.5: the run is expected to cost ~$"), (
        ended.stderr
    )
    assert ", of which step_" in ended.stderr
    assert "Raise it, or choose less" in ended.stderr
    assert "Traceback" not in ended.stderr
    # Nothing was made, not even a folder.
    assert not list(tmp_path.glob("outputs/*/*/result.json"))
    # A plan of it starts nothing, and says so.
    planned = command_line(*words, "action=plan", "plan.requests=false")
    assert planned.returncode == 0, planned.stderr
    assert "It would not be begun." in planned.stderr


def test_a_sweep_is_refused_by_the_sum_of_its_rows(
    command_line: CommandLine, tmp_path: Path
) -> None:
    words = ["-m", *REHEARSED, "rehearsal.step_minutes=60", "cluster=small,medium"]
    ended = command_line(*words, "launch.budget_usd=2")
    assert ended.returncode == 1
    lines = ended.stderr.strip().splitlines()
    assert lines[0].startswith("launch.budget_usd=2: the 2 rows are expected to cost ~$")
    assert [line.strip().split(":")[0].split()[0] for line in lines[1:]] == ["#0", "#1"]
    amounts = [float(line.rpartition("$")[2]) for line in lines[1:]]
    total = float(lines[0].partition("~$")[2].split()[0])
    assert total == pytest.approx(sum(amounts), abs=0.011)
    # Each alone would have been allowed: it is the sum that counts.
    assert amounts[0] < 2
    assert not list(tmp_path.glob("multirun/*/*/*/result.json"))


def test_what_cannot_be_checked_before_is_said(command_line: CommandLine, tmp_path: Path) -> None:
    extra = {"DAGSTER_HOME": str(tmp_path / "no_history")}
    words = [*REHEARSED, "action=plan", "plan.requests=false", "launch.budget_usd=5"]
    ended = command_line(*words, extra=extra)
    assert ended.returncode == 0, ended.stderr
    assert "launch.budget_usd=5 cannot be checked before, because this is not known:" in (
        ended.stderr
    )
    assert "It is watched while it runs." in ended.stderr
    # The start-up alone may be above it.
    over = command_line(*words[:-1], "launch.budget_usd=0.001", extra=extra)
    assert "expected to cost more than ~$" in over.stderr


def test_on_this_machine_any_budget_is_enough(command_line: CommandLine, tmp_path: Path) -> None:
    words = [*quick_steps(tmp_path), f"mode.output_root={tmp_path}/data", "launch.budget_usd=0"]
    ended = command_line(*words)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_row_is_not_begun_once_earlier_ones_have_spent_the_budget(
    command_line: CommandLine, tmp_path: Path
) -> None:
    """Together the rows are expected to cost a little less than the budget, and the first one
    really costs a little more than expected: launching takes time, too."""
    row = [
        *("engine=databricks", "endpoint=rehearsal", "mode=small_dev_sample_s3"),
        *("rehearsal.speed=20000", "rehearsal.step_minutes=30"),
        *light_steps(tmp_path),
    ]
    one_usd = plan_estimates(settle(composed(row), row), history=()).usd
    assert one_usd is not None
    budget = f"launch.budget_usd={2 * one_usd + 1e-6:.6f}"
    home = {"DAGSTER_HOME": str(tmp_path / "home")}
    sweep = ["-m", *row, "pipeline.steps.step_1.parameters.seed=1,2", budget]
    ended = command_line(*sweep, extra=home, timeout_s=240)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    rows = compared_json(sweep_in(tmp_path))
    assert [one["ending"] for one in rows] == ["succeeded", "not started"], ended.stdout
    assert rows[0]["cost_usd"] > one_usd
    assert rows[1]["error"].startswith("launch.budget_usd=")
    assert "were spent by earlier rows, and this one is expected to cost ~$" in rows[1]["error"]
    assert rows[1]["cost_usd"] is None


def test_a_success_that_passed_its_budget_is_a_success_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    passed = over_budget(0.115, a_bill(0.119), a_bill(0.01), earlier_usd=0.0, stopped=False)
    assert passed is not None
    outcome = replace(an_outcome(0.119, 1.0), over_budget=passed)
    assert outcome.exit_code == 0
    assert Outcome.read(outcome.written(tmp_path)).over_budget == passed
    show(outcome)
    assert passed in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("spent", "shared", "earlier", "stopped", "told"),
    [
        (0.115, None, 0.0, False, None),
        (0.11501, None, 0.0, False, None),  # less than can be shown
        (
            *(0.119, 0.01, 0.0, False),
            (
                "$0.119 were spent, because what the steps shared is paid for until the launch ends"
                " ($0.01 besides the steps)."
            ),
        ),
        (
            *(0.1152, None, 0.0, True),
            "$0.1152 were spent, because what was stopped is paid for until it has ended.",
        ),
        (
            *(0.08, None, 0.1, False),
            (
                "$0.180 were spent, $0.10 of it by earlier rows, because the last of it was seen"
                " only when nothing was left to stop."
            ),
        ),
    ],
)
def test_how_a_budget_that_was_passed_is_told(
    spent: float, shared: float | None, earlier: float, stopped: bool, told: str | None
) -> None:
    sentence = over_budget(
        0.115,
        a_bill(spent),
        None if shared is None else a_bill(shared),
        earlier_usd=earlier,
        stopped=stopped,
    )
    expected = None if told is None else f"launch.budget_usd=0.115 was passed: {told}"
    assert sentence == expected


def test_what_is_not_known_of_a_passed_budget_is_marked() -> None:
    spent = a_bill(2.0, estimated=True, unpriced=("serverless DBU",))
    told = over_budget(1.0, spent, None, earlier_usd=0.0, stopped=True)
    assert told is not None
    assert "was passed: more than ~$2.00 were spent" in told


def test_when_a_row_is_begun() -> None:
    planned = plan_estimates(settled(), history=())
    usd = planned.usd
    assert usd is not None
    assert row_over_budget(usd + 1, planned, 0.9) is None
    assert "$1.10 were spent by earlier rows, and this one" in str(
        row_over_budget(usd + 1, planned, 1.1)
    )
    assert row_over_budget(1, planned, 1.0) == (
        "launch.budget_usd=1: $1.00 were spent by earlier rows"
    )


# --- resume ---------------------------------------------------------------------------------------


def test_a_killed_sweep_is_resumed(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL in the second of three rows: of the resumed sweep only the last two run."""
    log, block = tmp_path / "log", tmp_path / "block"
    block.touch()
    words = quick_steps(
        tmp_path,
        "import os",
        "seed = ''.join(one for one in sys.argv if 'seed=' in one)",
        f"if seed: open({str(log)!r}, 'a').write(seed + '\\n')",
        f"while 'seed=2' in seed and os.path.exists({str(block)!r}): time.sleep(0.05)",
    )
    command = [
        *(sys.executable, "-m", "ascii_hydra", "-m", "pipeline.steps.step_1.parameters.seed=1,2,3"),
        *(*words, f"mode.output_root={tmp_path}/data"),
    ]
    first = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (log.exists() and "seed=2" in log.read_text()):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=30)
    block.unlink()
    killed = sweep_in(tmp_path)
    assert len(list(killed.glob("*/result.json"))) == 1
    assert log.read_text().count("seed") == 2

    time.sleep(2)  # the orphaned step ends itself, and lets its output go
    folder = tmp_path / "again"
    again = subprocess.run(
        [*command, f"launch.resume={killed.relative_to(tmp_path)}", f"hydra.sweep.dir={folder}"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    rows = compared_json(folder)
    assert [row["ending"] for row in rows] == ["succeeded"] * 3
    first_row = next(killed.glob("0-*"))
    assert [row["resumed_from"] for row in rows] == [str(first_row), None, None]
    assert log.read_text().count("seed") == 4  # two of them now
    assert "succeeded (resumed)" in again.stdout
    assert "#0 was taken over from" in again.stdout


def a_row(folder: Path, number: int, settings: Settings, ending: Ending, **more: Any) -> Path:
    """A row as a sweep writes it."""
    own = folder / f"{number}-emr"
    own.mkdir()
    (own / "settled.yaml").write_text(settings.yaml)
    an_outcome(1.0, 1, ending=ending, digest=settings.digest, **more).written(own)
    return own


def test_what_is_taken_over(tmp_path: Path) -> None:
    small, medium, large = (settled(f"cluster={one}") for one in ("small", "medium", "large"))
    written_rows(tmp_path, [["cluster=small"]] * 5)
    done = a_row(tmp_path, 0, small, Ending.succeeded)
    a_row(tmp_path, 1, medium, Ending.planned)  # counts for nothing
    spoiled = a_row(tmp_path, 2, medium, Ending.succeeded)
    (spoiled / "result.json").write_text("{")
    a_row(tmp_path, 3, large, Ending.succeeded, resumed_from="where_it_ran")
    earlier = earlier_rows(str(tmp_path))
    assert [one.number for one in earlier] == [0, 3]
    taken = taken_over(earlier, small)
    assert taken is not None
    assert (taken.ending, taken.resumed_from) == (Ending.succeeded, str(done))
    assert taken_over(earlier, medium) is None
    # Of one that was taken over itself, where it ran is told.
    again = taken_over(earlier, large)
    assert again is not None
    assert again.resumed_from == "where_it_ran"
    # How it is launched and told is not what is done, but who shares a cluster changes its cost.
    told = settled("cluster=small", "launch.budget_usd=7", "plan.format=json")
    assert taken_over(earlier, told) is not None
    shared = settled("cluster=small", "launch.reuse_cluster=run")
    assert shared.digest == small.digest
    assert taken_over(earlier, shared) is None


def test_a_bill_of_other_prices_is_not_taken_over(tmp_path: Path) -> None:
    dearer = settled("prices.tier=enterprise")
    plain = settled()
    assert dearer.digest == plain.digest
    written_rows(tmp_path, [["prices.tier=premium"], ["prices.tier=enterprise"]])
    rows = [
        a_row(tmp_path, number, one, Ending.succeeded) for number, one in enumerate((plain, dearer))
    ]
    earlier = earlier_rows(str(tmp_path))
    for one, folder in zip((plain, dearer), rows, strict=True):
        taken = taken_over(earlier, one)
        assert taken is not None
        assert taken.resumed_from == str(folder)
    for other in ("prices.discounts.ec2_pct=12", f"prices.folder={tmp_path}"):
        assert taken_over(earlier, settled(other)) is None
    # Whom a refresh asks changes no bill.
    assert taken_over(earlier, settled("prices.warehouse_id=0123456789abcdef")) is not None


def test_after_a_row_that_broke_no_other_is_begun_if_there_is_a_budget(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A fault of ours, after a step may have been paid for."""
    broken = (
        "import ascii_hydra.assets.launch as launch\n"
        "def launched(*_, **__):\n"
        "    raise RuntimeError('a fault of ours')\n"
        "launch.launched = launched\n"
        "from ascii_hydra.cli import main\n"
        "main()\n"
    )
    words = [
        *quick_steps(tmp_path),
        f"mode.output_root={tmp_path}/data",
        "launch.on_failure=continue",
    ]
    for budget, second in (("5", "not started"), ("null", "failed")):
        folder = tmp_path / budget
        ended = subprocess.run(
            [
                *(sys.executable, "-c", broken, "-m", *words, f"hydra.sweep.dir={folder}"),
                *("pipeline.steps.step_1.parameters.seed=1,2", f"launch.budget_usd={budget}"),
            ],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 1, ended.stdout + ended.stderr
        rows = compared_json(folder)
        assert [one["ending"] for one in rows] == ["failed", second], ended.stdout + ended.stderr
        assert rows[0]["error"] == "RuntimeError: a fault of ours"
        assert (rows[0]["cost_usd"], rows[0]["known_usd"]) == (None, 0.0)
        assert "#0: the cost lacks what it had cost when it broke" in ended.stdout.replace(
            ", #1", ""
        )
        if budget == "5":
            assert rows[1]["error"].startswith("an earlier row broke, and what it has cost")


def test_what_cannot_be_resumed(command_line: CommandLine, tmp_path: Path) -> None:
    single = command_line("action=plan", "launch.resume=earlier")
    assert single.returncode == 1
    assert single.stderr == (
        "launch.resume=earlier: is for a sweep, whose rows it takes over; a single run has none."
        " Add -m, or leave it out.\n"
    )
    for folder, what in (("nowhere", "is no folder"), (".", "holds no sweep (no rows.json)")):
        ended = command_line("-m", "action=plan", f"launch.resume={folder}")
        assert ended.returncode == 1
        assert ended.stderr == (
            f"launch.resume={folder}: {what}. Name the folder that the sweep wrote to:"
            " multirun/<day>/<time>.\n"
        )
