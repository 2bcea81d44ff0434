"""`launch.budget_usd` while steps run: a meter for every launch of this process.

What a launch has spent is what the bills of its ended attempts say, and what its running ones have
used by now, as their clouds tell it: by the same functions that make the bill. Only that ends a
step. When to ask again follows from what was asked for, and from how fast it was spent lately; so
a step that waits for instances is not stopped for those it was not given. What has no price is not
counted, and said.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.clock import Clock
from ascii_hydra.engines.interrupts import EitherEvent
from ascii_hydra.engines.wording import exception_words, money

# By the clock. The next look is at the moment at which the money would be spent at the present
# rate; but before an eighth of that time is over, for a cluster may grow; and once a minute at
# most, except near that moment.
_SHORTEST_S, _MINUTE_S, _LONGEST_S = 2.0, 60.0, 15 * 60.0
_SHARE = 8
_HOUR_S = 3600.0
_JOIN_S = 1.0  # of real time

Planned = Callable[[float], Bill]
"""What is expected to have been spent so many seconds after a submission."""
Measure = Callable[[], Bill]
"""What has been used by now, as the cloud tells it. Raises UnmeasuredError."""


class UnmeasuredError(Exception):
    """The cloud does not tell at the moment what is used: to be asked again."""


@dataclass(frozen=True)
class _Look:
    """What was spent by one moment.

    Attributes:
        at: that moment, in seconds since the epoch by the clock.
        usd: of the running attempt.
        usd_per_s: as fast as it may go on: as planned, or as it was spent lately if that is faster.
    """

    at: float
    usd: float
    usd_per_s: float


@dataclass
class _Metered:
    """A step, or something that steps share.

    Attributes:
        state: what its ended attempts have cost, and since when another one runs; None while none
            does. Replaced as one, for the watches read it while the step's thread changes it.
        measure: of the running attempt; None to take what was planned.
        last: the last look at the running attempt; None before.
    """

    clock: Clock
    planned: Planned
    goes_on: bool
    state: tuple[float, float | None] = (0.0, None)
    measure: Measure | None = None
    last: _Look | None = None
    woken: threading.Event = field(default_factory=threading.Event)
    looking: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        """Ask what is used, unless that was asked a moment ago."""
        with self.looking:
            state, before = self.state, self.last
            since, now = state[1], self.clock.now()
            if since is None or (before is not None and now - before.at < _SHORTEST_S):
                return
            elapsed_s = max(0.0, now - since)
            soon_usd = self.planned(elapsed_s + _HOUR_S).known_usd
            per_s = (soon_usd - self.planned(elapsed_s).known_usd) / _HOUR_S
            try:
                measure = self.measure
                spent = self.planned(elapsed_s) if measure is None else measure()
            except UnmeasuredError:
                return
            usd = spent.known_usd
            if before is not None:
                per_s = max(per_s, (usd - before.usd) / (now - before.at))
            if self.state is state:  # it has not ended meanwhile
                self.last = _Look(now, usd, per_s)

    def begin(self) -> None:
        """Another attempt runs."""
        self.state, self.last = (self.state[0], self.clock.now()), None
        self.woken.set()

    def settle(self, usd: float) -> None:
        """No attempt runs; all of them have cost this."""
        self.state, self.last = (usd, None), None

    @property
    def usd(self) -> float:
        """What it had cost at the last look."""
        last = self.last
        return self.state[0] + (0.0 if last is None else last.usd)

    @property
    def expected(self) -> tuple[float, float]:
        """What it may have cost by now, in USD, and how much more it may cost each second."""
        last = self.last
        if last is None:
            return self.usd, 0.0
        return self.usd + (self.clock.now() - last.at) * last.usd_per_s, last.usd_per_s


@dataclass
class _Meter:
    """Everything of one launch that costs money."""

    metered: dict[str, _Metered] = field(default_factory=dict)
    stops: list[threading.Event] = field(default_factory=list)
    noticed: bool = False
    reached: bool = False

    @property
    def every(self) -> list[_Metered]:
        """What is metered at this moment."""
        with _LOCK:
            return list(self.metered.values())

    @property
    def usd(self) -> float:
        """What it and the rows before it had cost at the last looks."""
        return _before_usd + sum(one.usd for one in self.every)

    def left_s(self, limit_usd: float) -> float:
        """Seconds until the money may be spent; infinite if nothing is being spent."""
        expected = [one.expected for one in self.every]
        usd = _before_usd + sum(usd for usd, _ in expected)
        per_s = sum(per_s for _, per_s in expected)
        return (limit_usd - usd) / per_s if per_s > 0 else math.inf


_LOCK = threading.Lock()
_METERS: dict[str, _Meter] = {}
_before_usd = 0.0
# What the client in this thread runs, and of which launch.
_CURRENT: ContextVar[tuple[_Meter, _Metered] | None] = ContextVar("metered", default=None)


def spent_before(usd: float) -> None:
    """What the rows of a sweep before this one have cost together: it counts for every launch of
    this process from now on. To be called before each row; the last call counts."""
    global _before_usd  # noqa: PLW0603 - the rows of a sweep follow each other in one process
    _before_usd = usd


def forget(launch: str) -> None:
    """A launch is over."""
    with _LOCK:
        _METERS.pop(launch, None)


def begun() -> None:
    """The step that this thread runs has been submitted: it costs money from now on."""
    current = _CURRENT.get()
    if current is not None and current[1].state[1] is None:
        current[1].begin()


def settled(usd: float) -> None:
    """An attempt at the step that this thread runs has ended.

    Args:
        usd: what all attempts at it have cost.
    """
    current = _CURRENT.get()
    if current is not None and not current[1].goes_on:
        current[1].settle(usd)


def measure_by(measure: Measure) -> None:
    """What the step that this thread runs has used is asked so from now on."""
    current = _CURRENT.get()
    if current is not None:
        current[1].measure = measure


def measure_besides(name: str, measure: Measure) -> None:
    """Something else of the launch of this thread's step costs money, until the launch ends; only
    the first call for it counts.

    Args:
        name: of it.
        measure: what it has used.
    """
    current = _CURRENT.get()
    if current is None:
        return
    meter, step = current
    with _LOCK:
        if name not in meter.metered:
            state = (0.0, step.clock.now())
            meter.metered[name] = _Metered(
                step.clock, lambda _elapsed_s: Bill(), goes_on=True, state=state, measure=measure
            )


class Watch:
    """The budget of a launch, as one of its steps sees it.

    Attributes:
        stop: set once the step is to be stopped, for whatever reason.
        fault: why the money cannot be watched any more, for which the step is stopped; else None.
    """

    def __init__(self, meter: _Meter, limit_usd: float, stop: threading.Event) -> None:
        self.stop = EitherEvent(stop)
        self.fault: BaseException | None = None
        self._meter = meter
        self._limit_usd = limit_usd

    @property
    def reached(self) -> bool:
        """The money is spent; this step, or another one of the launch, has noticed it."""
        return self._meter.reached

    def sentence(self, what: str) -> str:
        """Why a step was stopped, or not begun: `what` says which."""
        if self.fault is not None and not self.reached:
            why = exception_words(type(self.fault).__name__, str(self.fault))
            return (
                f"launch.budget_usd={self._limit_usd:g}: {what}, because what it costs cannot be"
                f" watched any more ({why}). Run it again, or leave launch.budget_usd out."
            )
        return (
            f"launch.budget_usd={self._limit_usd:g}: {what}, {money(self._meter.usd)} were spent"
            " (of all steps, as far as prices are known). Raise launch.budget_usd, or choose less:"
            " a smaller cluster, fewer partitions."
        )

    def look(self, own: _Metered) -> float:
        """Ask what this step, and what the launch's steps share, has used by now.

        Returns:
            Seconds until the next look; 0 once the money is spent.
        """
        for one in self._meter.every:
            if one is own or one.goes_on:
                one.look()
        if self._meter.usd >= self._limit_usd:
            self._meter.reached = True
            return 0.0
        left_s = self._meter.left_s(self._limit_usd)
        if math.isinf(left_s):  # nothing runs, or its cloud has told nothing yet
            return _MINUTE_S
        pause_s = min(left_s, max(_MINUTE_S, left_s / _SHARE), _LONGEST_S)
        return max(_SHORTEST_S, pause_s)

    def watch(self, one: _Metered, over: threading.Event) -> None:
        """Stop every step of the launch as soon as the money is spent."""
        try:
            self._watch(one, over)
        except BaseException as fault:  # noqa: BLE001 - the step is stopped for it, and says so
            self.fault = fault
            self.stop.set()

    def _watch(self, one: _Metered, over: threading.Event) -> None:
        while not over.is_set():
            pause_s = self.look(one)
            if self.reached:
                with _LOCK:
                    stops = list(self._meter.stops)
                for stop in stops:
                    stop.set()
                return
            one.clock.sleep(pause_s, one.woken)
            one.woken.clear()


@contextmanager
def watched(
    launch: str,
    name: str,
    limit_usd: float,
    *,
    planned: Planned,
    clock: Clock,
    stop: threading.Event,
    say: Callable[[str], None],
    goes_on: bool = False,
) -> Iterator[Watch]:
    """Within it, a step's money is metered, and the step stopped when that of the launch is spent.

    Args:
        launch: names the launch.
        name: of what the step's money goes to: the step of a run, or a cluster that several share.
        limit_usd: what the launch may cost.
        planned: what that costs, by the time since it was submitted: it says when to look, and
            counts where nothing is measured (see `measure_by`).
        clock: the cloud's.
        stop: another reason to stop.
        say: is told, once a launch, what cannot be watched because it has no price.
        goes_on: it costs money after the step, until the launch ends.
    """
    with _LOCK:
        meter = _METERS.setdefault(launch, _Meter())
        one = meter.metered.setdefault(name, _Metered(clock, planned, goes_on))
        watch = Watch(meter, limit_usd, stop)
        meter.stops.append(watch.stop)
        unpriced = () if meter.noticed else planned(_HOUR_S).unpriced
        meter.noticed = meter.noticed or bool(unpriced)
    if unpriced:
        say(
            f"launch.budget_usd={limit_usd:g} cannot watch all of it, because nobody knows what"
            f" this costs: {'; '.join(unpriced)}"
        )
    over = threading.Event()
    thread = threading.Thread(target=watch.watch, args=(one, over), name="budget", daemon=True)
    token = _CURRENT.set((meter, one))
    try:
        try:
            watch.look(one)
        except Exception as fault:  # noqa: BLE001 - the step is not begun for it, and says so
            watch.fault = fault
        thread.start()
        yield watch
    finally:
        _CURRENT.reset(token)
        over.set()
        one.woken.set()
        thread.join(_JOIN_S)  # it may be asking the cloud, and what it hears counts no more
        with _LOCK:
            meter.stops.remove(watch.stop)
