"""Something in a cloud that somebody waits for, while one watcher looks at many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

L = TypeVar("L")
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
