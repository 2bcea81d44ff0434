"""A Spark driver's JVM that serves the steps of this process, one at a time.

Steps connect by pyspark's own variables PYSPARK_GATEWAY_PORT and PYSPARK_GATEWAY_SECRET, each with
a SparkContext and settings of its own. A JVM whose step failed, was stopped or left its context
behind is thrown away, and the next step gets a new one.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ascii_hydra.engines.jvm_spec import JvmSpec, launch_settings, temporary_folder
from ascii_hydra.engines.process_tree import ProcessTree
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError, step_environment

__all__ = ["JvmSpec", "JvmStartError", "Lease", "SparkJvm", "close_all", "leased", "start_early"]

_START_TIMEOUT_S = 120.0
_TICK_S = 0.01
_ANSWER_S = 3.0  # a JVM that is asked whether it is free, and says nothing for so long, hangs


class JvmStartError(Exception):
    """Spark's JVM did not come up; the message holds what it said."""


_living: list[SparkJvm] = []


class SparkJvm:
    """One JVM. It starts in the background; `connection` waits for it.

    It ends when closed, and by itself when this process ends, for it reads a pipe that only this
    process holds.
    """

    def __init__(self, spec: JvmSpec) -> None:
        self.spec = spec
        self.served = 0
        self._tree = ProcessTree()
        self._folder = temporary_folder(spec)
        self._temporary = self._folder.path
        # Already unlinked: it needs no reader while no step runs, and never outlives the two of us.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._stdin: int | None = None
        self._fault: BaseException | None = None
        self._closing = False
        self._address: tuple[int, str] | None = None
        _living.append(self)
        self._starter = threading.Thread(target=self._start, name="spark-jvm", daemon=True)
        self._starter.start()

    def _start(self) -> None:
        try:
            installed = Installation.found()
            command = installed.driver_command(
                launch_settings(self.spec, installed, self._temporary)
            )
            environment = {
                **step_environment(
                    dict(self.spec.environment),
                    on_this_machine=self.spec.on_this_machine,
                    place=self.spec.place,
                ),
                **installed.environment(),
                "SPARK_LOCAL_DIRS": str(self._temporary),
                "SPARK_CONNECT_MODE": "0",
                "_PYSPARK_DRIVER_CONN_INFO_PATH": str(self._temporary / "connection"),
            }
            reading, writing = os.pipe()
            self._stdin = writing
            with os.fdopen(reading, "rb") as stdin:
                if not self._closing:
                    self._tree.start(
                        command,
                        environment,
                        stdin=stdin,
                        stdout=self._log,
                        stderr=self._log,
                        folder=self.spec.folder,
                    )
        except BaseException as fault:  # noqa: BLE001 - raised again in connection()
            self._fault = fault

    def connection(self, stop: threading.Event | None = None) -> tuple[int, str]:
        """Port and secret, as soon as the JVM answers.

        Raises JvmStartError, SparkMissingError, or InterruptedError once `stop` is set.
        """
        if self._address is not None:
            return self._address
        path = self._temporary / "connection"
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not path.exists():
            if stop is not None and stop.is_set():
                raise InterruptedError("stopped while Spark's JVM was starting")
            if self._fault is not None:
                if isinstance(self._fault, SparkMissingError):
                    raise self._fault
                raise JvmStartError(f"Spark's JVM cannot be started: {self._fault}")
            if self._tree.ended.is_set():
                raise JvmStartError(
                    f"Spark's JVM ended at its start with exit code {self._tree.exit_code}:"
                    f" {self._last_words()}"
                )
            if time.monotonic() >= deadline:
                raise JvmStartError(f"Spark's JVM did not answer within {_START_TIMEOUT_S:g} s")
            time.sleep(_TICK_S)
        # Spark writes the file under another name first. Two lengths are big-endian: the port
        # itself, then that of the secret.
        data = path.read_bytes()
        path.unlink()
        self._address = int.from_bytes(data[:4], "big"), data[8:].decode()
        return self._address

    @property
    def log(self) -> int:
        """File descriptor of all that the JVM and Spark's workers print."""
        return self._log.fileno()

    @property
    def exit_code(self) -> int | None:
        """As subprocess has it; None while the JVM lives."""
        return self._tree.exit_code

    def is_free(self) -> bool:
        """Whether it lives, answers and holds no SparkContext, as after a step that cleaned up."""
        if self._tree.ended.is_set() or self._fault is not None:
            return False
        if self.served == 0:
            return True
        from py4j.clientserver import (  # type: ignore[import-untyped]
            ClientServer,
            JavaParameters,
            PythonParameters,
        )
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]

        port, secret = self.connection()
        client = ClientServer(
            java_parameters=JavaParameters(port=port, auth_token=secret, read_timeout=_ANSWER_S),
            python_parameters=PythonParameters(port=0, eager_load=False),
        )
        try:
            # py4j cannot look into SparkContext (a class it names is not shipped); but every
            # context has this thread, from its making to its stop.
            threads = client.jvm.java.lang.Thread.getAllStackTraces().keySet().toString()
            return "dag-scheduler-event-loop" not in threads
        except (Py4JError, OSError):
            return False
        finally:
            client.close()

    def leave(self, timeout_s: float) -> None:
        """Let it end in its own time, as it must to write an archive; then close it."""
        self._starter.join()
        self._hang_up()
        self._tree.ended.wait(timeout_s)
        self.close()

    def close(self) -> None:
        """End it with its workers, and remove its files. Nothing of a step is running in it."""
        self._closing = True
        self._starter.join()
        self._tree.kill()
        self._hang_up()
        self._log.close()
        self._folder.remove()
        with suppress(ValueError):  # closed before
            _living.remove(self)

    def _hang_up(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def _last_words(self) -> str:
        size = os.fstat(self.log).st_size
        text = os.pread(self.log, 2_000, max(0, size - 2_000)).decode("utf-8", "replace")
        return " | ".join(text.strip().splitlines()[-5:])


class Lease:
    """The use of a JVM by one step. Unless the step ended well, the JVM ends with the lease."""

    def __init__(self, jvm: SparkJvm) -> None:
        self.jvm = jvm
        self.keep = False

    def environment(self, stop: threading.Event | None = None) -> Mapping[str, str]:
        """The variables by which pyspark finds the JVM; waits for it as `connection` does."""
        port, secret = self.jvm.connection(stop)
        return {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}


_idle: list[SparkJvm] = []  # at most one, so that memory is taken once
_leased: list[SparkJvm] = []  # at most one, too
_lock = threading.Lock()
_returned = threading.Condition(_lock)


def start_early(spec: JvmSpec) -> None:
    """Start the JVM of the first step while other things are still to be done; returns at once."""
    with _lock:
        if not _idle and not _leased:
            _idle.append(SparkJvm(spec))


@contextmanager
def leased(spec: JvmSpec, stop: threading.Event | None = None) -> Iterator[Lease]:
    """A JVM for one step: the idle one if it fits, else a new one. Waits while another step has it.

    Raises InterruptedError once `stop` is set.
    """
    jvm = _taken(spec, stop)
    lease = Lease(jvm)
    try:
        yield lease
    finally:
        with _lock:
            _leased.remove(jvm)
            jvm.served += 1
            keep = lease.keep and jvm.exit_code is None
            if keep:
                _idle.append(jvm)
            _returned.notify_all()
        if not keep:
            jvm.close()


def _taken(spec: JvmSpec, stop: threading.Event | None) -> SparkJvm:
    with _lock:
        while _leased:
            if stop is not None and stop.is_set():
                raise InterruptedError("stopped while another step was using Spark's JVM")
            _returned.wait(0.1)
        fresh = not _idle
        jvm = SparkJvm(spec) if fresh else _idle.pop()
        # Before it is known to be of use: nobody else may take it, or start another, meanwhile.
        _leased.append(jvm)
    try:
        # Without the lock: the JVM may hang.
        if not fresh and not (jvm.spec == spec and jvm.is_free()):
            jvm.close()
            if stop is not None and stop.is_set():
                raise InterruptedError("stopped while Spark's JVM was replaced")
            with _lock:
                jvm = _leased[0] = SparkJvm(spec)
    except BaseException:
        with _lock:
            _leased.clear()
            _returned.notify_all()
        jvm.close()
        raise
    return jvm


def close_all() -> None:
    """End every JVM of this process that no step is using; one in use ends with its step."""
    with _lock:
        closing = [jvm for jvm in _living if jvm not in _leased]
        _idle.clear()
    for jvm in closing:
        jvm.close()


@atexit.register
def _close_at_exit() -> None:
    while _living:
        _living[0].close()
