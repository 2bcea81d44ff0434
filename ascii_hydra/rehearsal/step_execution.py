"""A step, really executed: Spark's own spark-submit, on this machine, from what was uploaded."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from ascii_hydra.aws.client import Place, aws_environment
from ascii_hydra.engines import class_archive
from ascii_hydra.engines.process_tree import ProcessTree
from ascii_hydra.engines.s3_jars import JarsMissingError, ensured, spark_jars
from ascii_hydra.engines.s3_spark import s3a_conf
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError, driver_conf
from ascii_hydra.rehearsal.clean_python import clean_python
from ascii_hydra.rehearsal.container import (
    Container,
    MissingFileError,
    container,
    most_attempts,
)
from ascii_hydra.rehearsal.guard import Guard
from ascii_hydra.rehearsal.spark_submit import UnsupportedStepError, parsed
from ascii_hydra.rehearsal.store import Store

KILLED = 137  # exit code of a container that was killed
_CORES = 2
_MEMORY_MIB = 1024
_GRACE_S = 3.0
_LOOK_S = 0.02


@dataclass
class Report:
    """How an execution ended.

    Attributes:
        code: exit code; 0 if all went well.
        message: what EMR finds in the logs as the cause; empty if it finds nothing.
        logs: files of the step, by their names below the step's folder, or below `containers/`.
    """

    code: int = 0
    message: str = ""
    logs: dict[str, bytes] = field(default_factory=dict)


class Sandbox:
    """Where steps are executed: a folder, a Python without packages, and Spark.

    Args:
        folder: for everything that steps need or leave; its owner removes it.
        url: of the rehearsal cloud, which the steps' S3 is.
        store: its S3.
        guard: ends what was started if this process is killed.
    """

    def __init__(self, folder: Path, url: str, store: Store, guard: Guard) -> None:
        self.folder, self.url, self.store, self.guard = folder, url, store, guard
        self._lock = threading.Lock()

    @property
    def python(self) -> Path:
        """The interpreter of drivers and workers."""
        with self._lock:
            return self._python

    @cached_property
    def _python(self) -> Path:
        return clean_python(self.folder / "python")

    def place(self, region: str) -> Place:
        """The steps' AWS."""
        return Place(region, self.url, path_style=True, rehearsal=True)


class Execution:
    """One step while it is executed, in one or several attempts.

    Args:
        sandbox: where.
        step: its HadoopJarStep.
        configurations: of the cluster.
        region: of the cluster.
        application: YARN's id of it: `application_1763668800000_0001`.
        kill_after_s: real time after the script's start at which the driver is killed, or None.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        step: Mapping[str, Any],
        configurations: Sequence[Mapping[str, Any]],
        region: str,
        application: str,
        kill_after_s: float | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._step = step
        self._configurations = configurations
        self._region = region
        self._application = application
        self._kill_after_s = kill_after_s
        self._stopping = threading.Event()
        self._begun_in_cluster = threading.Event()
        self._gently = False
        self._tree: ProcessTree | None = None

    def stop(self, *, gently: bool = False) -> None:
        """End it soon: by SIGINT first if `gently`, else by SIGKILL. Returns at once."""
        self._gently = gently
        self._stopping.set()

    def cancel(self, *, gently: bool) -> bool:
        """As EMR's CancelSteps does, which signals spark-submit on the primary. True if the driver
        goes on: in cluster mode it is a process of YARN's."""
        if self._begun_in_cluster.is_set():
            return True
        self.stop(gently=gently)
        return False

    def run(self) -> Report:
        """Execute the step; returns when no process of it is left."""
        report = Report()
        command = " ".join(shlex.quote(str(word)) for word in self._step.get("Args") or ())
        runner = "/var/lib/aws/emr/step-runner/hadoop-jars/"
        controller = [f"INFO startExec 'hadoop jar {runner}{self._step['Jar']} {command}'"]
        try:
            self._run(report)
        except (UnsupportedStepError, MissingFileError, SparkMissingError, JarsMissingError) as why:
            report.code, report.message = 1, str(why)
            report.logs["stderr"] = f"{why}\n".encode()
        except Exception:  # noqa: BLE001 - a fault of the rehearsal's own must be seen, not waited for
            report.code, report.message = 1, "The rehearsal cloud could not execute the step."
            report.logs["stderr"] = traceback.format_exc().encode()
        controller.append(f"INFO total process run completed with ret = {report.code}")
        report.logs["controller"] = ("\n".join(controller) + "\n").encode()
        report.logs.setdefault("stdout", b"")
        report.logs.setdefault("syslog", b"")
        return report

    def _run(self, report: Report) -> None:
        submit = parsed(self._step)
        if submit is None:
            return
        attempts = most_attempts(submit, self._configurations)
        for attempt in range(1, attempts + 1):
            base = self._sandbox.folder / self._application
            made = container(
                submit, self._configurations, base / f"container_{attempt}", self._sandbox.store
            )
            report.code, stdout, stderr = self._attempt(
                made, submit.arguments, in_cluster=submit.in_cluster
            )
            shutil.rmtree(base, ignore_errors=True)
            if not submit.in_cluster:
                report.logs |= {"stdout": stdout, "stderr": stderr}
                report.message = _last_exception(stderr) if report.code else ""
                return
            number = self._application.removeprefix("application_")
            name = f"containers/{self._application}/container_{number}_{attempt:02}_000001"
            if report.code:
                stderr += _master_report(report.code).encode()
            report.logs |= {f"{name}/stdout": stdout, f"{name}/stderr": stderr}
            if report.code == 0 or self._stopping.is_set():
                break
        failed = report.code != 0
        report.logs["stderr"] = _client_report(self._application, report.code).encode()
        if failed:
            report.message = _final_exception(self._application)

    def _attempt(
        self, made: Container, arguments: Sequence[str], *, in_cluster: bool
    ) -> tuple[int, bytes, bytes]:
        """Start the driver and wait until it, and all that it started, has ended."""
        command, environment = self._command(made, arguments)
        tree = self._tree = ProcessTree()
        self._sandbox.guard.begun(tree.mark)
        out, err = made.folder.parent / "stdout", made.folder.parent / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                if not self._stopping.is_set():
                    tree.start(
                        command,
                        environment,
                        stdout=stdout,
                        stderr=stderr,
                        folder=str(made.folder),
                    )
                    if in_cluster:
                        self._begun_in_cluster.set()
                    self._watch(tree, made.script)
            finally:
                tree.kill()
        self._sandbox.guard.ended(tree.mark)
        code = tree.exit_code
        if code is None or code < 0:
            code = KILLED
        return code, out.read_bytes(), err.read_bytes()

    def _watch(self, tree: ProcessTree, script: Path) -> None:
        killer = threading.Event()
        if self._kill_after_s is not None:
            args = (tree, script, self._kill_after_s, killer)
            threading.Thread(target=_kill_when_begun, args=args, daemon=True).start()
        while not tree.ended.wait(_LOOK_S):
            if self._stopping.is_set():
                if self._gently:
                    tree.stop(_GRACE_S)
                return
        killer.set()

    def _command(
        self, made: Container, arguments: Sequence[str]
    ) -> tuple[list[str], dict[str, str]]:
        installed = Installation.found()
        scratch = made.folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        python = str(self._sandbox.python)
        ensured(_quiet)
        place = self._sandbox.place(self._region)
        options = made.conf.get("spark.driver.extraJavaOptions", "")
        conf = {
            **made.conf,
            **s3a_conf(place),
            **driver_conf(
                memory_mib=_MEMORY_MIB,
                small_data=True,
                temporary=scratch,
                archive=class_archive.existing(installed),
                extra_options=options,
            ),
            "spark.master": f"local[{_CORES}]",
            "spark.submit.deployMode": "client",
            "spark.ui.enabled": "false",
            "spark.pyspark.python": python,
            "spark.pyspark.driver.python": python,
            "spark.jars": ",".join(map(str, (*spark_jars(on_this_machine=True), *made.jars))),
            # EMR shows no bar either, and a log is no terminal.
            "spark.ui.showConsoleProgress": "false",
        }
        if made.py_files:
            conf["spark.submit.pyFiles"] = ",".join(str(file) for file in made.py_files)
        command = [str(installed.spark / "bin" / "spark-submit")]
        for key, value in sorted(conf.items()):
            command += ["--conf", f"{key}={value}"]
        command += [str(made.script), *arguments]
        return command, {
            **_bare_environment(scratch),
            **installed.environment(),
            "JAVA_HOME": str(installed.java.parent.parent),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(scratch),
            **aws_environment(place),
            **made.environment,
        }


