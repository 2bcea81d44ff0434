"""A step's driver, really started on this machine: alone in an empty folder, watched, and ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import psutil

from ascii_hydra.aws.client import Place, aws_environment
from ascii_hydra.engines import class_archive
from ascii_hydra.engines.process_tree import ProcessTree
from ascii_hydra.engines.s3_jars import ensured, spark_jars
from ascii_hydra.engines.s3_spark import s3a_conf
from ascii_hydra.engines.spark_launch import Installation, driver_conf
from ascii_hydra.rehearsal.clean_python import clean_python
from ascii_hydra.rehearsal.guard import Guard
from ascii_hydra.rehearsal.store import Store

KILLED = 137  # exit code of a container that was killed
_CORES = 2
_MEMORY_MIB = 1024
_GRACE_S = 3.0
_LOOK_S = 0.02


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


class Driver:
    """The driver of one step, started once or, if YARN would, several times.

    Args:
        sandbox: where.
        kill_after_s: real time after the script's start at which it is killed, or None.
    """

    def __init__(self, sandbox: Sandbox, kill_after_s: float | None = None) -> None:
        self._sandbox = sandbox
        self._kill_after_s = kill_after_s
        self._gently = False
        self.stopping = threading.Event()

    def stop(self, *, gently: bool = False) -> None:
        """End it soon: by SIGINT first if `gently`, else by SIGKILL. Returns at once."""
        self._gently = gently
        self.stopping.set()

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        script: Path,
        begun: Callable[[], None] | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Start it and wait until it, and all that it started, has ended.

        Args:
            command, environment: of the process.
            folder: its current one.
            script: the file by whose name its Python is recognized.
            begun: called when it has been started.

        Returns:
            Exit code (`KILLED` after any signal), stdout and stderr.
        """
        tree = ProcessTree()
        self._sandbox.guard.begun(tree.mark)
        out, err = folder.parent / "stdout", folder.parent / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                if not self.stopping.is_set():
                    tree.start(
                        command, environment, stdout=stdout, stderr=stderr, folder=str(folder)
                    )
                    if begun is not None:
                        begun()
                    self._watch(tree, script)
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
            if self.stopping.is_set():
                if self._gently:
                    tree.stop(_GRACE_S)
                return
        killer.set()


def spark_settings(
    sandbox: Sandbox,
    installed: Installation,
    place: Place,
    scratch: Path,
    extra_options: str = "",
    jars: Sequence[Path] = (),
) -> dict[str, str]:
    """Spark's settings of any driver here; they win over a cluster's and a step's own.

    Args:
        sandbox: whose Python.
        installed: the Spark.
        place: where S3 is.
        scratch: folder for what Spark and Java leave.
        extra_options: Java's, of the cluster or step.
        jars: the step's own.

    Raises:
        JarsMissingError: the jars for S3 are neither here nor to be had.
    """
    ensured(_quiet)
    python = str(sandbox.python)
    return {
        **s3a_conf(place),
        **driver_conf(
            memory_mib=_MEMORY_MIB,
            small_data=True,
            temporary=scratch,
            archive=class_archive.existing(installed),
            extra_options=extra_options,
        ),
        "spark.master": f"local[{_CORES}]",
        "spark.submit.deployMode": "client",
        "spark.ui.enabled": "false",
        "spark.pyspark.python": python,
        "spark.pyspark.driver.python": python,
        "spark.jars": ",".join(map(str, (*spark_jars(on_this_machine=True), *jars))),
        # A cloud shows no bar either, and a log is no terminal.
        "spark.ui.showConsoleProgress": "false",
    }


def driver_environment(installed: Installation, place: Place, scratch: Path) -> dict[str, str]:
    """Variables: of this machine's user only those without which no program works."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    return {
        **kept,
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        **installed.environment(),
        "JAVA_HOME": str(installed.java.parent.parent),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(scratch),
        **aws_environment(place),
    }


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
