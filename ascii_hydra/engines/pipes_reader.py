"""Reading a step's Dagster Pipes messages, so that none is lost and none is invented.

`Messages` judges lines and is the same wherever they come from; a reader brings them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dagster import DagsterError, PipesMessageReader
from dagster._check import CheckError
from dagster._core.errors import DagsterPipesExecutionError
from dagster_pipes import (
    PIPES_PROTOCOL_VERSION_FIELD,
    Method,
    PipesDefaultMessageWriter,
    PipesException,
    PipesParams,
)

from ascii_hydra.engines.own_folder import OwnFolder

if TYPE_CHECKING:
    from dagster import PipesMessageHandler

_TICK_S = 0.02
_SHOWN = 500
_METHODS = get_args(Method)
# Dagster's handler looks at the fields of a message, and has several ways of refusing them.
_REFUSALS = (
    *(ValueError, LookupError, TypeError, AttributeError),
    *(CheckError, DagsterError, DagsterPipesExecutionError),
)


class RejectedReportError(Exception):
    """A step sent a message that Dagster does not accept. The text follows the step's name."""


@dataclass(frozen=True)
class Report:
    """What a step's messages say about its end.

    Attributes:
        opened: the step got as far as opening Pipes.
        closed: it also closed Pipes: nothing that it reported is missing.
        exception: the exception it closed with, or None.
        malformed: how many lines were no Pipes messages.
    """

    opened: bool = False
    closed: bool = False
    exception: PipesException | None = None
    malformed: int = 0


class Messages:
    """The messages of one session: each goes to Dagster's handler, and into the report."""

    def __init__(self, handler: PipesMessageHandler, warn: Callable[[str], None]) -> None:
        self._handler = handler
        self._warn = warn
        self._opened = False
        self._closed = False
        self._exception: PipesException | None = None
        self._malformed = 0

    @property
    def report(self) -> Report:
        """What has been said by now."""
        return Report(self._opened, self._closed, self._exception, self._malformed)

    def take(self, line: bytes) -> None:
        """Handle one line. What is no Pipes message is logged as a warning, and counted.

        Raises RejectedReportError for a message that Dagster does not accept: what it was to
        report is missing, so the step cannot count as successful.
        """
        text = line.decode("utf-8", "replace")
        shown = f"{text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"
        try:
            message = _message(line)
        except ValueError as fault:
            self._malformed += 1
            self._warn(f"a Pipes message could not be read ({fault}) and is skipped: {shown}")
            return
        try:
            self._handler.handle_message(message)
            if message["method"] == "opened":
                self._opened = True
            elif message["method"] == "closed":
                self._closed = True
                self._exception = (message.get("params") or {}).get("exception")
        except _REFUSALS as fault:
            raise RejectedReportError(
                f"sent a Pipes message that Dagster rejects ({type(fault).__name__}: {fault}):"
                f" {shown}"
            ) from fault


def _message(line: bytes) -> Any:
    """A line as a Pipes message: of a method that we know, or of a newer version than ours."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    if message.get("method") not in _METHODS and PIPES_PROTOCOL_VERSION_FIELD not in message:
        raise ValueError("none of Pipes' methods")
    return message


class SessionReader(PipesMessageReader):
    """Reads the messages of one session in a thread of its own.

    Args:
        warn: is told of every line that is no message.

    Attributes:
        fault: why reading ended early, or None; to be raised by whoever waits for the step.
        ended: set once the step has ended: what is not there then never comes.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.fault: BaseException | None = None
        self.ended = threading.Event()
        self._warn = warn
        self._messages: Messages | None = None
        self._thread: threading.Thread | None = None

    @property
    def report(self) -> Report:
        """What the messages have said by now."""
        return Report() if self._messages is None else self._messages.report

    @contextmanager
    def reading(
        self, handler: PipesMessageHandler, read: Callable[[Messages], None]
    ) -> Iterator[None]:
        """Read during the block, and then to the end. `read` returns once there is no more."""
        if self._messages is not None:
            raise RuntimeError("a reader serves one session")
        messages = self._messages = Messages(handler, self._warn)

        def run() -> None:
            try:
                read(messages)
            except BaseException as fault:  # noqa: BLE001 - raised where the step is waited for
                self.fault = fault

        self._thread = threading.Thread(target=run, name="pipes-reader", daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self.drain()

    def drain(self) -> Report:
        """Once the step has ended: read what is left, at once, and report."""
        self.ended.set()
        if self._thread is not None:
            self._thread.join()
        return self.report

    @property
    def expected_writer_count(self) -> int:
        """One step reports. (Dagster's own property says the same, and warns with every use.)"""
        return 1


class FileReader(SessionReader):
    """Reads the messages of one session from a file of its own. Make one for every session."""

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Give the step a file to write to and read it as it grows."""
        with OwnFolder("pipes") as folder:
            path = folder / "messages"
            path.touch(mode=0o600)
            with self.reading(handler, lambda messages: self._read(path, messages)):
                yield {
                    PipesDefaultMessageWriter.FILE_PATH_KEY: str(path),
                    PipesDefaultMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: False,
                }

    def _read(self, path: Path, messages: Messages) -> None:
        with path.open("rb", buffering=0) as file:
            rest = b""
            while True:
                last = self.ended.is_set()  # before reading: what follows is then the end
                while data := os.read(file.fileno(), 1 << 20):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        messages.take(line)
                if last:
                    break
                self.ended.wait(_TICK_S)
            if rest:
                messages.take(rest)

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when nothing was received."""
        return "Attempted to read messages from a local file."
