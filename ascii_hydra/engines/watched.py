"""Something in a cloud that somebody waits for, while one watcher looks at many."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from ascii_hydra.engines.clock import Clock
from ascii_hydra.engines.pipes_folder import FolderReader

L = TypeVar("L")
_TICK_S = 0.1
_SHORTEST_PAUSE_S = 1.0
_CLOSED_PAUSE_S = 0.5
_SOON_S = 10.0
_LATE_S = 60.0


class WatchingFailedError(Exception):
    """The cloud says nothing of a step any more. The text is a clause for people."""


def pause_s(*, unchanged_s: float, closed_s: float | None, longest_s: float) -> float:
    """How long to wait until the next look at a step.

    A tenth of what has passed since its state changed, so that a short step is seen to end soon.
    Once its closing message has come, its end is near: the cloud notices it within seconds or a
    minute.

    Args:
        unchanged_s: time since its state changed.
        closed_s: time since its closing message came, or None.
        longest_s: the longest pause.
    """
    if closed_s is not None:
        near = _CLOSED_PAUSE_S if closed_s < _SOON_S else max(1.0, (closed_s - _LATE_S) / 10)
        return min(longest_s, near)
    return min(longest_s, max(_SHORTEST_PAUSE_S, unchanged_s / 10))


class Watched(Generic[L]):
    """A step that somebody waits for.

    Args:
        key: the step, as the cloud names it.
        longest_s: longest pause between two looks, by the clock.
        wake: makes the watcher look at once.
        warn: is told what keeps the watcher from looking.

    Attributes:
        look: the last look, or None.
        fault: why there are no more looks, or None.
        due_at: when to look next, by the clock.
    """

    def __init__(
        self,
        key: str,
        longest_s: float,
        wake: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.key = key
        self.look: L | None = None
        self.fault: WatchingFailedError | None = None
        self.due_at = 0.0
        self._longest_s = longest_s
        self._wake = wake
        self._warn = warn
        self._told: set[str] = set()
        self._news = threading.Event()
        self._state: str | None = None
        self._changed_at: float | None = None
        self._opened = False
        self._closed = False
        self._closed_at: float | None = None

    def news(self, timeout_s: float) -> bool:
        """Wait for the next look, or a fault, or so long."""
        came = self._news.wait(timeout_s)
        self._news.clear()
        return came

    def open(self) -> None:
        """Its first message has come: it runs, so look at once."""
        if not self._opened:
            self._opened = True
            self.due_at = 0.0
            self._wake()

    def close(self) -> None:
        """Its closing message has come: look at once, and often."""
        if not self._closed:
            self._closed = True
            self.due_at = 0.0
            self._wake()

    def warn(self, topic: str, words: str) -> None:
        """Tell who waits, once until the next look.

        Args:
            topic: what it is about: of one topic, the first words are told.
            words: a clause for people.
        """
        if topic not in self._told:
            self._told.add(topic)
            self._warn(words)

    def see(self, look: L, state: str, at: float) -> None:
        """Take a look's result.

        Args:
            look: what was seen.
            state: the cloud's word for what the step does.
            at: seconds since the epoch, by the clock.
        """
        if self._state != state:
            self._state, self._changed_at = state, at
        self.look = look
        self._told.clear()
        self._news.set()

    def fail(self, fault: WatchingFailedError) -> None:
        """Take the reason why there are no more looks."""
        self.fault = fault
        self._news.set()

    def pause_s(self, now: float) -> float:
        """Until the next look."""
        if self._closed and self._closed_at is None:
            self._closed_at = now
        return pause_s(
            unchanged_s=now - (now if self._changed_at is None else self._changed_at),
            closed_s=None if self._closed_at is None else now - self._closed_at,
            longest_s=self._longest_s,
        )


class Watcher(ABC, Generic[L]):
    """A thread that looks at something for all who wait for a part of it, while there are any.

    Args:
        clock: by which it waits.
        name: of its thread.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self.watched: list[Watched[L]] = []
        self._clock = clock
        self._name = name
        self._woken = threading.Event()

    @abstractmethod
    def look(self, waiting: list[Watched[L]], now: float) -> float:
        """Look once, and tell who waits.

        Args:
            waiting: all who wait.
            now: seconds since the epoch, by the clock.

        Returns:
            How long to wait until the next look, by the clock, unless somebody wakes it.

        Raises:
            WatchingFailedError: nothing more can be said to anybody.
        """

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def waiting(self) -> list[Watched[L]]:
        """All who wait at this moment."""
        with _LOCK:
            return list(self.watched)

    def give_up(self, one: Watched[L], why: str) -> None:
        """Nothing more can be said to this one; the text is a clause for people."""
        with _LOCK:
            if one in self.watched:
                self.watched.remove(one)
        one.fail(WatchingFailedError(why))

    def _run(self) -> None:
        try:
            while True:
                self._woken.clear()
                with _LOCK:
                    waiting = list(self.watched)
                    if not waiting:
                        _forget(self)
                        return
                self._clock.sleep(self.look(waiting, self._clock.now()), self._woken)
        except BaseException as raised:  # noqa: BLE001 - raised again by those who wait
            with _LOCK:
                waiting, self.watched = self.watched, []
                _forget(self)
            if isinstance(raised, WatchingFailedError):
                cause = raised
            else:
                cause = WatchingFailedError(
                    f"watching it failed ({type(raised).__name__}: {raised})"
                )
            for one in waiting:
                one.fail(cause)


_LOCK = threading.Lock()
_WATCHERS: dict[Hashable, Watcher[Any]] = {}


def _forget(watcher: Watcher[Any]) -> None:
    for key, one in list(_WATCHERS.items()):
        if one is watcher:
            del _WATCHERS[key]


@contextmanager
def watching(
    key: Hashable,
    make: Callable[[], Watcher[L]],
    step: str,
    *,
    longest_s: float,
    warn: Callable[[str], None],
) -> Iterator[Watched[L]]:
    """A step, looked at regularly until the end of the block.

    Args:
        key: what is looked at: there is one watcher for it.
        make: makes the watcher, if there is none.
        step: as the cloud names it.
        longest_s: longest pause between two looks, by the clock.
        warn: is told of an outage.
    """
    with _LOCK:
        found: Watcher[L] | None = _WATCHERS.get(key)
        watcher = make() if found is None else found
        _WATCHERS[key] = watcher
        one = Watched[L](step, longest_s, watcher.wake, warn)
        watcher.watched.append(one)
    if found is None:
        watcher.start()
    else:
        watcher.wake()
    try:
        yield one
    finally:
        with _LOCK:
            if one in watcher.watched:
                watcher.watched.remove(one)
        watcher.wake()


def looks(
    watched: Watched[L], reader: FolderReader, stop: threading.Event, step: str
) -> Iterator[L]:
    """Every new look at a step, until whoever asks has seen enough.

    Args:
        watched: the step.
        reader: of its messages, by which the watcher knows when it begins and ends.
        stop: ends it.
        step: its name as people know it.

    Raises:
        InterruptedError: stopped.
        WatchingFailedError: nobody knows what the step does.
        Whatever ended the reading of its messages.
    """
    last: L | None = None
    while True:
        watched.news(_TICK_S)
        if stop.is_set():
            raise InterruptedError(f"{step} was stopped")
        if reader.fault is not None:
            raise reader.fault
        if reader.report.opened:
            watched.open()
        if reader.closed.is_set():
            watched.close()
        look = watched.look
        if look is not None and look is not last:
            last = look
            yield look
        if watched.fault is not None:
            raise watched.fault
