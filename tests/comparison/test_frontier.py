"""The front of cost and time."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.costs.frontier import Point, Standing, standings

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


CHEAPEST, DOMINATED = Standing(on_front=True), Standing(on_front=False)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(5, 10)], [CHEAPEST], id="one"),
        pytest.param([(5, 10), (5, 10)], [CHEAPEST, CHEAPEST], id="equal"),
        pytest.param([(5, 10), (5, 9)], [DOMINATED, CHEAPEST], id="one_cost"),
        pytest.param([(5, 10), (4, 10)], [DOMINATED, CHEAPEST], id="one_time"),
        pytest.param(
            [(0, 10), (0, 10), (1, 20)], [CHEAPEST, CHEAPEST, DOMINATED], id="for_nothing"
        ),
        pytest.param(
            [(7, 3600), (1, 7200), (7, 3600)],
            [Standing(True, 6.0), CHEAPEST, Standing(True, 6.0)],
            id="equal_and_dearer",
        ),
    ],
)
def test_ties(points: list[tuple[float, float]], expected: list[Standing]) -> None:
    assert standings([Point(*one) for one in points]) == expected


figures = st.floats(0, 1e6, allow_nan=False).map(lambda one: round(one, 2))
some_points = st.lists(st.builds(Point, figures, figures), max_size=30)


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
