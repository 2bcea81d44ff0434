"""A step's Dagster Pipes context and messages by way of a folder in S3.

`ascii_hydra/step/hadoop_messages.py` is the other end. Every session has a folder of its own.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from dagster import PipesContextInjector, PipesMessageReader
from dagster_pipes import PipesContextData, PipesParams

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.aws_errors import (
    AWS_FAULTS,
    LOG_IN_AGAIN,
    code,
    is_expired,
    is_transient,
    repeated,
    words,
)
from ascii_hydra.engines.clock import SystemClock
from ascii_hydra.engines.pipes_reader import Messages, Report
from ascii_hydra.step.hadoop_messages import (
    CONTEXT,
    FOLDER_KEY,
    LAST_WORK_S,
    LOOK_S,
    STOP,
    STOPPED,
)

if TYPE_CHECKING:
    from dagster import PipesMessageHandler

_CHUNKS = "messages/"
_CHUNK_NAME = re.compile(rf"{_CHUNKS}(\d+)\.json")
_INTERVAL_S = 1.0
# Messages are kept in S3 until they are read, so an outage costs nothing but time.
_PATIENCE_S = 15 * 60.0
_LAST_PATIENCE_S = 60.0
_PUT_PATIENCE_S = 60.0
_CLEANING_PATIENCE_S = 10.0
# From `stop` to `stopped`, with some time for slow calls.
_STOPPING_S = LOOK_S + LAST_WORK_S + 15.0
_STOPPING_LOOK_S = 0.25


class MessagesUnreadableError(Exception):
    """S3 does not give a step's messages. The text is a sentence for people."""


