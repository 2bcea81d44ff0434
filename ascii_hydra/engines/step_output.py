"""What a step prints, passed on live, line by line, with its last lines kept for an error."""

from __future__ import annotations

import os
import re
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

Sink = Callable[[str, str], None]
"""Takes "stdout" or "stderr", and one line without its end."""

TAIL_LINES = 40
_OWN_LINES = 200
_OWN_LINE_LIMIT = 400
_LINE_LIMIT_BYTES = 16_384  # a longer line is passed on in pieces: nothing waits for a newline
_TAIL_LINE_LIMIT = 2_000
_TICK_S = 0.05
# Of a Java stack trace, as Python prints it with the exception: `\tat a.b(C.java:1)`.
_JAVA_FRAME = re.compile(r"^\s+(?:at [\w.$/<>]+\(|\.\.\. \d+ (?:more|common))")
# PySpark logs what it raises, too.
_RAISED_TOO = '"logger": "DataFrameQueryContextLogger"'
_TRACEBACK = "Traceback (most recent call last):"
# Between the tracebacks of exceptions that belong together.
_CHAINED = ("During handling of the above", "The above exception was the direct")
# Java says this about every Spark driver; it can be neither helped nor turned off.
_NOISE = {"WARNING: Using incubator modules: jdk.incubator.vector"}


def to_own_output(stream: str, line: str) -> None:
    """The usual sink: our own stdout and stderr, which Dagster keeps as the run's compute logs."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    encoding = getattr(target, "encoding", None) or "utf-8"
    target.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    target.flush()


class StepOutput:
    """Reads a step's two pipes, and its JVM's log file, in a thread until told to finish.

    A fault of the sink does not stop the reading, which would block the step; it is kept in
    `fault` for the one who waits for the step.
    """

    def __init__(self, sink: Sink, *, folder: Path | None = None, name: str = "step") -> None:
        self.fault: BaseException | None = None
        self._sink = sink
        self._tails: dict[str, deque[str]] = {
            stream: deque(maxlen=TAIL_LINES) for stream in ("stdout", "stderr")
        }
        self._own: deque[tuple[str, str]] = deque(maxlen=_OWN_LINES)
        self._rest = {"stdout": b"", "stderr": b"", "jvm": b""}
        self._files: dict[str, IO[bytes]] = {}
        self._finishing = threading.Event()
        self._thread: threading.Thread | None = None
        self._open = ExitStack()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for stream in self._tails:
                path = folder / f"{name}.{stream}.log"
                self._files[stream] = self._open.enter_context(path.open("ab"))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the whole output, where it is kept."""
        return tuple(file.name for file in self._files.values())

    def tail(self, stream: str) -> tuple[str, ...]:
        """The last lines of `stdout` or `stderr`."""
        return tuple(self._tails[stream])

    def own_tail(self, lines: int, *, traceback_of: str | None) -> tuple[str, ...]:
        """The last lines of both streams as the step itself has written them, without the JVM's
        log and without the frames of Java's stack traces.

        Args:
            lines: how many at most.
            traceback_of: the script whose last traceback is left out, with what follows it on
                stderr; None to leave out none.
        """
        own = list(self._own)
        if traceback_of is not None:
            # Which of two pipes is read first says nothing of what was written first.
            errors = [line for stream, line in own if stream == "stderr"]
            left = iter(errors[: _traceback_start(errors, traceback_of)])
            own = [
                (stream, line)
                for stream, line in own
                if stream == "stdout" or next(left, None) is not None
            ]
        return tuple(line[:_OWN_LINE_LIMIT] for _, line in own if line.strip())[-lines:]

    def read(self, stdout: IO[bytes], stderr: IO[bytes], jvm_log: int | None = None) -> None:
        """Start reading.

        Args:
            stdout: pipe from the step; closed at the end.
            stderr: likewise.
            jvm_log: file descriptor of the log of a JVM that serves the step; what it holds
                already is none of this step's.
        """
        self._open.enter_context(stdout)
        self._open.enter_context(stderr)
        start = 0 if jvm_log is None else os.fstat(jvm_log).st_size
        self._thread = threading.Thread(
            target=self._run,
            args=({"stdout": stdout.fileno(), "stderr": stderr.fileno()}, jvm_log, start),
            name="step-output",
            daemon=True,
        )
        self._thread.start()

    def finish(self) -> None:
        """Read what has been written by now, then stop. Somebody may still hold a pipe open."""
        self._finishing.set()
        if self._thread is not None:
            self._thread.join()
        self._open.close()

    def _run(self, pipes: dict[str, int], jvm_log: int | None, offset: int) -> None:
        try:
            self._read(pipes, jvm_log, offset)
        except BaseException as fault:  # noqa: BLE001 - raised again where the step is waited for
            self.fault = fault

    def _read(self, pipes: dict[str, int], jvm_log: int | None, offset: int) -> None:
        with selectors.DefaultSelector() as selector:
            for stream, pipe in pipes.items():
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ, stream)
            while True:
                finishing = self._finishing.is_set()
                ready = bool(selector.get_map()) and selector.select(0 if finishing else _TICK_S)
                for key, _ in ready or []:
                    data = os.read(key.fd, 65_536)
                    if not data:
                        selector.unregister(key.fd)
                    self._take(key.data, data)
                if jvm_log is not None:
                    while data := os.pread(jvm_log, 65_536, offset):
                        offset += len(data)
                        self._take("jvm", data)
                if not ready:
                    if finishing:
                        break
                    if not selector.get_map():
                        self._finishing.wait(_TICK_S)
        for source, rest in self._rest.items():
            if rest:
                self._say(source, rest)

    def _take(self, source: str, data: bytes) -> None:
        if file := self._files.get(_stream(source)):
            file.write(data)
            file.flush()
        *lines, rest = (self._rest[source] + data).split(b"\n")
        for line in lines:
            self._say(source, line)
        while len(rest) > _LINE_LIMIT_BYTES:
            self._say(source, rest[:_LINE_LIMIT_BYTES])
            rest = rest[_LINE_LIMIT_BYTES:]
        self._rest[source] = rest

    def _say(self, source: str, data: bytes) -> None:
        line = data.decode("utf-8", "replace").rstrip("\r")
        if line in _NOISE:
            return
        stream = _stream(source)
        self._tails[stream].append(line[:_TAIL_LINE_LIMIT])
        if source != "jvm" and not _JAVA_FRAME.match(line) and _RAISED_TOO not in line:
            self._own.append((stream, line[:_TAIL_LINE_LIMIT]))
        if self.fault is None:
            try:
                self._sink(stream, line)
            except BaseException as fault:  # noqa: BLE001 - raised again where the step is waited for
                self.fault = fault


def _traceback_start(lines: Sequence[str], script: str) -> int:
    """Where the last traceback of a script begins, with those of the exceptions that led to it.
    (Those of Spark's Python workers, which its last line may hold, begin elsewhere.)"""
    start = len(lines)
    for number in reversed(range(len(lines) - 1)):
        below = lines[number + 1]
        first = below.startswith(f'  File "{script}", ') and below.endswith(", in <module>")
        chained = start < len(lines) and below.startswith('  File "')
        if lines[number] == _TRACEBACK and (first or chained):
            start = number
            before = [one for one in lines[:number] if one.strip()]
            if not before or not before[-1].startswith(_CHAINED):
                break
    return start


def _stream(source: str) -> str:
    return "stderr" if source == "jvm" else source
