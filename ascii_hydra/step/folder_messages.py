"""Dagster Pipes through a folder that both sides can read and write: in S3, or in a workspace.

The folder holds `context.json`, and the messages as `messages/1.json`, `messages/2.json`, ... with
one JSON message a line. A chunk is never changed once it has been written, and ends with an empty
line, so that nobody takes a half-written one for a whole one.

The folder is also how a step is ended: on YARN the driver is no child of what EMR kills when a step
is cancelled, and would go on. So it looks whether there is a file `stop`, or `context.json` has
been gone for a minute; then it leaves `stopped` and ends its process, and with it the application.

If its parameters have the number of a submission, a driver claims that before it does anything else
(`claim.py`).

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import Iterator, List, Optional, Set

from dagster_pipes import (
    PipesContext,
    PipesContextData,
    PipesContextLoader,
    PipesMessage,
    PipesMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
    PipesParamsLoader,
    open_dagster_pipes,
)

from ascii_hydra.step.claim import CONTEXT, STOP, SUBMISSION_KEY, claim
from ascii_hydra.step.folder_files import Folder, folder_at

FOLDER_KEY = "folder"
"""Pipes parameter: URI of the folder."""
CHUNK_END = b"\n\n"
"""Ends a chunk of messages."""
STOPPED = "stopped"
"""File that says that it ends at once."""
LOOK_S = 5.0
"""How often a step looks whether it is still wanted."""
GONE_S = 60.0
"""How long the context must be gone: a mounted folder may show nothing for a moment."""
LAST_WORK_S = 10.0
"""How long a step that is not wanted waits for Spark to stop."""
_INTERVAL_S = 1.0
_LONGEST_PAUSE_S = 30.0
_FAREWELL_S = 120.0
# Two looks may be far apart, if the process was held up.
_GONE_LOOKS = 3
# Py4J sends bytes as text in one piece.
_CHUNK_BYTES = 4 * 1024 * 1024


def opened_pipes(loader: PipesParamsLoader, *, spark_is_ours: bool = True) -> PipesContext:
    """Dagster Pipes, by way of a folder if that is what the parameters name.

    Args:
        loader: of the parameters.
        spark_is_ours: a step that is stopped stops Spark first.
    """
    if FOLDER_KEY not in loader.load_messages_params():
        return open_dagster_pipes(params_loader=loader)
    return open_dagster_pipes(
        params_loader=loader,
        context_loader=FolderContextLoader(),
        message_writer=FolderMessageWriter(spark_is_ours),
    )


class FolderContextLoader(PipesContextLoader):
    """Reads the context that Dagster left in the folder."""

    @contextmanager
    def load_context(self, params: PipesParams) -> Iterator[PipesContextData]:
        """The context, as it was when the step was submitted. Raises SystemExit if this driver must
        not work."""
        folder = folder_at(params[FOLDER_KEY])
        if SUBMISSION_KEY in params:
            claim(folder, params[SUBMISSION_KEY])
        content = folder.content(CONTEXT)
        if not content:  # the folder is being deleted
            raise SystemExit("This driver ends before any work: its step has ended.")
        yield json.loads(content)


class FolderMessageWriter(PipesMessageWriter["FolderChannel"]):
    """Writes messages into the folder, every second if there are any.

    Args:
        spark_is_ours: see `opened_pipes`.
    """

    def __init__(self, spark_is_ours: bool = True) -> None:
        self._spark_is_ours = spark_is_ours

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[FolderChannel]:
        """A channel; at the end all of its messages have been written, or it raises."""
        # Pipes reads the context before it opens this.
        folder = folder_at(params[FOLDER_KEY])
        channel = FolderChannel(folder, context_seen=True, spark_is_ours=self._spark_is_ours)
        channel.start()
        try:
            yield channel
        finally:
            channel.finish()


class FolderChannel(PipesMessageWriterChannel):
    """Keeps every message until its chunk has been written.

    Args:
        folder: where to.
        context_seen: the context has been there.
        spark_is_ours: see `opened_pipes`.
    """

    def __init__(
        self, folder: Folder, *, context_seen: bool = False, spark_is_ours: bool = True
    ) -> None:
        self._folder = folder
        self._spark_is_ours = spark_is_ours
        self._context_seen = context_seen
        self._lines: List[bytes] = []
        self._chunk: Optional[bytes] = None
        self._number = 1
        self._lock = threading.Lock()
        self._looked_at: Optional[float] = None
        self._gone_since: Optional[float] = None
        self._gone_looks = 0
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipes-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write_message(self, message: PipesMessage) -> None:
        """Take one message. Raises if it cannot be said in JSON."""
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._lines.append(line)

    def finish(self) -> None:
        """Write what is left. Raises once that has failed for two minutes: a step whose reports
        are lost has not succeeded."""
        self._finishing.set()
        self._thread.join()
        deadline = time.monotonic() + _FAREWELL_S
        pause_s = _INTERVAL_S
        while True:
            try:
                self._write()
                return
            except Exception:
                if time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._finishing.wait(pause_s):
            self._look()
            try:
                self._write()
                pause_s = _INTERVAL_S
            except Exception as fault:  # noqa: BLE001 - tried again; finish() raises it
                sys.stderr.write("Dagster Pipes messages are kept back: {}\n".format(fault))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _look(self) -> None:
        """Leave if the step is not wanted any more."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            names = self._folder.names()
        except Exception as fault:  # noqa: BLE001 - looked at again; nobody has said to stop
            sys.stderr.write("Dagster Pipes cannot look for a stop: {}\n".format(fault))
            return
        if STOP in names or self._is_gone(names, now):
            sys.stderr.write("This step was stopped by whoever submitted it.\n")
            self._leave()

    def _is_gone(self, names: Set[str], now: float) -> bool:
        """Whether the context, which has been there, is there no more."""
        if CONTEXT in names:
            self._context_seen, self._gone_since, self._gone_looks = True, None, 0
        if not self._context_seen or CONTEXT in names:
            return False
        if self._gone_since is None:
            self._gone_since = now
        self._gone_looks += 1
        return self._gone_looks >= _GONE_LOOKS and now - self._gone_since >= GONE_S

    def _leave(self) -> None:
        """End this process, whatever the script does; on YARN, that ends the application."""
        if self._spark_is_ours:
            stopping = threading.Thread(target=_stop_spark, name="stop-spark", daemon=True)
            stopping.start()
            stopping.join(LAST_WORK_S)
        try:
            self._folder.write(STOPPED, b"")
        finally:
            sys.stderr.flush()
            os._exit(1)

    def _write(self) -> None:
        while True:
            if self._chunk is None:
                self._chunk = self._next_chunk()
            if self._chunk is None:
                return
            # The same number and content if it must be written again: nothing is lost or doubled.
            self._folder.write("messages/{}.json".format(self._number), self._chunk)
            self._chunk = None
            self._number += 1

    def _next_chunk(self) -> Optional[bytes]:
        with self._lock:
            size = count = 0
            for line in self._lines:
                if count and size + len(line) > _CHUNK_BYTES:
                    break
                size += len(line)
                count += 1
            lines, self._lines = self._lines[:count], self._lines[count:]
        # The last line ends already.
        return b"".join([*lines, CHUNK_END[1:]]) if lines else None


def _stop_spark() -> None:
    if "pyspark" not in sys.modules:
        return
    from pyspark import SparkContext

    spark = SparkContext._active_spark_context
    if spark is not None:
        spark.stop()