class PipesFolder:
    """The folder of one session.

    Args:
        place: which AWS.
        uri: `s3://bucket/prefix`.
    """

    def __init__(self, place: Place, uri: str) -> None:
        parts = urlsplit(uri)
        self.uri = uri.rstrip("/")
        self._place = place
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/"

    @cached_property
    def _s3(self) -> Any:
        return aws_client("s3", self._place, retried=False)

    def renew(self) -> None:
        """The credentials have expired: the next call looks for new ones."""
        self.__dict__.pop("_s3", None)

    def content(self, name: str) -> bytes | None:
        """A whole object; None if there is none (yet). Raises as boto3 does."""
        try:
            reply = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)
            return bytes(reply["Body"].read())
        except ClientError as fault:
            if code(fault) == "NoSuchKey":
                return None
            raise

    def write(self, name: str, content: bytes) -> None:
        """Write a whole object. Raises as boto3 does, transient failures after a minute."""
        # Credentials that have expired are an error here: nothing runs yet.
        repeated(
            lambda: self._put(name, content),
            SystemClock(),
            threading.Event(),
            patience_s=_PUT_PATIENCE_S,
        )

    def ask_to_stop(self) -> None:
        """Let the step that has this folder end itself. Raises as boto3 does."""
        self._patient(lambda: self._put(STOP, b""), _PUT_PATIENCE_S)

    def seen_stopping(self) -> bool:
        """Wait until a step that was asked to stop does so, or cannot; False if it is not seen to
        within 30 s. Raises as boto3 does.

        One that has not opened the folder yet does not go on without its context.
        """
        deadline = time.monotonic() + _STOPPING_S
        while not self._patient(self._is_stopped, _PUT_PATIENCE_S):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STOPPING_LOOK_S)
        return True

    def _is_stopped(self) -> bool:
        names = self._names()
        chunks = [int(one[1]) for one in map(_CHUNK_NAME.fullmatch, names) if one is not None]
        if STOPPED in names or not chunks:
            return True
        last = self.content(f"{_CHUNKS}{max(chunks)}.json") or b""
        return any(_is_farewell(line) for line in last.splitlines())

    def stop_asked(self) -> bool:
        """Whether the step was asked to stop, and nobody has seen it stop. Raises as boto3 does."""
        return self._patient(lambda: self.content(STOP), _CLEANING_PATIENCE_S) is not None

    def forget_stop(self) -> None:
        """Once the step is seen to have ended: the folder may be deleted. Raises as boto3 does."""
        keys = [{"Key": self._prefix + name} for name in (STOP, STOPPED)]
        self._patient(
            lambda: self._s3.delete_objects(
                Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True}
            ),
            _CLEANING_PATIENCE_S,
        )

    def _put(self, name: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def _names(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return [key.removeprefix(self._prefix) for key in keys]

    def delete(self) -> None:
        """Delete everything in it. Raises as boto3 does, transient failures after 10 s."""

        def once() -> None:
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                keys = [{"Key": one["Key"]} for one in page.get("Contents", ())]
                if keys:
                    self._s3.delete_objects(
                        Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True}
                    )

        self._patient(once, _CLEANING_PATIENCE_S)

    def _patient(self, call: Callable[[], Any], patience_s: float) -> Any:
        return repeated(
            call,
            SystemClock(),
            threading.Event(),
            patience_s=patience_s,
            expired=lambda _fault: self.renew(),
        )


class S3ContextInjector(PipesContextInjector):
    """Leaves the context in the folder; at the end, whatever happened, the folder is deleted.

    It stays if the step may live: with `stop` in it, which ends the step.

    Args:
        folder: of this session.
        warn: is told if the folder was not deleted.
        adopted: the step is running already and has its context.
    """

    def __init__(
        self, folder: PipesFolder, warn: Callable[[str], None], *, adopted: bool = False
    ) -> None:
        self._folder = folder
        self._warn = warn
        self._adopted = adopted
        self._unseen = False

    def end_unseen(self) -> None:
        """The step could not be seen to end."""
        self._unseen = True

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        """Within it, the context is there."""
        try:
            if not self._adopted:
                self._folder.write(CONTEXT, json.dumps(context_data).encode())
            yield {FOLDER_KEY: self._folder.uri}
        finally:
            try:
                if self._unseen or self._folder.stop_asked():
                    self._folder.ask_to_stop()
                    self._warn(
                        f"{self._folder.uri} is left, since it asks the step to end itself: delete"
                        " it when the step has ended"
                    )
                else:
                    self._folder.delete()
            except AWS_FAULTS as fault:
                self._warn(f"{self._folder.uri} could not be cleaned ({words(fault)})")

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when nothing was received."""
        return f"Attempted to leave the context in {self._folder.uri}."


class S3Reader(PipesMessageReader):
    """Reads the messages of one session. Make one for every session.

    Args:
        folder: of this session.
        warn: is told of every line that is no message.

    Attributes:
        fault: why reading ended early, or None; to be raised by whoever waits for the step.
        closed: set once the step has said that it reports no more.
    """

    def __init__(self, folder: PipesFolder, warn: Callable[[str], None]) -> None:
        self.fault: BaseException | None = None
        self.closed = threading.Event()
        self._folder = folder
        self._warn = warn
        self._messages: Messages | None = None
        self._ended = threading.Event()
        self._abandoned = threading.Event()
        self._told_expiry = False
        self._thread: threading.Thread | None = None

    @property
    def report(self) -> Report:
        """What the messages have said by now."""
        return Report() if self._messages is None else self._messages.report

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Say where to write, and read what comes."""
        if self._messages is not None:
            raise RuntimeError("an S3Reader serves one session")
        self._messages = Messages(handler, self._warn)
        self._thread = threading.Thread(
            target=self._run, args=(self._messages,), name="pipes-s3-reader", daemon=True
        )
        self._thread.start()
        try:
            yield {FOLDER_KEY: self._folder.uri}
        finally:
            # Whoever wanted the rest has drained before; nobody waits for an unhappy end's.
            self._abandoned.set()
            self.drain()

    def drain(self) -> Report:
        """Once the step has ended: read until there is no further chunk, at once, and report."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        return self.report

    def _run(self, messages: Messages) -> None:
        try:
            self._read(messages)
        except BaseException as fault:  # noqa: BLE001 - raised again where the step is waited for
            self.fault = fault

    def _read(self, messages: Messages) -> None:
        number = 1
        while not self._abandoned.is_set():
            last = self._ended.is_set()  # before looking: what is missing then never comes
            chunk = self._chunk(number)
            if chunk is not None:
                number += 1
                for line in chunk.splitlines():
                    messages.take(line)
                if messages.report.closed:
                    self.closed.set()
            elif last:
                break
            else:
                self._ended.wait(_INTERVAL_S)

    def _chunk(self, number: int) -> bytes | None:
        name = f"{_CHUNKS}{number}.json"
        while True:
            # The step's end cuts the patience short, but only after one more look.
            ended = self._ended.is_set()
            try:
                return repeated(
                    lambda: self._folder.content(name),
                    SystemClock(),
                    self._abandoned if ended else self._ended,
                    patience_s=_LAST_PATIENCE_S if ended else _PATIENCE_S,
                    expired=self._renew,
                )
            except AWS_FAULTS as fault:
                borne = is_transient(fault) or is_expired(fault)
                if borne and self._ended.is_set() and not ended:
                    continue
                raise MessagesUnreadableError(
                    f"its messages in {self._folder.uri} cannot be read ({words(fault)})"
                    f"{_advice(fault)}"
                ) from fault

    def _renew(self, fault: BaseException) -> None:
        self._folder.renew()
        if not self._told_expiry:
            self._told_expiry = True
            self._warn(f"S3 accepts the credentials no more ({words(fault)}): {LOG_IN_AGAIN}")

    @property
    def expected_writer_count(self) -> int:
        """One step reports. (Dagster's own property says the same, and warns with every use.)"""
        return 1

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when nothing was received."""
        return f"Attempted to read messages from {self._folder.uri}."


def _is_farewell(line: bytes) -> bool:
    try:
        return bool(json.loads(line)["method"] == "closed")
    except (ValueError, KeyError, TypeError):
        return False


def _advice(fault: BaseException) -> str:
    if code(fault) in {"AccessDenied", "403"}:
        # Without the right to list, S3 calls an object that is not there "denied".
        return ": allow s3:GetObject and s3:ListBucket on it"
    return ""
