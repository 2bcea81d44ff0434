"""What may still run and cost money is said where people and programs look, whatever else happened.

At once, in the last lines, in result.json, by the exit code, in Dagster's history and in the bill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from rich.console import Console

from ascii_hydra.aws.client import aws_client
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.engines.emr.api import ALIVE
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.still_running_events import STILL_RUNNING_KEY
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.rehearsal.started import started
from ascii_hydra.report.comparison import compared
from ascii_hydra.report.progress import show
from tests.comparison.made_up_sweep import an_outcome, compared_json, sweep_of
from tests.conftest import CommandLine
from tests.costs_emr.test_launches import STEP
from tests.rehearsal_cloud import asked, place_of, tell
from tests.still_running_history import still_running
from tests.waiting import until

LEFT = StillRunning("cluster j-1", "AccessDeniedException: No.", "aws emr terminate-clusters j-1")


@pytest.fixture
def cloud() -> Iterator[str]:
    """The URL of a rehearsal in which no cluster gets its instances; after the test nothing is
    alive in it."""
    with started(RehearsalConfig(speed=500, provisioning_seconds=36_000)) as url:
        yield url
        tell(url, "faults", [])
        emr = aws_client("emr", place_of(url))
        left = [one["Id"] for one in emr.list_clusters(ClusterStates=ALIVE)["Clusters"]]
        if left:
            emr.terminate_job_flows(JobFlowIds=left)


def in_the(url: str, engine: str) -> list[str]:
    return [f"engine={engine}", "mode=small_dev_sample_s3", f"endpoint.url={url}"]


def interrupted(
    environment: dict[str, str], folder: Path, url: str, engine: str, sign: str
) -> tuple[int, str, Outcome]:
    """Exit code, output and result of a command that gets a Ctrl-C once it has printed a sign."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ascii_hydra", *in_the(url, engine), "endpoint=rehearsal"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines, interrupted_once = [], False
    try:
        for line in process.stdout:
            lines.append(line)
            if sign in line and not interrupted_once:
                interrupted_once = True
                os.kill(process.pid, signal.SIGINT)
        code = process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    said = "".join(lines)
    return code, said, Outcome.read(next(folder.glob("outputs/*/*/result.json")))


