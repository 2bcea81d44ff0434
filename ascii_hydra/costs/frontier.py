"""Which of several ways to do the same work are worth considering: the Pareto front of cost and
time, and what each hour saved along it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Point:
    """One way to do the work.

    Attributes:
        usd: what it costs.
        duration_s: how long it takes.
        estimated: one of both is an estimate; it decides nothing.
    """

    usd: float
    duration_s: float
    estimated: bool = field(default=False, compare=False)

    def dominates(self, other: Point) -> bool:
        """It is no worse in cost and in time, and better in one of them."""
        no_worse = self.usd <= other.usd and self.duration_s <= other.duration_s
        return no_worse and self != other


@dataclass(frozen=True)
class Standing:
    """How a point compares with the others.

    Attributes:
        on_front: no other dominates it. Points that are equal do not dominate each other: all of
            them are on the front, or none.
        usd_per_hour_saved: what each hour costs by which it is faster than the next cheaper point
            of the front; None for the cheapest, and for one that is not on the front.
        estimated: that price rests on an estimate.
    """

    on_front: bool
    usd_per_hour_saved: float | None = None
    estimated: bool = False


def standings(points: Sequence[Point]) -> list[Standing]:
    """The standing of each point, in their order."""
    front: list[Point] = []
    for one in sorted(set(points), key=lambda point: (point.usd, point.duration_s)):
        # Of one cost the fastest comes first; what follows must be faster than all before it.
        if not front or one.duration_s < front[-1].duration_s:
            front.append(one)
    estimates = {one for one in points if one.estimated}
    found = {one: Standing(on_front=True) for one in front}
    for cheaper, one in pairwise(front):
        saved_h = (cheaper.duration_s - one.duration_s) / _HOUR_S
        doubted = one in estimates or cheaper in estimates
        found[one] = Standing(True, (one.usd - cheaper.usd) / saved_h, doubted)
    return [found.get(one, Standing(on_front=False)) for one in points]
