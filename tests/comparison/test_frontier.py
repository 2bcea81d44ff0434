"""The front of cost and time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.costs.frontier import (
    MARGIN,
    UNKNOWN,
    Band,
    Place,
    Point,
    Standing,
    Timing,
    standings,
)

# Means per step and engine of the production runs in table 1 of arXiv 2408.11635: hours and USD.
MEASURED = {
    "nodes": {"E": (0.39, 0.41), "D": (0.23, 0.50)},
    "edges": {"E": (10.24, 405.79), "D": (5.71, 766.17)},
    "graph": {"E": (0.94, 4.71), "D": (0.38, 17.67)},
    "graph_aggr": {"E": (0.25, 2.31), "D": (0.11, 0.93)},
}
# Of the sixteen assignments of an engine to each step, computed by hand: hours, USD, and what each
# hour costs that is saved against the line above.
FRONT = {
    "EEED": (11.68, 411.84, None),
    "DEED": (11.52, 411.93, 0.56),
    "EEDD": (11.12, 424.80, 32.2),
    "DEDD": (10.96, 424.89, 0.56),
    "EDED": (7.15, 772.22, 91.2),
    "DDED": (6.99, 772.31, 0.56),
    "EDDD": (6.59, 785.18, 32.2),
    "DDDD": (6.43, 785.27, 0.56),
}


def assignment(engines: str) -> Point:
    each = [MEASURED[step][one] for step, one in zip(MEASURED, engines, strict=True)]
    return Point(sum(usd for _, usd in each), sum(hours for hours, _ in each) * 3600)


def test_the_sixteen_assignments_of_the_paper() -> None:
    names = ["".join(one) for one in product("ED", repeat=4)]
    points = {name: assignment(name) for name in names}
    found = dict(zip(names, standings(list(points.values())), strict=True))
    assert {name for name, one in found.items() if one.on_front} == set(FRONT)
    for name, (hours, usd, per_hour) in FRONT.items():
        assert points[name].usd == pytest.approx(usd, abs=0.011)
        assert points[name].duration_s / 3600 == pytest.approx(hours, abs=0.001)
        price = found[name].usd_per_hour_saved
        assert price == (None if per_hour is None else pytest.approx(per_hour, rel=0.01))
    # The paper's first and third run: nodes, edges and graph_aggr on EMR.
    assert not found["EEDE"].on_front
    assert not found["EEEE"].on_front


CHEAPEST, DOMINATED = Standing(Place.cheapest), Standing(Place.dominated)
ALONE = Standing(Place.alone)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(5, 10)], [ALONE], id="one"),
        pytest.param([(5, 10), (5, 10)], [CHEAPEST, CHEAPEST], id="equal"),
        pytest.param([(5, 10), (5, 9)], [DOMINATED, CHEAPEST], id="one_cost"),
        pytest.param([(5, 10), (4, 10)], [DOMINATED, CHEAPEST], id="one_time"),
        pytest.param(
            [(0, 10), (0, 10), (1, 20)], [CHEAPEST, CHEAPEST, DOMINATED], id="for_nothing"
        ),
        pytest.param(
            [(7, 3600), (1, 7200), (7, 3600)],
            [Standing(Place.front, 6.0), CHEAPEST, Standing(Place.front, 6.0)],
            id="equal_and_dearer",
        ),
    ],
)
def test_ties(points: list[tuple[float, float]], expected: list[Standing]) -> None:
    assert standings([Point(*one) for one in points]) == expected


figures = st.floats(0, 1e6, allow_nan=False).map(lambda one: round(one, 2))
some_points = st.lists(st.builds(Point, figures, figures), min_size=2, max_size=30)


@given(some_points)
def test_the_front_is_what_nothing_dominates(points: list[Point]) -> None:
    for one, standing in zip(points, standings(points), strict=True):
        assert standing.on_front == (not any(other.dominates(one) for other in points))


@given(some_points)
def test_along_the_front_what_costs_more_is_faster(points: list[Point]) -> None:
    found = standings(points)
    front = sorted(
        {one for one, told in zip(points, found, strict=True) if told.on_front},
        key=lambda one: one.usd,
    )
    for cheaper, dearer in pairwise(front):
        assert cheaper.usd < dearer.usd
        assert cheaper.duration_s > dearer.duration_s
    assert all(one.usd_per_hour_saved is None or one.usd_per_hour_saved > 0 for one in found)
    # One price for each front point but the cheapest, and none for any other.
    priced = {one for one, told in zip(points, found, strict=True) if told.usd_per_hour_saved}
    assert priced == set(front[1:])


@given(some_points, st.randoms())
def test_the_order_of_the_points_does_not_matter(points, random) -> None:
    shuffled = random.sample(points, len(points))
    assert dict(zip(points, standings(points), strict=True)) == dict(
        zip(shuffled, standings(shuffled), strict=True)
    )


# --- bands ----------------------------------------------------------------------------------------

few = st.integers(0, 12).map(float)  # so that ends meet
shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])
machines = st.sampled_from(["emr: 2 x a", "emr: 4 x a", "databricks: 2 x a"])
durations = st.tuples(machines, st.sampled_from([60.0, 120.0]), st.booleans())


def banded(
    usd: float, s: float, shares: tuple[float, ...], timing: tuple[str, float, bool] | None
) -> Point:
    low_usd, high_usd, low_s, high_s = shares
    return Point(
        usd,
        s,
        usd_band=Band(usd * (1 - low_usd), usd * (1 + high_usd)),
        duration_band=Band(s * (1 - low_s), s * (1 + high_s)),
        timings=() if timing is None else (Timing("step_1", *timing),),
    )


some_banded = st.lists(
    st.builds(banded, few, few, st.tuples(*[shares] * 4), st.none() | durations),
    min_size=2,
    max_size=8,
)
widths = st.tuples(*[st.floats(0, 20)] * 4)


def widened(point: Point, by: tuple[float, ...]) -> Point:
    usd, time = point.bands
    return replace(
        point,
        usd_band=Band(usd.low - by[0], usd.high + by[1]),
        duration_band=Band(time.low - by[2], time.high + by[3]),
    )


@given(some_banded)
def test_no_point_dominates_itself_or_what_dominates_it(points: list[Point]) -> None:
    for one, other in product(points, repeat=2):
        assert not one.dominates(one)
        assert not (one.dominates(other) and other.dominates(one))
        assert one.is_told_apart_from(other) == other.is_told_apart_from(one)


@given(some_banded)
def test_without_words_of_durations_what_dominates_is_passed_on(points: list[Point]) -> None:
    bare = [replace(one, timings=()) for one in points]
    for one, other, third in product(bare[:5], repeat=3):
        if one.dominates(other) and other.dominates(third):
            assert one.dominates(third)


@given(some_banded, widths, st.data())
def test_a_wider_band_never_makes_a_ranking(
    points: list[Point], by: tuple[float, ...], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(points) - 1))
    wider = [widened(one, by) if at == number else one for at, one in enumerate(points)]
    for (one, other), (one_wider, other_wider) in zip(
        product(points, repeat=2), product(wider, repeat=2), strict=True
    ):
        assert one.dominates(other) or not one_wider.dominates(other_wider)
        assert one.is_told_apart_from(other) or not one_wider.is_told_apart_from(other_wider)


@given(some_banded)
def test_a_place_is_what_its_words_say(points: list[Point]) -> None:
    found = standings(points)
    kept = [at for at, one in enumerate(points) if not any(o.dominates(one) for o in points)]
    for at, standing in enumerate(found):
        alike = [
            other
            for other in kept
            if other != at and not points[at].is_told_apart_from(points[other])
        ]
        if at not in kept:
            assert standing == Standing(Place.dominated)
        elif alike:
            assert standing == Standing(Place.not_told_apart, alike=tuple(alike))
        else:
            assert standing.on_front
        # Of what is not told apart, nothing but that is said.
        assert standing.usd_per_hour_saved is None or standing.place is Place.front
    if Place.cheapest in [one.place for one in found]:
        at = next(at for at, one in enumerate(found) if one.place is Place.cheapest)
        others = [other for other in kept if points[other].usd != points[at].usd]
        assert all(points[at].usd < points[other].usd for other in others)


@given(some_banded)
def test_what_says_nothing_is_told_apart_from_nothing(points: list[Point]) -> None:
    nothing = Point(0.01, 1.0, usd_band=UNKNOWN, duration_band=UNKNOWN)
    above = [one for one in points if one.usd and one.duration_s]
    for one in above:
        assert not nothing.is_told_apart_from(one)


def test_equal_told_minutes_tell_no_machines_apart_but_markets() -> None:
    def plan(usd: float, computing: str, *, told: bool) -> Point:
        timing = Timing("step_1", computing, 3600.0, told)
        time = Band(3600.0, 3600.0) if told else Band(1800.0, 7200.0)
        return Point(
            usd, 3600.0, usd_band=Band(0.5 * usd, 2 * usd), duration_band=time, timings=(timing,)
        )

    for told in (True, False):
        on_demand, on_spot = plan(10.0, "a", told=told), plan(6.0, "a", told=told)
        # One duration for both, whatever it is: on spot the same costs less.
        assert on_spot.dominates(on_demand)
        assert not plan(9.8, "a", told=told).is_told_apart_from(on_demand)
        assert not plan(2.0, "b", told=told).is_told_apart_from(on_demand)


def test_single_runs_are_told_apart_by_a_tenth() -> None:
    def run(usd: float, s: float) -> Point:
        return Point(usd, s, usd_band=Band.around(usd), duration_band=Band.around(s))

    assert MARGIN == 0.05
    found = standings([run(10.0, 3600), run(10.9, 1800)])
    assert {one.place for one in found} == {Place.not_told_apart}
    found = standings([run(10.0, 3600), run(11.2, 1800)])
    assert found == [CHEAPEST, Standing(Place.front, pytest.approx(2.4))]


def test_no_price_an_hour_against_a_neighbour_that_is_not_told_apart() -> None:
    cheap = [banded(usd, 9.0, (0.05,) * 4, None) for usd in (1.0, 1.01)]
    dear = banded(3.0, 2.0, (0.05,) * 4, None)
    assert [one.place for one in standings([*cheap, dear])] == [
        Place.not_told_apart, Place.not_told_apart, Place.front,
    ]  # fmt: skip
    assert standings([*cheap, dear])[2].usd_per_hour_saved is None
