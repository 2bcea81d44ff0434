"""Interrupts that take effect where they do no harm."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.1


class EitherEvent(threading.Event):
    """Set by itself, or with another one, or once a signal has come.

    Args:
        other: the other one.
        signals: those that have come. Their handler adds to it and does nothing else: it may have
            interrupted this event's own wait, which holds the lock that `set` would need.
    """

    def __init__(self, other: threading.Event, signals: Sequence[int] = ()) -> None:
        super().__init__()
        self._other = other
        self._signals = signals

    def is_set(self) -> bool:
        """Whether one of them is set."""
        return bool(self._signals) or super().is_set() or self._other.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for one of them."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _TICK_S if deadline is None else min(_TICK_S, deadline - time.monotonic())
            if left <= 0:
                break
            super().wait(left)
        return self.is_set()


@contextmanager
def deferred_interrupts(stop: threading.Event) -> Iterator[threading.Event]:
    """Within it, Ctrl-C, SIGTERM and the terminal's end (SIGHUP) only set the event that is
    yielded, which also follows `stop`. A signal that is ignored stays so: `nohup` means it.

    They take effect at its end, by whatever handler was there before. So a reply that says what
    has been started is never lost, and what ends it is never skipped. (Signals reach the main
    thread alone; in any other the event just follows `stop`.)
    """
    received: list[int] = []
    event = EitherEvent(stop, received)
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {
        one: signal.signal(one, remember)
        for one in _SIGNALS
        if signal.getsignal(one) is not signal.SIG_IGN
    }
    try:
        yield event
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
        if received:
            signal.raise_signal(received[0])
