"""Runs from the command line: real Spark, a real Dagster history, real signals."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRunStatus

from ascii_hydra.outcome import Ending, Outcome
from tests.conftest import CommandLine

STEPS = ("step_1", "step_2")
ROWS = "pipeline.steps.step_1.parameters.rows.small_dev_sample_local=2000"


def outcome_in(folder: Path) -> Outcome:
    return Outcome.read(next(folder.glob("outputs/*/*/result.json")))


def rows_of(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(folder).to_pylist()
    return sorted(found, key=lambda row: str(sorted(row.items())))


def script_that(folder: Path, *lines: str) -> str:
    """A step's script whose work is these lines, as `pipeline.steps.<step>.script`."""
    path = folder / "made_by_a_test.py"
    body = "\n".join(f"        {line}" for line in lines)
    path.write_text(
        "import sys, time\n"
        "from ascii_hydra.step import SparkStep\n"
        "class Made(SparkStep):\n"
        "    def execute_business_logic(self, **known):\n"
        f"{body}\n"
        "if __name__ == '__main__':\n"
        "    Made.run()\n",
        encoding="utf-8",
    )
    return str(path)


def quick_steps(folder: Path, *lines: str, steps: Sequence[str] = STEPS) -> list[str]:
    """Overrides with which the steps are these lines and no Spark: where it is the command that is
    tested, a Spark would cost its seconds and show nothing."""
    path = folder / "quick.py"
    body = "\n".join(f"    {line}" for line in lines or ("pass",))
    path.write_text(
        "import sys, time\n"
        "from dagster_pipes import PipesCliArgsParamsLoader, open_dagster_pipes\n"
        "with open_dagster_pipes(params_loader=PipesCliArgsParamsLoader()) as context:\n"
        f"{body}\n",
        encoding="utf-8",
    )
    changes = (f"script={path}", "writes_output=false")
    scripts = [f"pipeline.steps.{step}.{one}" for step in steps for one in changes]
    return [*scripts, "engine.reuse_jvm=false", "engine.class_sharing=false"]


