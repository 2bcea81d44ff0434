"""A spark_python_task, really executed on this machine from what the workspace has."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ascii_hydra.engines.s3_jars import JarsMissingError
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError
from ascii_hydra.rehearsal import databricks_boot
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError
from ascii_hydra.rehearsal.databricks_folders import Folders
from ascii_hydra.rehearsal.driver import KILLED, Driver, Sandbox, driver_environment, spark_settings

_PIP_TIMEOUT_S = 300.0
_MOST_LOG = 5 * 1024**2
# Clusters are where the account is; the rehearsal's S3 answers in any region.
_REGION = "us-east-1"
# Settings that would be wrong here: how Spark is started, and what Databricks adds to it.
_NOT_HERE = (
    *("spark.master", "spark.submit.", "spark.driver.memory", "spark.executor.memory"),
    *("spark.jars", "spark.pyspark.", "spark.databricks.", "spark.eventLog."),
    *("spark.driver.extraClassPath", "spark.executor.extraClassPath"),
)
_SIGNALS = {KILLED: " (SIGKILL: Killed). This may have been caused by an OOM error"}


class LibraryError(Exception):
    """A library that cannot be installed; the message says which, and why."""


@dataclass(frozen=True)
class Outcome:
    """How a script ended.

    Attributes:
        error: the exception's own line; empty if all went well.
        trace: the traceback, or nothing.
        logs: what it has written to its standard streams.
    """

    error: str = ""
    trace: str = ""
    logs: bytes = b""

    @property
    def truncated(self) -> bool:
        """More was written than is kept."""
        return len(self.logs) > _MOST_LOG


class Installer:
    """Installs libraries, each once for all runs.

    Args:
        folder: for what is installed; its owner removes it.
        folders: where wheels are.
    """

    def __init__(self, folder: Path, folders: Folders) -> None:
        self._folder, self._folders = folder, folders
        self._lock = threading.Lock()

    def installed(self, libraries: Sequence[Mapping[str, Any]]) -> list[Path]:
        """The folders with these libraries; a requirement is installed with what it needs.

        Raises LibraryError.
        """
        return [self._one(one) for one in libraries]

    def _one(self, library: Mapping[str, Any]) -> Path:
        if "whl" in library:
            uri = str(library["whl"])
            content = self._content(uri)
            identity, name = content, uri.rpartition("/")[2]
        else:
            name = str(library["pypi"]["package"])
            content, identity = None, name.encode()
        target = self._folder / hashlib.sha256(identity).hexdigest()[:16]
        with self._lock:
            if not target.exists():
                made = target.with_suffix(".new")
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir(parents=True)
                if content is not None and not _unpacked(content, name, made):
                    wheel = self._folder / name
                    wheel.write_bytes(content)
                    _pip(str(wheel), made, library)
                elif content is None:
                    _pip(name, made, library)
                made.rename(target)
        return target

    def _content(self, uri: str) -> bytes:
        try:
            content = self._folders.read(uri)
        except WorkspaceError as why:
            raise _refused({"whl": uri}, why.message) from None
        if content is None:
            raise _refused({"whl": uri}, f"java.io.FileNotFoundException: {uri}")
        return content


def _unpacked(content: bytes, name: str, target: Path) -> bool:
    """Whether a wheel has been unpacked: it is of Python alone, and needs nothing else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            about = [one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")]
            needs = b"\nRequires-Dist:" in (wheel.read(about[0]) if about else b"")
            if needs or not name.endswith("-none-any.whl") or not about:
                return False
            wheel.extractall(target)
    except zipfile.BadZipFile:
        raise _refused({"whl": name}, f"{name} is not a valid wheel: it is no zip file") from None
    return True


def _pip(what: str, target: Path, library: Mapping[str, Any]) -> None:
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
    words += ["--disable-pip-version-check", "--target", str(target), "--", what]
    try:
        ended = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            timeout=_PIP_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise _refused(library, f"pip was not done after {_PIP_TIMEOUT_S:g} s") from None
    if ended.returncode:
        raise _refused(library, ended.stderr.strip()[-1000:])


def _refused(library: Mapping[str, Any], why: str) -> LibraryError:
    (kind,) = library
    told = library[kind]["package"] if kind == "pypi" else library[kind]
    return LibraryError(
        f"Library installation failed for library due to user error for {kind}: {told}. Error"
        f" messages: Library installation attempted on the driver node of the cluster and failed."
        f" {why}"
    )


class Execution:
    """One task while it is executed.

    Args:
        sandbox: where.
        folders: the workspace's files.
        task: its spark_python_task.
        libraries: folders with what is installed, the first to be searched first.
        spark_conf, variables: of the cluster.
        runtime: what DATABRICKS_RUNTIME_VERSION says.
        connect: the script has no JVM: serverless, or the standard access mode.
        kill_after_s: real time after the script's start at which it is killed, or None.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        folders: Folders,
        task: Mapping[str, Any],
        libraries: Sequence[Path],
        *,
        spark_conf: Mapping[str, str],
        variables: Mapping[str, str],
        runtime: str,
        connect: bool,
        kill_after_s: float | None = None,
    ) -> None:
        self._sandbox, self._folders, self._task = sandbox, folders, task
        self._libraries, self._spark_conf = libraries, spark_conf
        self._variables = {**variables, "DATABRICKS_RUNTIME_VERSION": runtime}
        self._connect = connect
        self._driver = Driver(sandbox, kill_after_s)

    def stop(self) -> None:
        """End it soon. Returns at once."""
        self._driver.stop()

    def run(self) -> Outcome:
        """Execute the script; returns when no process of it is left."""
        base = self._sandbox.folder / f"run_{secrets.token_hex(6)}"
        try:
            return self._run(base)
        except (WorkspaceError, SparkMissingError, JarsMissingError) as why:
            return Outcome(str(why))
        except Exception:  # noqa: BLE001 - a fault of the rehearsal's own must be seen, not waited for
            trace = traceback.format_exc()
            return Outcome("The rehearsal workspace could not execute the script.", trace)
        finally:
            shutil.rmtree(base, ignore_errors=True)

    def _run(self, base: Path) -> Outcome:
        folder, scratch, ended = base / "driver", base / "scratch", base / "ended.json"
        for one in (folder, scratch):
            one.mkdir(parents=True)
        name = str(self._task["python_file"])
        content = self._folders.read(name)
        if content is None:
            return Outcome(f"FileNotFoundError: Cannot read the python file {name}.")
        script = base / name.rpartition("/")[2]
        script.write_bytes(content)
        installed = Installation.found()
        place = self._sandbox.place(_REGION)
        options = self._spark_conf.get("spark.driver.extraJavaOptions", "")
        settings = spark_settings(self._sandbox, installed, place, scratch, options)
        conf = {key: one for key, one in self._spark_conf.items() if not key.startswith(_NOT_HERE)}
        boot, plan = base / "boot.py", base / "plan.json"
        boot.write_bytes(Path(databricks_boot.__file__).read_bytes())
        plan.write_text(
            json.dumps(
                {
                    "script": str(script),
                    "arguments": list(self._task.get("parameters", ())),
                    "name": name,
                    "roots": {path: str(one) for path, one in self._folders.roots.items()},
                    "conf": {key: one for key, one in conf.items() if key not in settings},
                    "connect": self._connect,
                    "ended": str(ended),
                }
            )
        )
        submit = " ".join(
            f"--conf {shlex.quote(f'{key}={one}')}" for key, one in sorted(settings.items())
        )
        python = str(self._sandbox.python)
        environment = {
            **driver_environment(installed, place, scratch),
            **self._variables,
            "PYSPARK_SUBMIT_ARGS": f"{submit} pyspark-shell",
            "PYSPARK_PYTHON": python,
            "PYSPARK_DRIVER_PYTHON": python,
            "PYTHONPATH": os.pathsep.join(
                map(str, (*self._libraries, *_spark_packages(installed.spark)))
            ),
            "PYTHONUNBUFFERED": "1",
        }
        code, stdout, stderr = self._driver.run(
            [python, str(boot), str(plan)], environment, folder, boot
        )
        logs = stdout + stderr
        if not ended.exists():
            return Outcome(_unexpected(code), logs=logs)
        told = json.loads(ended.read_text())
        return Outcome(told["error"], told["trace"], logs)


def _unexpected(code: int) -> str:
    return (
        f"The Python process exited unexpectedly with exit code {code}{_SIGNALS.get(code, '')}."
        " The driver is restarting."
    )


def _spark_packages(spark: Path) -> list[Path]:
    return sorted((spark / "python" / "lib").glob("*.zip"), reverse=True)


def kept_logs(outcome: Outcome) -> str:
    """The last of what was written."""
    return outcome.logs[-_MOST_LOG:].decode("utf-8", "replace")
