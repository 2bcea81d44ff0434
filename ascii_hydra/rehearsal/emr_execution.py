"""A step, really executed: Spark's own spark-submit, on this machine, from what was uploaded."""

from __future__ import annotations

import shlex
import shutil
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ascii_hydra.engines.s3_jars import JarsMissingError
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError
from ascii_hydra.rehearsal.container import (
    Container,
    MissingFileError,
    container,
    most_attempts,
)
from ascii_hydra.rehearsal.driver import (
    KILLED,
    Driver,
    Sandbox,
    driver_environment,
    spark_settings,
)
from ascii_hydra.rehearsal.spark_submit import UnsupportedStepError, parsed


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
        self._driver = Driver(sandbox, kill_after_s)
        self._begun_in_cluster = threading.Event()

    def stop(self, *, gently: bool = False) -> None:
        """End it soon: by SIGINT first if `gently`, else by SIGKILL. Returns at once."""
        self._driver.stop(gently=gently)

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
            if report.code == 0 or self._driver.stopping.is_set():
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
        begun = self._begun_in_cluster.set if in_cluster else None
        return self._driver.run(command, environment, made.folder, made.script, begun)

    def _command(
        self, made: Container, arguments: Sequence[str]
    ) -> tuple[list[str], dict[str, str]]:
        installed = Installation.found()
        scratch = made.folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        place = self._sandbox.place(self._region)
        options = made.conf.get("spark.driver.extraJavaOptions", "")
        conf = {
            **made.conf,
            **spark_settings(self._sandbox, installed, place, scratch, options, made.jars),
        }
        if made.py_files:
            conf["spark.submit.pyFiles"] = ",".join(str(file) for file in made.py_files)
        command = [str(installed.spark / "bin" / "spark-submit")]
        for key, value in sorted(conf.items()):
            command += ["--conf", f"{key}={value}"]
        command += [str(made.script), *arguments]
        return command, {**driver_environment(installed, place, scratch), **made.environment}


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