def history(home: str, run_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Level and metadata of the events that say that something may still run."""
    with DagsterInstance.from_config(home) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is DagsterRunStatus.CANCELED
        events = [(one.level, one.dagster_event) for one in instance.all_logs(run_id)]
        return [
            (level, dict(event.engine_event_data.metadata))
            for level, event in events
            if event is not None
            and event.is_engine_event
            and STILL_RUNNING_KEY in event.engine_event_data.metadata
        ]


def test_an_interrupted_command_that_may_not_terminate_its_cluster(
    environment: dict[str, str], tmp_path: Path, cloud: str
) -> None:
    tell(cloud, "faults", [{"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}])
    code, said, outcome = interrupted(environment, tmp_path, cloud, "emr", "is STARTING")
    (alive,) = aws_client("emr", place_of(cloud)).list_clusters(ClusterStates=ALIVE)["Clusters"]
    command = f"aws emr terminate-clusters --cluster-ids {alive['Id']} --region us-east-1"
    command += f" --endpoint-url {cloud}"  # not the user's real account

    assert code == 3, said
    assert "nothing will be left" not in said
    assert "has ended" not in said
    lines = said.splitlines()
    at_once = next(n for n, line in enumerate(lines) if "may still be running" in line)
    assert lines[at_once].startswith(f"step_1: cluster {alive['Id']} may still be running")
    assert lines[at_once].endswith(f"End it: {command}")
    assert "stopping: ending what was started" in lines[:at_once]
    assert not any(line.startswith("canceled in") for line in lines[:at_once])
    assert lines[-3:] == [
        "MAY STILL BE RUNNING AND COST MONEY",
        f"cluster {alive['Id']}: AccessDeniedException: Access Denied",
        f"  {command}",
    ]

    assert outcome.ending is Ending.canceled
    (left,) = outcome.left
    assert (left.resource, left.command) == (f"cluster {alive['Id']}", command)
    path = next(tmp_path.glob("outputs/*/*/result.json"))
    (written,) = json.loads(path.read_text())["left"]
    assert {"resource", "reason", "command"} <= written.keys()

    # The bill is no closed one.
    assert outcome.cost_usd is None
    assert f"without a price: what cluster {alive['Id']} costs until it ends" in said

    # The UI shows it in red, with the command.
    ((level, metadata),) = history(environment["DAGSTER_HOME"], outcome.run_ids[0])
    assert level == 40
    assert metadata["still_running/end_with"].value == command
    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        assert still_running(instance, outcome.run_ids[0]) == (left,)


def test_an_interrupted_command_that_may_not_cancel_its_run(
    environment: dict[str, str], tmp_path: Path, cloud: str
) -> None:
    refused = {"effect": "refused", "code": "PERMISSION_DENIED", "times": 9_999}
    tell(cloud, "faults", [{"target": "databricks:jobs/runs/cancel", **refused}])
    code, said, outcome = interrupted(environment, tmp_path, cloud, "databricks", "is PENDING")
    (left,) = outcome.left
    assert code == 3, said
    assert left.resource.startswith("run ")
    assert left.command == f"databricks jobs cancel-{left.resource}"
    assert said.splitlines()[-1] == f"  {left.command}"
    assert f"step_1: {left.sentence}" in said
    assert f"without a price: what {left.resource} costs until it ends" in said
    assert len(history(environment["DAGSTER_HOME"], outcome.run_ids[0])) == 1
    assert any(left.resource in one for one in asked(cloud, "alive"))


def test_an_interrupted_command_whose_cluster_is_seen_to_end(
    environment: dict[str, str], tmp_path: Path, cloud: str
) -> None:
    code, said, outcome = interrupted(environment, tmp_path, cloud, "emr", "is STARTING")
    assert code == 130, said
    assert outcome.left == ()
    assert "all that was started has ended" in said
    until(lambda: not asked(cloud, "alive"))


def test_a_launch_names_the_shared_cluster_that_it_may_not_terminate(
    command_line: CommandLine, environment: dict[str, str], tmp_path: Path, cloud: str
) -> None:
    """No step answers for it: all of them have succeeded, and the launch itself ends it."""
    tell(cloud, "config", {"speed": 500, "provisioning_seconds": 210, "step_minutes": 10})
    tell(cloud, "faults", [{"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}])
    script = tmp_path / "light.py"
    script.write_text(STEP, encoding="utf-8")
    scripts = [f"pipeline.steps.{one}.script={script}" for one in ("step_1", "step_2")]
    words = ["endpoint=rehearsal", "launch.reuse_cluster=run", *scripts]
    words.append("engine.idle_timeout_minutes=10080")  # at this speed, ten would be over too soon
    ended = command_line(*in_the(cloud, "emr"), *words)
    (alive,) = aws_client("emr", place_of(cloud)).list_clusters(ClusterStates=ALIVE)["Clusters"]
    resource = f"cluster {alive['Id']}"
    command = f"aws emr terminate-clusters --cluster-ids {alive['Id']} --region us-east-1"
    command += f" --endpoint-url {cloud}"  # not the user's real account

    assert ended.returncode == 3, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    (at_once,) = [line for line in lines if line.startswith(f"shared by the steps: {resource} ")]
    assert "may still be running" in at_once
    assert at_once.endswith(f"End it: {command}")
    assert lines[-3:] == [
        "MAY STILL BE RUNNING AND COST MONEY",
        f"{resource}: AccessDeniedException: Access Denied",
        f"  {command}",
    ]

    path = next(tmp_path.glob("outputs/*/*/result.json"))
    (written,) = json.loads(path.read_text())["left"]
    assert (written["resource"], written["command"]) == (resource, command)
    outcome = Outcome.read(path)
    assert outcome.ending is Ending.succeeded
    (left,) = outcome.left

    # The steps' own bills are closed ones; the launch's is not.
    assert all(one.cost_usd for one in outcome.steps)
    assert outcome.shared is not None
    assert outcome.shared.unpriced == (left.unpriced,)
    assert outcome.cost_usd is None
    assert f"without a price: {left.unpriced}" in ended.stdout

    with DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        assert still_running(instance, outcome.run_ids[-1]) == (left,)


def test_a_sweep_names_what_its_rows_have_left(
    command_line: CommandLine, tmp_path: Path, cloud: str, shared_home: Path
) -> None:
    """By failures, which alone would end with 1."""
    tell(cloud, "faults", [{"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}])
    words = ["-m", "cluster=small,medium", "engine.start_timeout_minutes=10", "endpoint=rehearsal"]
    ended = command_line(*words, *in_the(cloud, "emr"))
    assert ended.returncode == 3, ended.stdout + ended.stderr
    (folder,) = tmp_path.glob("multirun/*/*")
    rows = compared_json(folder)
    assert [row["ending"] for row in rows] == ["failed", "failed"]
    for number, row in enumerate(rows):
        outcome = Outcome.read(next(folder.glob(f"{number}-*/result.json")))
        (left,) = outcome.left
        assert row["left"] == left.sentence
        assert left.sentence in (folder / "comparison.md").read_text()
        assert left.command in (folder / "comparison.html").read_text()
        last = ended.stdout.rpartition("MAY STILL BE RUNNING")[2]
        assert f"#{number} {left.resource}: {left.reason}" in last
        assert f"  {left.command}" in last
        # The step's failure in the UI has it, too.
        with DagsterInstance.from_config(str(shared_home)) as instance:
            (failed,) = [
                one.dagster_event.step_failure_data
                for one in instance.all_logs(outcome.run_ids[0])
                if one.dagster_event is not None and one.dagster_event.is_step_failure
            ]
            assert failed.user_failure_data is not None
            told = failed.user_failure_data.metadata
            assert told["still_running/end_with"].value == left.command


def test_what_is_left_comes_last_on_any_terminal_and_can_be_copied(tmp_path: Path) -> None:
    command = "aws emr terminate-clusters --cluster-ids j-1234567890123 --region ap-southeast-3"
    left = StillRunning("cluster j-1234567890123", "AccessDeniedException: " + 9 * "no ", command)
    outcome = an_outcome(1.0, 1.0, ending=Ending.canceled, left=(left,))
    console = Console(width=60, record=True, force_terminal=True, file=(tmp_path / "x").open("w"))
    show(outcome, console)
    said = console.export_text()
    assert said.rstrip().endswith(f"  {command}")
    assert "all that was started has ended" not in said


def test_a_comparison_ends_with_what_its_rows_have_left(tmp_path: Path) -> None:
    rows = {"cluster=small": an_outcome(1.0, 1.0), "cluster=large": an_outcome(left=(LEFT,))}
    console = Console(width=200, record=True, file=(tmp_path / "x").open("w"))
    compared(sweep_of(tmp_path / "sweep", rows), console)
    said = console.export_text().rstrip().splitlines()
    assert said[-3:] == [
        "MAY STILL BE RUNNING AND COST MONEY",
        "#1 cluster j-1: AccessDeniedException: No.",
        "  aws emr terminate-clusters j-1",
    ]


@pytest.mark.parametrize(
    ("ending", "left", "code"),
    [
        (Ending.succeeded, (), 0),
        (Ending.planned, (), 0),
        (Ending.failed, (), 1),
        (Ending.not_started, (), 1),
        (Ending.canceled, (), 130),
        (Ending.canceled, (LEFT,), 3),
        (Ending.failed, (LEFT,), 3),
        (Ending.succeeded, (LEFT,), 3),
    ],
)
def test_the_exit_code(ending: Ending, left: tuple[StillRunning, ...], code: int) -> None:
    assert an_outcome(ending=ending, left=left).exit_code == code


# The command line, in which a run leaves a cluster and Hydra breaks once it has run the row.
BROKEN_SWEEP = """
from dataclasses import replace
from hydra.core.plugins import Plugins
Plugins.instance()  # it imports the launcher anew
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from ascii_hydra import task
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.outcome import Ending

def left(settings, *_):
    resource = StillRunning("cluster j-1", "No.", "aws emr terminate-clusters j-1")
    return replace(task._unstarted(settings.config, "it broke", Ending.failed), left=(resource,))

def launch(self, *arguments, **words):
    launched(self, *arguments, **words)
    raise {fault}

task._run = left
launched, BasicLauncher.launch = BasicLauncher.launch, launch
from ascii_hydra.cli import main
main()
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("ConfigError([])", "The configuration has"),
        ("TypeError('no len()')", "Traceback (most recent call last)"),
    ],
)
def test_the_exit_code_of_a_sweep_that_breaks_after_a_row(
    command_line: CommandLine, fault: str, told: str
) -> None:
    ended = command_line("-m", "cluster=small,medium", program=BROKEN_SWEEP.format(fault=fault))
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "aws emr terminate-clusters j-1" in ended.stdout
    assert told in ended.stderr