def still_alive(marker: str) -> list[int]:
    """Processes that have a text in their environment or command line."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            words = " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.Error:
            continue
        if marker in words and process.pid != os.getpid():
            found.append(process.pid)
    return found


def test_two_steps_on_this_machine(command_line: CommandLine, tmp_path: Path) -> None:
    home, data = tmp_path / "home", tmp_path / "data"
    extra = {"DAGSTER_HOME": str(home)}
    ended = command_line(ROWS, f"mode.output_root={data}", extra=extra)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    # What it said.
    lines = ended.stdout.splitlines()
    assert lines[0] == "step_1 started on pyspark"
    assert "step_2 succeeded" in ended.stdout
    heading = next(line for line in lines if line.startswith("step "))
    assert heading.split() == [
        "step", "engine", "cluster", "state", "duration", "rows", "cost", "output",
    ]  # fmt: skip

    # What it made.
    made = rows_of(data / "two_steps" / "step_2")
    assert len(made) == 2000
    assert all(row["text_length"] == len(str(row["text"])) for row in made)

    # What it wrote for machines.
    outcome = outcome_in(tmp_path)
    assert outcome.ending is Ending.succeeded
    assert [step.step for step in outcome.steps] == list(STEPS)
    assert [step.rows for step in outcome.steps] == [2000, 2000]
    assert outcome.cost_usd == 0.0
    assert (tmp_path / "home" / "dagster.yaml").is_file()

    # What Dagster keeps.
    with DagsterInstance.from_config(str(home)) as instance:
        run = instance.get_run_by_id(outcome.run_ids[0])
        assert run is not None
        assert (run.job_name, run.status) == ("two_steps", DagsterRunStatus.SUCCESS)
        assert run.tags["ascii_hydra/config_digest"] == outcome.digest
        assert run.remote_job_origin is not None
        event = instance.get_latest_materialization_event(AssetKey(["two_steps", "step_2"]))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert metadata["dagster/row_count"].value == 2000
        distinct = len({row["text"] for row in made})
        assert metadata["distinct_texts"].value == distinct
        lengths = [int(str(row["text_length"])) for row in made]
        assert metadata["mean_text_length"].value == pytest.approx(sum(lengths) / 2000)
        assert metadata["dagster/uri"].value == str(data / "two_steps" / "step_2")
        assert {"started_at", "ended_at", "dagster/column_schema"} <= set(metadata)
        assert metadata["ascii_hydra/engine"].value == "pyspark"
        assert "rows:" in str(metadata["ascii_hydra/config"].value)
        # What the run config made another process compose is what was settled here.
        assert metadata["ascii_hydra/config_digest"].value == outcome.digest

    # The same again changes nothing.
    again = command_line(ROWS, f"mode.output_root={data}", "cluster=medium", extra=extra)
    assert again.returncode == 0, again.stdout + again.stderr
    assert rows_of(data / "two_steps" / "step_2") == made


def test_a_step_that_fails(command_line: CommandLine, tmp_path: Path, shared_home: Path) -> None:
    script = script_that(
        tmp_path, "print('printed by the step')", "raise ValueError('no such river')"
    )
    ended = command_line(f"pipeline.steps.step_1.script={script}", f"mode.output_root={tmp_path}/d")
    assert ended.returncode == 1
    assert "step_1 failed" in ended.stdout
    assert "step_2 not started" in ended.stdout
    assert "no such river" in ended.stdout
    told = ended.stdout + ended.stderr
    assert "dagster/_core" not in told
    work = "raise ValueError('no such river')"
    assert f"at: made_by_a_test.py:6, in execute_business_logic: {work}" in ended.stdout
    assert "last lines of its output:\n  printed by the step\nlog: " in ended.stdout
    outcome = outcome_in(tmp_path)
    assert outcome.ending is Ending.failed
    assert [step.ending for step in outcome.steps] == [Ending.failed, Ending.not_started]
    # What the step printed is where the UI looks for it.
    kept = (shared_home / "storage" / outcome.run_ids[0]).rglob("*.out")
    assert "printed by the step" in "".join(path.read_text() for path in kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_canceled_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    begun = tmp_path / "begun"
    script = script_that(tmp_path, f"open({str(begun)!r}, 'w').close()", "time.sleep(600)")
    marker = f"marker-{tmp_path.name}"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ascii_hydra", f"pipeline.steps.step_1.script={script}"),
            f"mode.output_root={tmp_path}/data",
        ],
        cwd=tmp_path,
        env={**environment, "A_TEST": marker},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 130, said
    assert "canceled" in said
    assert still_alive(marker) == []
    outcome = outcome_in(tmp_path)
    assert outcome.ending is Ending.canceled
    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        run = instance.get_run_by_id(outcome.run_ids[0])
        assert run is not None
        assert run.status is DagsterRunStatus.CANCELED
        assert not instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION
        ).records


def test_on_a_terminal_states_are_live_and_ctrl_c_is_heard(
    environment: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    script = script_that(tmp_path, f"open({str(begun)!r}, 'w').close()", "time.sleep(600)")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ascii_hydra", f"pipeline.steps.step_2.script={script}"),
            *(f"mode.output_root={tmp_path}/data", ROWS),
        ],
        cwd=tmp_path,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - this test has no threads
    )
    os.close(theirs)
    seen = b""
    pressed = False
    with contextlib.suppress(OSError):  # the terminal is gone once the process has ended
        while chunk := os.read(ours, 65536):
            seen += chunk
            if begun.exists() and not pressed:
                os.write(ours, b"\x03")
                pressed = True
    os.close(ours)
    assert process.wait(timeout=30) == 130
    text = seen.decode(errors="replace")
    assert "running" in text
    assert "waiting" in text
    assert "stopping: ending what was started" in text
    assert "all that was started has ended" in text.rpartition("canceled in")[2]
    final = text.rpartition("output")[2]
    assert "succeeded" in final
    assert "canceled" in final


def _take_terminal() -> None:
    """Make the standard input of a new session its terminal, so that Ctrl-C is a signal to it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_sweep_with_a_row_that_fails(command_line: CommandLine, tmp_path: Path) -> None:
    """A row fails for a reason that only shows when it runs: all rows are compared all the same."""
    words = ["-m", "cluster=small,medium", "pipeline.steps.step_1.parameters.seed=7,broken"]
    words += quick_steps(tmp_path, "assert 'seed=\"broken\"' not in sys.argv, 'the seed is broken'")
    ended = command_line(*words, f"mode.output_root={tmp_path}/data")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    folder = next(tmp_path.glob("multirun/*/*"))
    compared = json.loads((folder / "comparison.json").read_text())
    assert [row["ending"] for row in compared] == ["succeeded", "failed", "succeeded", "failed"]
    assert "the seed is broken" in compared[1]["error"]
    with (folder / "comparison.csv").open(newline="") as file:
        assert [row["cluster"] for row in csv.DictReader(file)] == [
            "small", "small", "medium", "medium",
        ]  # fmt: skip
    table = [one for one in (folder / "comparison.md").read_text().splitlines() if one[:1] == "|"]
    assert len(table) == 2 + len(compared)
    # Every row has a folder of its own.
    assert len(list(folder.glob("*/result.json"))) == len(compared)


def test_an_interrupted_sweep_is_compared_and_starts_no_further_row(
    environment: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    words = quick_steps(tmp_path, f"open({str(begun)!r}, 'w').close()", "time.sleep(600)")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ascii_hydra", "-m", "cluster=small,medium,large"),
            *(*words, f"mode.output_root={tmp_path}/data"),
        ],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    folder = next(tmp_path.glob("multirun/*/*"))
    compared = json.loads((folder / "comparison.json").read_text())
    assert [row["ending"] for row in compared] == ["canceled", "not started", "not started"]
    assert compared[2]["error"] == "the sweep was interrupted"


