"""Why a step has failed: the terminal and result.json say it, and where to look further."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance

from ascii_hydra.outcome import Outcome
from tests.conftest import CommandLine

# The command line, with a fault in the local engine's client that nobody has foreseen.
BROKEN = """
from ascii_hydra.engines.pyspark import LocalSparkClient

def broken(*args, **kwargs):
    try:
        {}["cluster_id"]
    except KeyError as fault:
        raise %s

LocalSparkClient._run = broken
from ascii_hydra.cli import main
main()
"""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("TypeError('no len()') from fault", "KeyError: 'cluster_id'"),
        ("TypeError('no len()')", "TypeError: no len() (after KeyError: 'cluster_id')"),
        ("TypeError('no len()') from None", "TypeError: no len()"),
    ],
)
def test_an_unexpected_exception_is_told_by_its_cause(
    command_line: CommandLine,
    environment: dict[str, str],
    tmp_path: Path,
    raised: str,
    told: str,
) -> None:
    ended = command_line(f"mode.output_root={tmp_path}/data", program=BROKEN % raised)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    outcome = Outcome.read(result)
    error = outcome.steps[0].error
    assert error is not None
    sentence, where = error.splitlines()
    assert sentence == f"step_1 ended by an unexpected exception: {told}"
    assert sentence in ended.stdout
    assert "DagsterExecutionStepExecutionError" not in ended.stdout
    # Where the traceback is said to be, it is.
    assert f"in the Dagster UI (make start), at /runs/{outcome.run_ids[0]}," in where
    assert "localhost" not in where  # nobody knows the UI's host and port here
    assert "ascii_hydra.log" in where
    assert ", in broken" in (result.parent / "ascii_hydra.log").read_text()
    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        (failed,) = instance.get_records_for_run(
            outcome.run_ids[0], of_type=DagsterEventType.STEP_FAILURE
        ).records
        event = failed.event_log_entry.dagster_event
        assert event is not None
        assert ", in broken" in event.step_failure_data.error.to_string()


SCRIPT = """
import os, signal, sys
from dagster_pipes import PipesCliArgsParamsLoader, open_dagster_pipes
def river(name):
    print("looking for", name)
    raise ValueError("no such river")
with open_dagster_pipes(params_loader=PipesCliArgsParamsLoader()):
    print("begun", file=sys.stderr)
    %s
"""


def failed_with(command_line: CommandLine, folder: Path, work: str) -> list[str]:
    """The lines of a failed step's error, in result.json and on the terminal alike."""
    (folder / "mine.py").write_text(SCRIPT % work)
    words = ["engine.reuse_jvm=false", "engine.class_sharing=false"]
    script = f"pipeline.steps.step_1.script={folder}/mine.py"
    ended = command_line(script, *words, f"mode.output_root={folder}/data")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    error = Outcome.read(next(folder.glob("outputs/*/*/result.json"))).steps[0].error
    assert error is not None
    assert error in ended.stdout
    return error.splitlines()


def test_a_script_that_does_not_look_for_its_output_is_not_green(
    command_line: CommandLine, tmp_path: Path
) -> None:
    """Only a SparkStep looks whether it has written anything."""
    error = failed_with(command_line, tmp_path, "pass")
    assert error[0].startswith(
        "step_1 ended well, and nothing shows that it has written its output: only"
        " <YourStep>.run() of a SparkStep looks for it."
    )
    assert "pipeline.steps.STEP.writes_output=false" in error[0]


def test_a_local_failure_shows_line_output_and_logs(
    command_line: CommandLine, tmp_path: Path
) -> None:
    error = failed_with(command_line, tmp_path, "river('Lethe')")
    assert error[:3] == [
        "step_1 raised ValueError: no such river",
        'at: mine.py:6, in river: raise ValueError("no such river")',
        "last lines of its output:",
    ]
    assert sorted(error[3:5]) == ["  begun", "  looking for Lethe"]
    logs = [Path(tmp_path, one.removeprefix("log: ")) for one in error[5:]]
    assert [one.read_text().splitlines()[0] for one in logs][::-1] == ["looking for Lethe", "begun"]
    assert "Traceback" in logs[0].read_text()
    # As the UI has it.
    assert {one.suffix for one in logs} == {".err", ".out"}


@pytest.mark.parametrize(
    ("work", "sentence", "line"),
    [
        (
            "if True",
            "step_1 ended with exit code 1; its last words: SyntaxError: ",
            "at: mine.py:9: if True",
        ),
        ("sys.exit(3)", "step_1 raised SystemExit: 3", "at: mine.py:9, in <module>: sys.exit(3)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "step_1 failed because its process was ki", None),
    ],
)
def test_a_local_failure_of_another_kind(
    command_line: CommandLine, tmp_path: Path, work: str, sentence: str, line: str | None
) -> None:
    error = failed_with(command_line, tmp_path, work)
    assert error[0].startswith(sentence)
    assert [one for one in error if one.startswith("at: ")] == ([] if line is None else [line])
    assert [one for one in error if one.startswith("log: ")]
    if not work.startswith("if"):
        assert "  begun" in error
