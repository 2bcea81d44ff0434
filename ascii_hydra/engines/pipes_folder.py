"""A step's Dagster Pipes context and messages by way of a folder in a store.

`ascii_hydra/step/folder_messages.py` is the other end. Every session has a folder of its own.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from dagster import PipesContextInjector
from dagster_pipes import PipesContextData, PipesParams

from ascii_hydra.engines.calls import CallFault, repeated
from ascii_hydra.engines.clock import SystemClock
from ascii_hydra.engines.pipes_reader import Messages, SessionReader
from ascii_hydra.engines.store import Store
from ascii_hydra.step.claim import CONTEXT, STOP, is_claim, is_revoked, revocation
from ascii_hydra.step.folder_messages import (
    CHUNK_END,
    FOLDER_KEY,
    LAST_WORK_S,
    LOOK_S,
    STOPPED,
)

if TYPE_CHECKING:
    from dagster import PipesMessageHandler

T = TypeVar("T")
_CHUNKS = "messages/"
_CHUNK_NAME = re.compile(rf"{_CHUNKS}(\d+)\.json")
# Left by whoever has seen a step end that was asked to.
_SEEN = "seen"
_INTERVAL_S = 1.0
# Messages are kept in the store until they are read, so an outage costs nothing but time.
_PATIENCE_S = 15 * 60.0
# What could be read before may be denied for some minutes, while a workspace is maintained
# (apache/airflow#21286).
_DENIED_S = 10 * 60.0
_LAST_PATIENCE_S = 60.0
_WRITE_PATIENCE_S = 60.0
_CLEANING_PATIENCE_S = 10.0
# From `stop` to `stopped`, with some time for slow calls.
_STOPPING_S = LOOK_S + LAST_WORK_S + 15.0
_STOPPING_LOOK_S = 0.25


class FolderError(Exception):
    """A store does not give or take a session's files. The text is a sentence for people.

    Args:
        text: see there.
        fault: of the call.
    """

    def __init__(self, text: str, fault: CallFault) -> None:
        super().__init__(text)
        self.fault = fault


class MessagesUnreadableError(FolderError):
    """A store does not give a step's messages."""


class PipesFolder:
    """The folder of one session.

    Args:
        store: where it is.
        uri: `s3://bucket/prefix`, `/Volumes/...`, or what else the store names its folders.
    """

    def __init__(self, store: Store, uri: str) -> None:
        self.store = store
        self.uri = uri.rstrip("/")

    def content(self, name: str) -> bytes | None:
        """A whole file; None if there is none (yet). Called once; raises as the store does."""
        return self.store.read(f"{self.uri}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file. Raises FolderError, for transient failures after a minute."""
        # Credentials that have expired are an error here: nothing runs yet.
        uri = f"{self.uri}/{name}"
        self._patient(
            lambda: self.store.write(uri, content), _WRITE_PATIENCE_S, "written", renewed=False
        )

    def names(self) -> list[str]:
        """All files in it, relative to it. Raises FolderError, for transient failures after a
        minute."""
        return self._patient(lambda: self.store.names(self.uri), _WRITE_PATIENCE_S, "read")

    def is_finished(self) -> bool:
        """Whether its driver has said that it has ended, or was seen to. Raises FolderError."""
        return self._patient(self._has_ended, _WRITE_PATIENCE_S, "read")

    def ask_to_stop(self) -> None:
        """Let the step that has this folder end itself. Raises FolderError."""
        uri = f"{self.uri}/{STOP}"
        self._patient(lambda: self.store.write(uri, b""), _WRITE_PATIENCE_S, "written")

    def seen_stopping(self) -> bool:
        """Wait until a step that was asked to stop does so, or cannot; False if it is not seen to
        within 30 s. Raises FolderError.

        One that has not opened the folder yet does not go on without its context.
        """
        deadline = time.monotonic() + _STOPPING_S
        while not self._patient(self._is_stopped, _WRITE_PATIENCE_S, "read"):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STOPPING_LOOK_S)
        return True

    def _is_stopped(self) -> bool:
        names = self.store.names(self.uri)
        return not any(map(_CHUNK_NAME.fullmatch, names)) or self._has_ended()

    def _has_ended(self) -> bool:
        names = self.store.names(self.uri)
        if STOPPED in names or _SEEN in names:
            return True
        chunks = [int(one[1]) for one in map(_CHUNK_NAME.fullmatch, names) if one is not None]
        if not chunks:
            return False
        last = self.content(_chunk_name(max(chunks))) or b""
        return any(_is_farewell(line) for line in last.splitlines())

    def stop_asked(self) -> bool:
        """Whether the step was asked to stop, and nobody has seen it stop. Raises FolderError."""
        names = self._patient(lambda: self.store.names(self.uri), _CLEANING_PATIENCE_S, "read")
        return STOP in names and _SEEN not in names

    def is_wanted(self, submission: int | None = None) -> bool:
        """Whether the step that has this folder goes on: one that is asked to stop, or has no
        context any more, ends itself. Raises FolderError.

        Args:
            submission: number of the step's, if it has one: if that is revoked, it ends itself.
        """
        names = self.names()
        revoked = submission is not None and is_revoked(names, submission)
        return CONTEXT in names and STOP not in names and not revoked

    def revoke(self, submission: int) -> bool:
        """Revoke a submission; whether no driver of it works, or ever will. Raises FolderError."""
        uri = f"{self.uri}/{revocation(submission)}"
        self._patient(lambda: self.store.write(uri, b""), _WRITE_PATIENCE_S, "written")
        names = self.names()
        return not any(is_claim(one, submission) for one in names)

    def forget_stop(self) -> None:
        """Once the step is seen to have ended: the folder may be deleted. Raises FolderError."""
        uri = f"{self.uri}/{_SEEN}"
        self._patient(lambda: self.store.write(uri, b""), _CLEANING_PATIENCE_S, "written")

    def delete(self) -> None:
        """Delete everything in it. Raises FolderError, for transient failures after 10 s."""
        context = f"{self.uri}/{CONTEXT}"

        def delete() -> None:
            # No driver that comes at this moment may find the context and not the marks against it.
            self.store.write(context, b"")
            self.store.delete(self.uri)

        self._patient(delete, _CLEANING_PATIENCE_S, "deleted")

    def _patient(
        self, call: Callable[[], T], patience_s: float, done: str, *, renewed: bool = True
    ) -> T:
        try:
            return repeated(
                call,
                self.store.fault,
                SystemClock(),
                threading.Event(),
                patience_s=patience_s,
                expired=(lambda _fault: self.store.renew()) if renewed else None,
            )
        except Exception as raised:
            fault = self.store.fault(raised)
            if fault is None:
                raise
            advice = self.store.advice(fault, self.uri)
            raise FolderError(
                f"{self.uri} cannot be {done} ({fault.words}){advice}", fault
            ) from raised


