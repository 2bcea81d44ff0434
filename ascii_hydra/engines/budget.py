"""`launch.budget_usd` while steps run: a meter for every launch of this process.

What a launch has spent is what the bills of its ended attempts say, and what its running ones have
used by now, as their clouds tell it: by the same functions that make the bill. So a step that waits
for instances is not stopped for those it was not given. What has no price is not counted, and said.

A cloud that fails to tell now and then stops nothing. Once it has failed for ten minutes, the plan
counts until it tells again: no budget is left unwatched, neither for a throttled account nor for a
fault in the arithmetic of the bill.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.budget_silence import SHORTEST_PAUSE_S, Silence, lengthened
from ascii_hydra.engines.clock import Clock
from ascii_hydra.engines.interrupts import EitherEvent
from ascii_hydra.engines.wording import exception_words, money

# By the clock. The next look is at the moment at which the money would be spent at the present
# rate; but within a minute, for any cluster may grow meanwhile (managed scaling, autoscale, spot
# that falls back to on demand, a resize by hand); and a bit earlier than that at random, so that
# the steps of an account do not ask all at once.
_SHORTEST_S, _MINUTE_S = 2.0, 60.0
_EARLIEST = 0.75
_HOUR_S = 3600.0
_JOIN_S = 1.0  # of real time

Planned = Callable[[float], Bill]
"""What is expected to have been spent so many seconds after a submission."""
Measure = Callable[[], Bill]
"""What has been used by now, as the cloud tells it. Raises UnmeasuredError; any other exception is
a fault of its own, and counts as that."""


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
        last: the last look at the running attempt that did not fail; None before.
        silence: the looks that have failed since then; None if the last one did not.
        silence_noticed: it has been said once that the plan counts.
    """

    clock: Clock
    planned: Planned
    goes_on: bool
    state: tuple[float, float | None] = (0.0, None)
    measure: Measure | None = None
    last: _Look | None = None
    silence: Silence | None = None
    silence_noticed: bool = False
    woken: threading.Event = field(default_factory=threading.Event)
    looking: threading.Lock = field(default_factory=threading.Lock)

    def look(self, *, finally_: bool = False) -> None:
        """Ask what is used, unless that was asked a moment ago, or failed a while ago.

        Args:
            finally_: a step would be stopped for what is not told: a minute after the last failure
                is enough.
        """
        with self.looking:
            state, before, silence = self.state, self.last, self.silence
            since, now = state[1], self.clock.now()
            # A clock that was corrected backwards must not put a look off.
            if since is None or (before is not None and 0 <= now - before.at < _SHORTEST_S):
                return
            if silence is not None:
                pause_s = SHORTEST_PAUSE_S if finally_ else silence.pause_s
                if 0 <= now - silence.last < pause_s:
                    return
            elapsed_s = max(0.0, now - since)
            per_s = self._planned_usd_per_s(elapsed_s)
            measure = self.measure
            if measure is None:
                usd = self.planned(elapsed_s).known_usd
            else:
                try:
                    usd = measure().known_usd
                except Exception as fault:  # noqa: BLE001 - it is said, and the plan counts
                    if self.state is state:
                        self.silence = lengthened(silence, now, _reason(fault))
                    return
            if before is not None and now > before.at:
                per_s = max(per_s, (usd - before.usd) / (now - before.at))
            if self.state is state:  # it has not ended meanwhile
                self.last, self.silence = _Look(now, usd, per_s), None

    def begin(self) -> None:
        """Another attempt runs."""
        self.state, self.last, self.silence = (self.state[0], self.clock.now()), None, None
        self.woken.set()

    def settle(self, usd: float) -> None:
        """No attempt runs; all of them have cost this."""
        self.state, self.last, self.silence = (usd, None), None, None

    @property
    def plan_counts(self) -> bool:
        """The cloud has not told for so long that what is expected counts as spent."""
        silence = self.silence
        return silence is not None and silence.counts

    @property
    def usd(self) -> float:
        """What it had cost at the last look, or what is expected if the plan counts."""
        if self.plan_counts:
            return self.expected[0]
        last = self.last
        return self.state[0] + (0.0 if last is None else last.usd)

    @property
    def expected(self) -> tuple[float, float]:
        """What it may have cost by now, in USD, and how much more it may cost each second."""
        (ended_usd, since), last = self.state, self.last
        if last is not None:
            elapsed_s = max(0.0, self.clock.now() - last.at)
            return ended_usd + last.usd + elapsed_s * last.usd_per_s, last.usd_per_s
        if since is None or not self.plan_counts:
            return ended_usd, 0.0
        elapsed_s = max(0.0, self.clock.now() - since)
        planned_usd = self.planned(elapsed_s).known_usd
        return ended_usd + planned_usd, self._planned_usd_per_s(elapsed_s)

    def _planned_usd_per_s(self, elapsed_s: float) -> float:
        soon_usd = self.planned(elapsed_s + _HOUR_S).known_usd
        return (soon_usd - self.planned(elapsed_s).known_usd) / _HOUR_S