# The command line, with a disk that is full as soon as a cluster has been asked for.
FULL_DISK = """
import sqlite3
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

def store_event(self, event):
    global full
    full = full or "is STARTING" in event.user_message
    if full:
        raise sqlite3.OperationalError("database or disk is full")
    store(self, event)

full, store = False, SqliteEventLogStorage.store_event
SqliteEventLogStorage.store_event = store_event
from ascii_hydra.cli import main
main()
"""


def test_what_is_left_is_told_although_dagster_cannot_keep_it(
    command_line: CommandLine, tmp_path: Path, cloud: str
) -> None:
    tell(cloud, "faults", [{"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}])
    home = tmp_path / "home"
    home.mkdir()
    words = [*in_the(cloud, "emr"), "endpoint=rehearsal"]
    ended = command_line(*words, program=FULL_DISK, extra={"DAGSTER_HOME": str(home)})
    (alive,) = aws_client("emr", place_of(cloud)).list_clusters(ClusterStates=ALIVE)["Clusters"]
    command = f"aws emr terminate-clusters --cluster-ids {alive['Id']} --region us-east-1"
    command += f" --endpoint-url {cloud}"  # not the user's real account
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == f"  {command}"
    assert "could not be put into the run's history" in ended.stdout + ended.stderr
    assert "database or disk is full" in ended.stderr
    outcome = Outcome.read(next(tmp_path.glob("outputs/*/*/result.json")))
    assert outcome.ending is Ending.failed
    assert [left.command for left in outcome.left] == [command]
    assert outcome.cost_usd is None
