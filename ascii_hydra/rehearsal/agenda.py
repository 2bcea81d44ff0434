"""What is to happen in the rehearsal cloud, and when, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ascii_hydra.rehearsal.clock import VirtualClock


@dataclass(order=True)
class Appointment:
    """Something that is to happen.

    Attributes:
        due: virtual time, in seconds since the epoch.
        cancelled: set it to let nothing happen.
    """

    due: float
    number: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Agenda:
    """Appointments in virtual time, kept by one thread.

    Attributes:
        lock: held while anything happens; see `moment`.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._numbers = itertools.count()
        self._coming: list[Appointment] = []
        self._happening: float | None = None
        self._closed = False
        self._woken = threading.Event()
        clock.tell_changes(self._woken.set)
        self._thread = threading.Thread(target=self._keep, name="agenda", daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Virtual time; while an appointment is kept, exactly the time at which it was due."""
        return self._clock.now() if self._happening is None else self._happening

    def after(self, seconds: float, action: Callable[[], None]) -> Appointment:
        """Let something happen so many virtual seconds from now; below 0, it happens at once and
        its time is that past one."""
        with self.lock:
            appointment = Appointment(self.now() + seconds, next(self._numbers), action)
            heapq.heappush(self._coming, appointment)
        self._woken.set()
        return appointment

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Hold the lock, after everything that is due has happened; meanwhile time stands still."""
        with self.lock:
            self._catch_up()
            before = self._happening
            self._happening = self.now()
            try:
                yield
            finally:
                self._happening = before

    def close(self) -> None:
        """Nothing more happens."""
        self._closed = True
        self._woken.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._closed:
            self._woken.clear()
            with self.lock:
                self._catch_up()
                due = self._coming[0].due if self._coming else None
            self._woken.wait(None if due is None else self._clock.real_seconds_until(due))

    def _catch_up(self) -> None:
        if self._happening is not None:
            return
        while self._coming and self._coming[0].due <= self._clock.now():
            appointment = heapq.heappop(self._coming)
            if appointment.cancelled:
                continue
            self._happening = appointment.due
            try:
                appointment.action()
            finally:
                self._happening = None