def _reason(fault: Exception) -> str:
    """Why a look has failed: a clause."""
    if isinstance(fault, UnmeasuredError):
        return f"the cloud does not tell what is used ({fault})"
    words = exception_words(type(fault).__name__, str(fault))
    return f"what is used cannot be measured ({words})"


@dataclass
class _Meter:
    """Everything of one launch that costs money."""

    metered: dict[str, _Metered] = field(default_factory=dict)
    stops: list[threading.Event] = field(default_factory=list)
    noticed: bool = False
    reached: bool = False
    reached_by_plan: bool = False

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

    def __init__(
        self,
        meter: _Meter,
        limit_usd: float,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self.stop = EitherEvent(stop)
        self.fault: BaseException | None = None
        self._meter = meter
        self._limit_usd = limit_usd
        self._say = say

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
        by_plan = ", and as planned where it could not be measured"
        return (
            f"launch.budget_usd={self._limit_usd:g}: {what}, {money(self._meter.usd)} were spent"
            " (of all steps, as far as prices are known"
            f"{by_plan if self._meter.reached_by_plan else ''}). Raise launch.budget_usd, or choose"
            " less: a smaller cluster, fewer partitions."
        )

    def look(self, own: _Metered) -> float:
        """Ask what this step, and what the launch's steps share, has used by now.

        Returns:
            Seconds until the next look; 0 once the money is spent.
        """
        mine = [one for one in self._meter.every if one is own or one.goes_on]
        for one in mine:
            one.look()
        if self._meter.usd >= self._limit_usd:
            for one in mine:
                if one.plan_counts:
                    one.look(finally_=True)
        for one in mine:
            self._notice(one)
        every = self._meter.every
        if self._meter.usd >= self._limit_usd:
            self._meter.reached_by_plan = any(one.plan_counts for one in every)
            self._meter.reached = True
            return 0.0
        left_s = self._meter.left_s(self._limit_usd)
        pause_s = _MINUTE_S * random.uniform(_EARLIEST, 1.0)  # noqa: S311 - nothing secret
        # What fails at the moment has been expected to be spent for longer and longer, and no look
        # tells: near the end, too, a minute is early enough.
        if any(one.silence is not None and not one.plan_counts for one in every):
            return pause_s
        return max(_SHORTEST_S, min(left_s, pause_s))

    def _notice(self, one: _Metered) -> None:
        """Say once that the plan counts, if it does."""
        silence = one.silence
        with _LOCK:
            if silence is None or not silence.counts or one.silence_noticed:
                return
            one.silence_noticed = True
        self._say(
            f"launch.budget_usd={self._limit_usd:g}: {silence.reason}; the plan counts as long as"
            " this lasts"
        )

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
        say: is told, once a launch, what cannot be watched because it has no price; and once a step
            that the plan counts, because the cloud has not told for long what is used.
        goes_on: it costs money after the step, until the launch ends.
    """
    with _LOCK:
        meter = _METERS.setdefault(launch, _Meter())
        one = meter.metered.setdefault(name, _Metered(clock, planned, goes_on))
        watch = Watch(meter, limit_usd, stop, say)
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
        if not one.goes_on and one.state[1] is not None:
            one.settle(one.usd)  # it ended without a bill; the plan must not count on for it
        with _LOCK:
            meter.stops.remove(watch.stop)
