"""The rehearsal cloud's time: quick while a real cloud would only wait, true while a step runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.request import urlopen

_SLICE_S = 0.05  # real time after which a client looks again, for the rate may have changed
_ANSWER_S = 10.0


class VirtualClock:
    """The time inside the rehearsal cloud.

    It runs `speed` virtual seconds per second, but at the real pace as long as a step really
    executes, so that a step takes as long as it takes.
    """

    def __init__(self, speed: float) -> None:
        self._lock = threading.Lock()
        self._told: list[Callable[[], None]] = []
        self._speed = speed
        self._executing = 0
        self._virtual = time.time()
        self._real = time.monotonic()

    @property
    def speed(self) -> float:
        """Virtual seconds per second while no step really executes."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._lock:
            self._rebase()
            self._speed = speed
        self._tell()

    @property
    def rate(self) -> float:
        """Virtual seconds per second now."""
        return 1.0 if self._executing else self._speed

    def now(self) -> float:
        """Virtual seconds since the epoch."""
        with self._lock:
            return self._now()

    @contextmanager
    def real_pace(self) -> Iterator[None]:
        """Virtual time passes as real time does; this may be asked for several times at once."""
        self._execute(1)
        try:
            yield
        finally:
            self._execute(-1)

    def real_seconds_until(self, due: float) -> float:
        """Real time until a virtual time, if the pace stays as it is; 0 if that is past."""
        with self._lock:
            return max(0.0, (due - self._now()) / self.rate)

    def tell_changes(self, told: Callable[[], None]) -> None:
        """Call this at every change of the pace."""
        self._told.append(told)

    def _execute(self, more: int) -> None:
        with self._lock:
            self._rebase()
            self._executing += more
        self._tell()

    def _tell(self) -> None:
        for told in self._told:
            told()

    def _now(self) -> float:
        return self._virtual + (time.monotonic() - self._real) * self.rate

    def _rebase(self) -> None:
        self._virtual, self._real = self._now(), time.monotonic()


class RehearsalClock:
    """The time of a rehearsal cloud in another process, for those who wait for that cloud.

    Once the cloud is gone, the time goes on from what it last was, at the real pace.

    Args:
        url: the cloud's address.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/_rehearsal/clock"
        self._lock = threading.Lock()
        self._last: tuple[float, float] | None = None

    def now(self) -> float:
        """Virtual seconds since the epoch."""
        return self._state()[0]

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Let virtual time pass, or return early once `stop` is set."""
        now, rate = self._state()
        due = now + seconds
        while now < due and not stop.wait(min((due - now) / rate, _SLICE_S)):
            now, rate = self._state()

    def _state(self) -> tuple[float, float]:
        try:
            with urlopen(self._url, timeout=_ANSWER_S) as reply:  # noqa: S310 - http, by our own
                told = json.load(reply)
            now, rate = float(told["now"]), float(told["rate"])
        except (OSError, HTTPException, ValueError, KeyError):
            with self._lock:
                virtual, real = self._last or (time.time(), time.monotonic())
                return virtual + time.monotonic() - real, 1.0
        with self._lock:
            self._last = now, time.monotonic()
        return now, rate
