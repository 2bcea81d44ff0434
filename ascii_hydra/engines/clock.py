"""Time for everything that waits, so that a rehearsal of hours takes seconds."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the time is, and how to let it pass."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass, or return early once `stop` is set."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass, or return early once `stop` is set."""
        stop.wait(seconds)