def _bare_environment(scratch: Path) -> dict[str, str]:
    """No variable of this machine's user but those without which no program works."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    path = os.environ.get("PATH", os.defpath)
    return {**kept, "PATH": path, "HOME": str(scratch), "TMPDIR": str(scratch)}


def _kill_when_begun(
    tree: ProcessTree, script: Path, after_s: float, ended: threading.Event
) -> None:
    """SIGKILL the whole tree some time after its Python has begun with the script."""
    while not ended.wait(_LOOK_S):
        if any(_runs(process, script) for process in tree.alive()):
            if not ended.wait(after_s):
                tree.kill()
            return


def _runs(process: psutil.Process, script: Path) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return str(script) in words[:3] and "java" not in words[0]


def _quiet(_line: str) -> None:
    """Downloads are not told: nobody looks at a server's output."""


def _last_exception(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines or [""])[-1].strip()[:1000]


def _final_exception(application: str) -> str:
    return (
        f'Exception in thread "main" org.apache.spark.SparkException: Application {application}'
        " finished with failed status"
    )


def _master_report(code: int) -> str:
    """What YARN's application master says of the script; a script's own words go to stdout."""
    why = f"User application exited with status {code}"
    return (
        f"ERROR ApplicationMaster: {why}\n"
        f"INFO ApplicationMaster: Final app status: FAILED, exitCode: {code}, (reason: {why})\n"
    )


def _client_report(application: str, code: int) -> str:
    """What YARN's client says in cluster mode: never the script's own words."""
    lines = [f"INFO Client: Application report for {application} (state: ACCEPTED)"]
    lines += [f"INFO Client: Application report for {application} (state: RUNNING)"]
    lines += [f"INFO Client: Application report for {application} (state: FINISHED)"]
    if code == 0:
        lines += ["INFO Client:", "\t diagnostics: N/A", "\t final status: SUCCEEDED"]
    else:
        why = f"User application exited with status {code}"
        if code == KILLED:
            why = (
                f"Exception from container-launch. Exit code: {code}. Container killed on request."
                f" Exit code is {code}. Killed by external signal"
            )
        lines += ["INFO Client:", f"\t diagnostics: {why}", "\t final status: FAILED"]
        lines += [f"ERROR Client: Application diagnostics message: {why}"]
        lines += [_final_exception(application)]
    return "\n".join(lines) + "\n"
