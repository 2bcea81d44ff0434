"""A step's end of the messages, in a process of its own, on a folder that is mounted there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from ascii_hydra.engines.pipes_arguments import bootstrap_words, folder_uri, own_arguments
from ascii_hydra.engines.pipes_folder import FolderContextInjector, FolderReader, PipesFolder
from ascii_hydra.engines.pipes_run import completed
from ascii_hydra.step.folder_files import MountedFolder, folder_at
from tests.pipes.folder_store import FolderStore

# The folder of the test plays /Volumes.
MOUNTED = """
import sys, time
from ascii_hydra.step import folder_files
folder_files._MOUNTED = (sys.argv.pop(1),)
"""
STEP = (
    MOUNTED
    + """
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step.folder_messages import opened_pipes
with opened_pipes(PipesCliArgsParamsLoader(), spark_is_ours=False) as context:
    context.log.info("begun")
    if "wait" in sys.argv:
        while True:
            time.sleep(0.1)
    context.report_asset_materialization(metadata={"key": context.asset_key})
assert "pyspark" not in sys.modules
"""
)


def start(source: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_step(tmp_path: Path, act, *words: str, source: str = STEP):
    """Run an asset whose step is a process; `act(process, folder)` is what happens meanwhile."""
    folder = PipesFolder(FolderStore(), str(tmp_path / "run"))
    warned: list[str] = []
    seen = {}

    @dg.asset
    def made(context):
        reader = FolderReader(folder, warned.append)
        with dg.open_pipes_session(
            context=context,
            context_injector=FolderContextInjector(folder, warned.append),
            message_reader=reader,
        ) as session:
            given = [*words, *bootstrap_words(session)]
            assert folder_uri(given) == folder.uri
            assert own_arguments(given) == list(words)
            process = start(source, str(tmp_path), *given)
            try:
                seen["act"] = act(process, folder)
                out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
            seen.update(out=out, code=process.returncode, report=reader.drain())
        assert reader.fault is None, reader.fault
        return completed(context, session, seen["report"], {}).get_results()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
    return result, seen, warned


def test_context_and_messages_pass_through_plain_files(tmp_path):
    result, seen, warned = run_step(tmp_path, lambda *_: None)
    assert (seen["code"], seen["out"], warned) == (0, "", [])
    (made,) = result.asset_materializations_for_node("made")
    assert made.metadata["key"].value == "made"
    assert list(tmp_path.iterdir()) == []


def test_a_step_heeds_the_stop_in_its_folder(tmp_path):
    def act(process: subprocess.Popen[str], folder: PipesFolder) -> bool:
        deadline = time.monotonic() + 30
        while not (tmp_path / "run" / "messages" / "1.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        folder.ask_to_stop()
        return folder.seen_stopping()

    _, seen, warned = run_step(tmp_path, act, "wait")
    assert seen["act"]
    assert seen["code"] == 1
    assert "stopped by whoever submitted it" in seen["out"]
    assert (seen["report"].opened, seen["report"].closed) == (True, False)
    assert "asks the step to end itself" in warned[0]


# The step itself takes its folder away, so that it is known to have looked meanwhile.
GONE = (
    MOUNTED
    + """
from pathlib import Path
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step import folder_messages
folder_messages.LOOK_S = folder_messages._INTERVAL_S = 0.01
folder = Path(folder_files._MOUNTED[0]) / "run"
with folder_messages.opened_pipes(PipesCliArgsParamsLoader(), spark_is_ours=False):
    while not (folder / "messages" / "1.json").exists():
        time.sleep(0.01)
    aside = folder.with_name("aside")
    folder.rename(aside)
    time.sleep(0.5)
    aside.rename(folder)
    print("goes on", flush=True)
    folder_messages.GONE_S = 0.1
    (folder / "context.json").unlink()
    time.sleep(60)
"""
)


def test_a_step_leaves_when_its_context_is_gone_for_good(tmp_path):
    """A mounted folder may answer for a moment that it is not there: hours of work are not lost."""
    _, seen, _ = run_step(tmp_path, lambda *_: None, source=GONE)
    assert seen["out"].splitlines() == [
        "goes on",
        "This step was stopped by whoever submitted it.",
    ]
    assert seen["code"] == 1


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/Volumes/main/default/staging/pipes", "/Volumes/main/default/staging/pipes"),
        ("/Workspace/Shared/staging/", "/Workspace/Shared/staging"),
        ("dbfs:/staging/pipes", "/dbfs/staging/pipes"),
    ],
)
def test_where_a_folder_is_mounted(uri, path):
    found = folder_at(uri)
    assert isinstance(found, MountedFolder)
    assert str(found._folder) == path


DATABRICKS = """
import json, sys
from pyspark.sql import SparkSession
from ascii_hydra.step import SparkStep
session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()

class Step(SparkStep):
    def execute_business_logic(self, context, execution_mode, partition_key, spark, engine):
        context.report_asset_materialization(metadata={"rows": spark.range(3).count()})

Step.run(sys.argv[1:])
print(json.dumps({
    "partitions": session.conf.get("spark.sql.shuffle.partitions"),
    "cores": session.sparkContext.master,
    "rows": session.range(5).count(),
}))
session.stop()
"""


def test_databricks_session_and_process_are_left_alone(tmp_path):
    """They serve others too; and what cannot be set while Spark runs is no error."""
    words = ["--engine", "databricks", "--mode", "full", "--output", str(tmp_path / "output")]
    words += ["--writes-output", "false"]
    conf = {"spark.sql.shuffle.partitions": "7", "spark.master": "local[2]"}
    words += [word for pair in conf.items() for word in ("--spark-conf", "=".join(pair))]
    done = subprocess.run(
        [sys.executable, "-c", DATABRICKS, *words, "--py-file", "/there/is/none.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert json.loads(last) == {"partitions": "7", "cores": "local[1]", "rows": 5}
