"""Real steps in real processes, run by real Dagster assets."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from ascii_hydra.engines import class_archive, spark_jvm
from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.process_tree import MARK
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.spark_launch import Installation
from tests.asset_runs import Ended, ran

PIPES = """
import os, signal, subprocess, sys, time
from dagster_pipes import PipesCliArgsParamsLoader, open_dagster_pipes
def opened():
    return open_dagster_pipes(params_loader=PipesCliArgsParamsLoader())
"""
SPARK = """
import os, sys
from ascii_hydra.step import SparkStep
"""
STEP_ARGUMENTS = (
    *("--engine=pyspark", "--mode=small_dev_sample_local", "--output=out"),
    "--writes-output=false",
)


# Tells what these tests started from what others run on this machine meanwhile.
SESSION = "ASCII_HYDRA_TEST_SESSION"
os.environ[SESSION] = secrets.token_hex(8)


def marked_processes() -> list[psutil.Process]:
    """Every living process of a step or a JVM that these tests started, whoever it belongs to."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            ours = MARK in environment and environment.get(SESSION) == os.environ[SESSION]
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    spark_jvm.close_all()
    assert [process.cmdline()[:8] for process in marked_processes()] == []


@dataclass
class Bench:
    """Makes scripts and runs them as assets."""

    folder: Path
    said: list[tuple[str, str]] = field(default_factory=list)

    def request(self, name: str, source: str, **settings) -> LocalRequest:
        script = self.folder / f"{name}.py"
        script.write_text(textwrap.dedent(source))
        return LocalRequest(
            **{"step": name, "script": str(script), "reuse_jvm": False, "timeout_s": 60.0}
            | {"stop_grace_s": 0.3}
            | settings
        )

    def pipes(self, name: str, source: str, **settings) -> LocalRequest:
        """A script that opens Pipes when it likes, and uses no Spark."""
        return self.request(name, PIPES + textwrap.dedent(source), **settings)

    def spark(self, name: str, body: str, *, conf=None, **settings) -> LocalRequest:
        """A SparkStep with this body."""
        source = SPARK + textwrap.dedent("""
            class Step(SparkStep):
                def execute_business_logic(
                    self, context, execution_mode, partition_key, spark, engine
                ):
            """)
        source += textwrap.indent(textwrap.dedent(body), " " * 8) + "\nStep.run()\n"
        return self.request(
            name,
            source,
            **{
                "arguments": STEP_ARGUMENTS,
                "spark_conf": {**local_conf("local[1]", cores=1), **(conf or {})},
                "small_data": True,
                "reuse_jvm": True,
                "driver_memory_mib": 640,
                **settings,
            },
        )

    def sink(self, stream: str, line: str) -> None:
        self.said.append((stream, line))

    def run(self, request: LocalRequest, client=None, instance=None, checks=()) -> Ended:
        """Run a request as an asset of its step's name."""
        client = client or LocalSparkClient(sink=self.sink)
        return ran(client, request, instance, check_specs=list(checks))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = tmp_path / "bench"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Bench(folder)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive of Spark's classes, built for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("ASCII_HYDRA_CACHE", str(cache))
        place = class_archive.stem(Installation.found()).rpartition("-")[0]
        stale = cache / f"{place}-of_another_version-5.jsa"
        stale.write_text("stale")
        (cache / "building-killed").mkdir()
        # What failed before is not tried again, unless that is asked for.
        failed = cache / f"{class_archive.stem(Installation.found())}.failed"
        failed.write_text("no luck\n")
        said: list[str] = []
        assert class_archive.ensured(said.append) is None
        assert said == []
        # Two processes at once: one builds, the other waits and finds it built.
        command = [sys.executable, "-m", "ascii_hydra.engines.class_archive"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            built = class_archive.ensured(said.append, again=True)
            printed, _ = other.communicate(timeout=240)
        assert other.returncode == 0
        assert printed.splitlines() == said
        assert built is not None
        assert list(cache.glob("*.jsa")) == [built]
        assert not failed.exists()
        assert list(cache.glob("building-*")) == []
        yield built


ORCHESTRATOR = """
import sys, threading
import dagster as dg
from ascii_hydra.engines.pyspark import LocalRequest, LocalSparkClient, local_conf

@dg.asset
def made(context):
    request = LocalRequest(
        step="made", script=sys.argv[1], reuse_jvm=sys.argv[2] == "warm", stop_grace_s=0.5,
        output=sys.argv[3], arguments=tuple(sys.argv[4:]), driver_memory_mib=640, small_data=True,
        spark_conf=local_conf("local[1]", cores=1),
    )
    return LocalSparkClient().run(context=context, request=request).get_results()

if __name__ == "__main__":
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
        print("MATERIALIZED", len(result.asset_materializations_for_node("made")), flush=True)
"""


@pytest.fixture
def orchestrator(bench: Bench) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another process that runs one step through Dagster, to be interrupted or killed."""
    started: list[subprocess.Popen[str]] = []

    def start(request: LocalRequest) -> subprocess.Popen[str]:
        program = bench.folder / "orchestrator.py"
        program.write_text(ORCHESTRATOR)
        kind = "warm" if request.reuse_jvm else "cold"
        words = [request.script, kind, request.output, *request.arguments]
        process = subprocess.Popen(
            [sys.executable, str(program), *words],
            # A killed process leaves its temporary folders: here they go with the test's own.
            env={**os.environ, "TMPDIR": str(bench.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()