def test_a_sweep_that_stops_at_the_first_failure(command_line: CommandLine, tmp_path: Path) -> None:
    words = ["-m", "pipeline.steps.step_1.parameters.seed=broken,7", "launch=ci"]
    words += quick_steps(tmp_path, "sys.exit(1)")
    ended = command_line(*words, f"mode.output_root={tmp_path}/data")
    assert ended.returncode == 1
    folder = next(tmp_path.glob("multirun/*/*"))
    compared = json.loads((folder / "comparison.json").read_text())
    assert [row["ending"] for row in compared] == ["failed", "not started"]
    assert compared[1]["error"] == "an earlier row failed (launch.on_failure=stop)"


def test_a_sweep_of_plans(command_line: CommandLine, tmp_path: Path) -> None:
    words = ["-m", "engine=emr,databricks", "cluster=small,medium,large", "mode=full"]
    ended = command_line(*words, "action=plan")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Plan of pipeline two_steps") == 6
    folder = next(tmp_path.glob("multirun/*/*"))
    assert {row["ending"] for row in json.loads((folder / "comparison.json").read_text())} == {
        "planned"
    }


def test_what_is_typed_wins_over_the_environment(
    command_line: CommandLine, tmp_path: Path, shared_home: Path
) -> None:
    extra = {"SPARK_PIPES_ENGINE": "emr", "ASCII_HYDRA_OVERRIDES": "cluster=large"}
    words = ["engine=pyspark", "cluster=small", f"mode.output_root={tmp_path}/data"]
    ended = command_line(*words, *quick_steps(tmp_path), extra=extra)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    outcome = outcome_in(tmp_path)
    with DagsterInstance.from_config(str(shared_home)) as instance:
        records = instance.get_records_for_run(
            outcome.run_ids[0], of_type=DagsterEventType.ASSET_MATERIALIZATION
        ).records
        for record in records:
            made = record.asset_materialization
            assert made is not None
            assert made.metadata["ascii_hydra/cluster"].value == "small"
            assert "cores: 2" in str(made.metadata["ascii_hydra/step"].value)
        assert len(records) == len(STEPS)


def test_a_killed_command_leaves_no_process_and_no_run_under_way(
    command_line: CommandLine, environment: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    script = script_that(tmp_path, f"open({str(begun)!r}, 'w').close()", "time.sleep(600)")
    marker = f"killed-{tmp_path.name}"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ascii_hydra", f"pipeline.steps.step_1.script={script}"),
            f"mode.output_root={tmp_path}/data",
        ],
        cwd=tmp_path,
        env={**environment, "A_TEST": marker},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    while still_alive(marker) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert still_alive(marker) == []
    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        killed = instance.get_runs(limit=1)[0]
        assert killed.status is DagsterRunStatus.STARTED
        after = command_line(*quick_steps(tmp_path), f"mode.output_root={tmp_path}/data")
        assert after.returncode == 0, after.stdout
        run = instance.get_run_by_id(killed.run_id)
        assert run is not None
        assert run.status is DagsterRunStatus.FAILURE


def test_two_first_starts_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ascii_hydra", *quick_steps(tmp_path)]
    processes = [
        subprocess.Popen(
            [*words, f"mode.output_root={tmp_path}/{number}"],
            cwd=tmp_path,
            env={**environment, "DAGSTER_HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    ended = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 2


def test_a_reader_that_goes_away_does_not_stop_the_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    quick = " ".join(quick_steps(tmp_path))
    words = f"{sys.executable} -m ascii_hydra {quick} mode.output_root={tmp_path}/data | head -1"
    subprocess.run(["bash", "-c", words], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert outcome_in(tmp_path).ending is Ending.succeeded


def test_a_closed_terminal_cancels_the_run_and_its_result_is_written(
    environment: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    words = quick_steps(tmp_path, f"open({str(begun)!r}, 'w').close()", "time.sleep(600)")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ascii_hydra", *words),
            f"mode.output_root={tmp_path}/data",
        ],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.stdout is not None
    process.stdout.close()  # nobody reads any more, as when a terminal has been closed
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(timeout=60) == 130
    assert outcome_in(tmp_path).ending is Ending.canceled


def test_a_folder_that_holds_a_sweep_takes_no_other(
    command_line: CommandLine, tmp_path: Path
) -> None:
    words = ["-m", "cluster=small,medium", "action=plan", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert command_line(*words).returncode == 0
    again = command_line(*words)
    assert again.returncode == 1
    assert again.stderr == (
        f"hydra.sweep.dir={tmp_path}/sweep: holds another sweep; choose a new folder.\n"
    )


def test_a_step_with_two_underscores_in_its_name(command_line: CommandLine, tmp_path: Path) -> None:
    words = quick_steps(tmp_path, steps=())
    (tmp_path / "mine" / "pipeline").mkdir(parents=True)
    (tmp_path / "mine" / "pipeline" / "odd.yaml").write_text(
        "name: odd\ninput: .\noutput: ${mode.output_root}/odd\n"
        f"steps:\n  a__b: {{script: {tmp_path}/quick.py, writes_output: false}}\n"
    )
    ended = command_line("-cd", "mine", "pipeline=odd", *words, f"mode.output_root={tmp_path}/data")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "a__b succeeded" in ended.stdout
