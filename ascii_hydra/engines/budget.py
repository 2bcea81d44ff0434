"""`launch.budget_usd` while steps run: a meter for every launch of this process.

What a launch has spent is what the bills of its ended attempts say, and what its running steps have
cost by now if they use what was asked for: their planned usage for the time since their submission,
by the cloud's clock. What has no price is not counted, and said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.clock import Clock
from ascii_hydra.engines.interrupts import EitherEvent
from ascii_hydra.engines.wording import exception_words, money

# By the clock: the longest and the shortest pause of a watch, which else waits for the very moment
# at which the money will be spent.
_LONGEST_S, _SHORTEST_S = 60.0, 0.05
_HOUR_S = 3600.0

Planned = Callable[[float], Bill]
"""What is expected to have been spent so many seconds after a submission."""


@dataclass
class _Metered:
    """A step, or a cluster that steps share.

    Attributes:
        state: what its ended attempts have cost, and since when another one runs; None while none
            does. Replaced as one, for the watches read it while the step's thread changes it.
    """

    clock: Clock
    planned: Planned
    goes_on: bool
    state: tuple[float, float | None] = (0.0, None)
    woken: threading.Event = field(default_factory=threading.Event)

    def usd(self, ahead_s: float = 0.0) -> float:
        """What it will have cost so many seconds from now."""
        settled_usd, since = self.state
        if since is None:
            return settled_usd
        elapsed_s = max(0.0, self.clock.now() - since) + ahead_s
        return settled_usd + self.planned(elapsed_s).known_usd


@dataclass
class _Meter:
    """Everything of one launch that costs money."""

    metered: dict[str, _Metered] = field(default_factory=dict)
    stops: list[threading.Event] = field(default_factory=list)
    noticed: bool = False
    reached: bool = False

    def usd(self, ahead_s: float = 0.0) -> float:
        """What it and the rows before it will have cost so many seconds from now."""
        with _LOCK:
            every = list(self.metered.values())
        return _before_usd + sum(one.usd(ahead_s) for one in every)


_LOCK = threading.Lock()
_METERS: dict[str, _Meter] = {}
_before_usd = 0.0
# What the client in this thread runs.
_CURRENT: ContextVar[_Metered | None] = ContextVar("metered", default=None)


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
    one = _CURRENT.get()
    if one is not None and one.state[1] is None:
        one.state = (one.state[0], one.clock.now())
        one.woken.set()


def settled(usd: float) -> None:
    """An attempt at the step that this thread runs has ended.

    Args:
        usd: what all attempts at it have cost.
    """
    one = _CURRENT.get()
    if one is not None and not one.goes_on:
        one.state = (usd, None)


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
            f"launch.budget_usd={self._limit_usd:g}: {what}, {money(self._meter.usd())} were spent"
            " (of all steps, as far as prices are known). Raise launch.budget_usd, or choose less:"
            " a smaller cluster, fewer partitions."
        )

    def look(self, ahead_s: float = _HOUR_S) -> float:
        """Seconds until the money will be spent at the present rate; 0 once it is."""
        spent_usd = self._meter.usd()
        if spent_usd >= self._limit_usd:
            self._meter.reached = True
            return 0.0
        per_s = (self._meter.usd(ahead_s) - spent_usd) / ahead_s
        return (self._limit_usd - spent_usd) / per_s if per_s > 0 else float("inf")

    def watch(self, one: _Metered, over: threading.Event) -> None:
        """Stop every step of the launch as soon as the money is spent."""
        try:
            self._watch(one, over)
        except BaseException as fault:  # noqa: BLE001 - the step is stopped for it, and says so
            self.fault = fault
            self.stop.set()

    def _watch(self, one: _Metered, over: threading.Event) -> None:
        while not over.is_set():
            left_s = self.look()
            if self.reached:
                with _LOCK:
                    stops = list(self._meter.stops)
                for stop in stops:
                    stop.set()
                return
            one.clock.sleep(min(max(left_s, _SHORTEST_S), _LONGEST_S), one.woken)
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
        planned: what that costs, by the time since it was submitted.
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
    watch.look()
    over = threading.Event()
    thread = threading.Thread(target=watch.watch, args=(one, over), name="budget", daemon=True)
    token = _CURRENT.set(one)
    thread.start()
    try:
        yield watch
    finally:
        _CURRENT.reset(token)
        over.set()
        one.woken.set()
        thread.join()
        with _LOCK:
            meter.stops.remove(watch.stop)
