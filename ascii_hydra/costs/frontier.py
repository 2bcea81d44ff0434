"""Which of several ways to do the same work are worth considering: the Pareto front of cost and
time, as far as their bands tell the ways apart.

For two points a and b, with the band of cost `[a.usd.low, a.usd.high]` and that of time likewise:

    a is cheaper than b     a.usd.high <  b.usd.low      (faster: the same of time)
    a is no dearer than b   a.usd.high <= b.usd.low      (no slower: the same of time)
    a dominates b           a is no dearer and no slower, and cheaper or faster
    a and b are a choice    one is cheaper, the other is faster
    a and b are equal       each is no dearer and no slower than the other
    told apart              one dominates the other, or they are a choice, or equal

`compared_bands` says which bands count, and which points are never told apart, because their
durations say nothing of their difference. A wider band never tells apart what a narrower one does
not, and never makes a point dominated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_HOUR_S = 3600.0

MARGIN = 0.05
"""How far a figure may be off, either way, of which no wider spread is known: of one run, and of
the cost of a plan.

Two runs whose figures differ by less than 2 x 5 % are not told apart. A bill counts the start and
the end of each instance to about a minute (docs/costs.md, "How an EMR bill is made"), which is 5 %
of a step of 20 minutes. Durations vary besides: the same benchmark, run repeatedly on AWS for three
months, had a coefficient of variation below 3.7 % (Henning et al., "When Should I Run My
Application Benchmark?", arXiv 2504.11826), and 10 % is twice the standard deviation of a difference
of two such runs.
"""


@dataclass(frozen=True)
class Band:
    """Between what a figure is known to be."""

    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """It has an end."""
        return self.high < math.inf

    @classmethod
    def around(cls, value: float, spread: tuple[float, float] | None = None) -> Band:
        """The spread of a figure, at least MARGIN either way."""
        low, high = spread or (value, value)
        return cls(min(low, value * (1 - MARGIN)), max(high, value * (1 + MARGIN)))

    def is_below(self, other: Band) -> bool:
        """All of it is below all of the other."""
        return self.high < other.low

    def is_not_above(self, other: Band) -> bool:
        """Nothing of it is above anything of the other."""
        return self.high <= other.low


UNKNOWN = Band(0.0, math.inf)
"""Of a figure that says nothing."""


@dataclass(frozen=True)
class Timing:
    """The execution of a step in a plan.

    Attributes:
        step: its name.
        computing: the machines.
        run_s: how long it is expected to execute.
        told: somebody said so.
    """

    step: str
    computing: str
    run_s: float
    told: bool


@dataclass(frozen=True)
class Point:
    """One way to do the work.

    Attributes:
        usd: what it costs.
        duration_s: how long it takes.
        estimated: one of both is an estimate; it decides nothing.
        usd_band, duration_band: the band of each; None for exactly that.
        timings: of a plan, where the duration is from, step by step.
    """

    usd: float
    duration_s: float
    estimated: bool = field(default=False, compare=False)
    usd_band: Band | None = None
    duration_band: Band | None = None
    timings: tuple[Timing, ...] = ()

    @property
    def bands(self) -> tuple[Band, Band]:
        """Those of cost and time."""
        return (
            self.usd_band or Band(self.usd, self.usd),
            self.duration_band or Band(self.duration_s, self.duration_s),
        )

    def dominates(self, other: Point) -> bool:
        """It is surely no worse in cost and in time, and surely better in one of them."""
        return (both := compared_bands(self, other)) is not None and _dominates(*both)

    def is_told_apart_from(self, other: Point) -> bool:
        """One of both dominates the other, or they are a choice, or equal."""
        both = compared_bands(self, other)
        return both is not None and _told_apart(*both)


_Bands = tuple[Band, Band]


def compared_bands(one: Point, other: Point) -> tuple[_Bands, _Bands] | None:
    """The bands of cost and time that two points are compared by; None if nothing tells them
    apart.

    None: a step has the same told duration on different machines, which says nothing of either.
    Every step has the same expected execution on the same machines: it is one duration, and what
    they differ by (start-up, market, discounts) does not depend on it; so time counts exactly, and
    cost with MARGIN alone. Else the points' own bands.
    """
    pairs = list(zip(one.timings, other.timings, strict=False))
    if any(_is_told_alike(*pair) for pair in pairs):
        return None
    if pairs and one.timings == other.timings:
        return _at_one_duration(one), _at_one_duration(other)
    return one.bands, other.bands


def _is_told_alike(one: Timing, other: Timing) -> bool:
    same = one.told and other.told and (one.step, one.run_s) == (other.step, other.run_s)
    return same and one.computing != other.computing


def _at_one_duration(one: Point) -> _Bands:
    return Band.around(one.usd), Band(one.duration_s, one.duration_s)


def _dominates(one: _Bands, other: _Bands) -> bool:
    no_worse = all(a.is_not_above(b) for a, b in zip(one, other, strict=True))
    return no_worse and any(a.is_below(b) for a, b in zip(one, other, strict=True))


def _told_apart(one: _Bands, other: _Bands) -> bool:
    (usd, time), (other_usd, other_time) = one, other
    return (
        _dominates(one, other)
        or _dominates(other, one)
        or (usd.is_below(other_usd) and other_time.is_below(time))
        or (other_usd.is_below(usd) and time.is_below(other_time))
        or all(a.is_not_above(b) and b.is_not_above(a) for a, b in zip(one, other, strict=True))
    )


class Place(StrEnum):
    """How a point compares with the others of the same work."""

    alone = "not compared"
    """There is no other."""
    cheapest = "cheapest"
    """On the front, and cheaper than all others there."""
    front = "front"
    """On the front: none dominates it, and it is told apart from all others that none dominates."""
    dominated = "dominated"
    """Another one dominates it."""
    not_told_apart = "not told apart"
    """None dominates it, and it is not told apart from another that none dominates."""


@dataclass(frozen=True)
class Standing:
    """How a point compares with the others.

    Attributes:
        place: in a word. Points that are equal share theirs.
        usd_per_hour_saved: what each hour costs by which it is faster than the next cheaper point,
            if both are on the front; else None.
        estimated: that price rests on an estimate.
        alike: indices of the points that it is not told apart from, if that is its place.
    """

    place: Place
    usd_per_hour_saved: float | None = None
    estimated: bool = False
    alike: tuple[int, ...] = ()

    @property
    def on_front(self) -> bool:
        """It is surely on the front."""
        return self.place in {Place.cheapest, Place.front}


def standings(points: Sequence[Point]) -> list[Standing]:
    """The standing of each point, in their order. A price is told between neighbours that both are
    on the front, and so are told apart in cost and in time."""
    if len(points) == 1:
        return [Standing(Place.alone)]
    numbered = list(enumerate(points))
    kept = [
        (number, one)
        for number, one in numbered
        if not any(other.dominates(one) for other in points)
    ]
    alike = {
        number: tuple(
            other for other, that in kept if other != number and not one.is_told_apart_from(that)
        )
        for number, one in kept
    }
    found = {
        number: Standing(Place.not_told_apart, alike=others)
        for number, others in alike.items()
        if others
    }
    for number, one in kept:
        if number in found:
            continue
        # Those that are equal to it are no neighbours of it.
        below = [(that.usd, other) for other, that in kept if that.usd < one.usd]
        if not below:
            found[number] = Standing(Place.cheapest)
            continue
        nearest = max(below)[1]
        found[number] = Standing(Place.front) if alike[nearest] else _priced(one, points[nearest])
    return [found.get(number, Standing(Place.dominated)) for number, _ in numbered]


def _priced(one: Point, cheaper: Point) -> Standing:
    saved_h = (cheaper.duration_s - one.duration_s) / _HOUR_S
    price = (one.usd - cheaper.usd) / saved_h
    return Standing(Place.front, price, one.estimated or cheaper.estimated)