class FolderContextInjector(PipesContextInjector):
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
        """Within it, the context is there. Raises FolderError if it cannot be left there."""
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
            except FolderError as unclean:
                self._warn(f"the folder of Pipes messages is left: {unclean}")

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when nothing was received."""
        return f"Attempted to leave the context in {self._folder.uri}."


class FolderReader(SessionReader):
    """Reads the messages of one session. Make one for every session.

    Args:
        folder: of this session.
        warn: is told of every line that is no message, and of what keeps them from being read.
        poll_s: longest pause between two looks, in seconds: a tenth of the time since the last
            messages came, and at least 1 s.
        readable: an earlier execution of the step could read the folder, so a refusal may be a
            false one from the first look on. By default a refusal is a fault at once until the
            first look that succeeds: missing rights are reported before a new step costs much.

    Attributes:
        closed: set once the step has said that it reports no more.
    """

    def __init__(
        self,
        folder: PipesFolder,
        warn: Callable[[str], None],
        *,
        poll_s: float = _INTERVAL_S,
        readable: bool = False,
    ) -> None:
        super().__init__(warn)
        self.closed = threading.Event()
        self._folder = folder
        self._poll_s = poll_s
        self._abandoned = threading.Event()
        self._told_expiry = False
        self._readable = readable
        self._refused_since: float | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Say where to write, and read what comes."""
        with self.reading(handler, self._read):
            try:
                yield {FOLDER_KEY: self._folder.uri}
            finally:
                # Whoever wanted the rest has drained before; nobody waits for an unhappy end's.
                self._abandoned.set()

    def _read(self, messages: Messages) -> None:
        number, came_at = 1, time.monotonic()
        while not self._abandoned.is_set():
            last = self.ended.is_set()  # before looking: what is missing then never comes
            chunk = self._chunk(number) or b""
            whole = chunk.endswith(CHUNK_END)
            if whole or (last and chunk):
                number, came_at = number + 1, time.monotonic()
                # All lines but the last one of a chunk that the step could not finish.
                for line in chunk[: chunk.rfind(b"\n") + 1].splitlines():
                    if line:
                        messages.take(line)
                if messages.report.closed:
                    self.closed.set()
            elif last:
                break
            else:
                quiet_s = time.monotonic() - came_at
                self.ended.wait(max(_INTERVAL_S, min(self._poll_s, quiet_s / 10)))

    def _chunk(self, number: int) -> bytes | None:
        while True:
            # The step's end cuts the patience short, but only after one more look.
            ended = self.ended.is_set()
            try:
                content = repeated(
                    lambda: self._folder.content(_chunk_name(number)),
                    self._fault,
                    SystemClock(),
                    self._abandoned if ended else self.ended,
                    patience_s=_LAST_PATIENCE_S if ended else _PATIENCE_S,
                    expired=self._renew,
                )
            except Exception as raised:
                fault = self._fault(raised)
                if fault is None:
                    raise
                borne = fault.transient or fault.expired
                if borne and self.ended.is_set() and not ended:
                    continue
                advice = self._folder.store.advice(fault, self._folder.uri)
                raise MessagesUnreadableError(
                    f"its messages in {self._folder.uri} cannot be read ({fault.words}){advice}",
                    fault,
                ) from raised
            self._readable, self._refused_since = True, None
            return content

    def _fault(self, raised: BaseException) -> CallFault | None:
        """What an exception says of a look. Of a folder that was readable, now or to an earlier
        execution of the step, a refusal may be a false one, and it is borne with for some time: a
        step at work is not given up for it."""
        fault = self._folder.store.fault(raised)
        if fault is None or fault.transient or fault.expired or not self._readable:
            return fault
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
            self._warn(
                f"its messages in {self._folder.uri} cannot be read at the moment ({fault.words});"
                " asking again"
            )
        borne_s = _DENIED_S if fault.denied else _PATIENCE_S
        return replace(fault, transient=now - self._refused_since < borne_s)

    def _renew(self, fault: CallFault) -> None:
        self._folder.store.renew()
        if not self._told_expiry:
            self._told_expiry = True
            self._warn(
                f"the credentials for {self._folder.uri} are accepted no more ({fault.words}): log"
                " in again, or set new ones; they are looked for until then"
            )

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when nothing was received."""
        return f"Attempted to read messages from {self._folder.uri}."


def _chunk_name(number: int) -> str:
    return f"{_CHUNKS}{number}.json"


def _is_farewell(line: bytes) -> bool:
    try:
        return bool(json.loads(line)["method"] == "closed")
    except (ValueError, KeyError, TypeError):
        return False
