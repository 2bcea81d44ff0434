"""Time for everything that waits, so that a rehearsal of hours takes seconds."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

# A clock that is wrong by more is believed to be only once two replies in a row say so.
_MINUTE_S = 60.0


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


class CloudClock:
    """The time of a cloud, as the `Date` of its replies tells it, where a clock here differs.

    What a cloud tells of its instances and runs is in its own time, and nobody promises that this
    machine's clock agrees: compared with each other, a bill lacks or gains the difference. Each
    reply was dated (https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1, to the second) after its
    request was sent and before it was received, which bounds the difference from both sides. As
    long as the present correction is within these bounds it is kept, so that a clock that is right
    is left alone.

    A correction by more than a minute counts once two replies in a row agree on it within a minute.
    For one reply may have a wrong `Date` (of a cache, or of one server among many), and every time
    limit of a step that is being paid for is measured by this clock: two days ahead for one reply,
    and the step would be stopped.

    Args:
        clock: the clock here, by which one also waits.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead_s = 0.0
        self._last: float | None = None
        self._suspected_s: float | None = None

    @property
    def local(self) -> Clock:
        """The clock here, uncorrected: for patience, which no correction may cut short."""
        return self._clock

    def now(self) -> float:
        """Seconds since the epoch, by the cloud's clock as far as it is known."""
        return self.time_of(self.reading())

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass, or return early once `stop` is set."""
        self._clock.sleep(seconds, stop)

    def reading(self) -> float:
        """What the clock here shows, uncorrected: for `time_of`, once replies have come."""
        read = self._clock.now()
        with self._lock:
            self._last = read if self._last is None else max(self._last, read)
        return read

    def time_of(self, reading: float) -> float:
        """The cloud's time at a `reading`, in seconds since the epoch."""
        with self._lock:
            return reading + self._ahead_s

    @property
    def last_reading(self) -> float | None:
        """The latest `reading`, None if there is none: to be kept before a request is sent."""
        with self._lock:
            return self._last

    def hear(self, date: str | None, sent: float | None) -> None:
        """Take the `Date` of a reply that has just come; one that cannot be read is left alone.

        Args:
            date: the header; None if the reply has none.
            sent: a `reading` of before the request was sent; None if there is none.
        """
        moment = http_date(date)
        if moment is None:
            return
        dated = moment.timestamp()
        least_s = dated - self.reading()
        with self._lock:
            ahead_s = self._ahead_s
            if sent is not None:
                ahead_s = min(ahead_s, dated + 1.0 - sent)
            ahead_s = max(ahead_s, least_s)
            suspected_s, self._suspected_s = self._suspected_s, None
            if abs(ahead_s - self._ahead_s) > _MINUTE_S and (
                suspected_s is None or abs(ahead_s - suspected_s) > _MINUTE_S
            ):
                self._suspected_s = ahead_s
            else:
                self._ahead_s = ahead_s


def http_date(text: str | None) -> datetime | None:
    """A date as HTTP has it (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7); None for what
    cannot be read. One without a zone is GMT, whatever zone is set here."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def cloud_clock(clock: Clock) -> CloudClock:
    """A clock that follows a cloud's replies: the same one, if it does already."""
    return clock if isinstance(clock, CloudClock) else CloudClock(clock)
