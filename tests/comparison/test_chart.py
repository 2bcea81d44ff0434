"""The picture of cost and time."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection

from ascii_hydra.costs.frontier import UNKNOWN, Band, Place, Point, Standing, standings
from ascii_hydra.report.chart import Dot, chart, drawn

ENGINES = ("emr", "databricks", "emr+databricks")


def dots_of(points: list[tuple[float, float]]) -> list[Dot]:
    made = [Point(usd, hours * 3600) for usd, hours in points]
    return [
        Dot(
            label=f"#{number} {ENGINES[number % 3]}",
            short=f"#{number}",
            engine=ENGINES[number % 3],
            usd=point.usd,
            duration_s=point.duration_s,
            standing=standing,
            estimated=number % 2 == 0,
        )
        for number, (point, standing) in enumerate(zip(made, standings(made), strict=True))
    ]


FIGURES = st.tuples(st.floats(0, 1000), st.floats(0, 100))
PLACES = st.lists(FIGURES, min_size=1, max_size=30)


@settings(max_examples=10)
@given(PLACES)
def test_labels_overlap_nothing_and_axes_begin_at_zero(points: list[tuple[float, float]]) -> None:
    figure = chart(dots_of(points), "a title")
    (axes,) = figure.axes
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim()[0] == 0
    figure.draw_without_rendering()
    boxes = [one.get_window_extent() for one in axes.texts if one.get_text()]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    for x, y in axes.transData.transform(
        [(one.get_xdata()[0], one.get_ydata()[0]) for one in axes.lines[1:]]
    ):
        assert not [box for box in boxes if box.contains(x, y)]


def test_dominated_points_are_grey_and_those_of_the_front_are_not() -> None:
    figure = chart(dots_of([(10, 9), (20, 4), (21, 8), (60, 3)]), "webgraph, full")
    (axes,) = figure.axes
    colours = [one.get_markeredgecolor() for one in axes.lines[1:]]
    assert colours == ["#0072b2", "#d55e00", "#8f8f8f", "#0072b2"]
    # Of a full one, its inside too.
    assert axes.lines[2].get_markerfacecolor() == "#d55e00"
    full = dots_of([(1, 1), (2, 2)])
    (axes,) = chart(full, "two").figure.axes
    assert axes.lines[2].get_markerfacecolor() == "#8f8f8f"
    sizes = [one.get_markersize() for one in axes.lines[1:]]
    assert sizes[0] > sizes[1]


def test_what_is_in_it() -> None:
    figure = chart(dots_of([(10, 9), (20, 4), (21, 8), (60, 3)]), "webgraph, full")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("duration (hours)", "cost (USD)")
    assert axes.get_title(loc="left") == "webgraph, full"
    told = {one.get_text() for one in axes.texts}
    assert {"$2.00 per hour saved", "$40.00 per hour saved"} <= told
    assert {f"#{number} {ENGINES[number % 3]}" for number in range(4)} <= told
    # The front is one line, from the fastest to the cheapest.
    assert [list(axes.lines[0].get_xdata()), list(axes.lines[0].get_ydata())] == [
        [3, 4, 9], [60, 20, 10],
    ]  # fmt: skip
    faces = [one.get_markerfacecolor() for one in axes.lines[1:]]
    assert [one == "none" for one in faces] == [True, False, True, False]
    assert len({one.get_marker() for one in axes.lines[1:4]}) == 3
    legend = axes.get_legend()
    assert legend is not None
    assert "hollow: estimate" in {one.get_text() for one in legend.get_texts()}


def test_bands_are_whiskers_and_what_is_not_told_apart_is_on_no_line() -> None:
    found = dots_of([(10, 9), (11, 8), (12, 7)])
    doubted = Standing(Place.not_told_apart, alike=(1,))
    bands = [(Band(9, 20), Band(3600, 9 * 3600 + 1)), (Band(11, 11), UNKNOWN), None]
    figure = chart(
        [
            replace(one, standing=doubted, bands=band)
            for one, band in zip(found, bands, strict=True)
        ],
        "webgraph, full",
    )
    (axes,) = figure.axes
    assert list(axes.lines[0].get_xdata()) == []
    whiskers = [sorted(map(tuple, one)) for every in axes.collections for one in segments(every)]
    assert whiskers == [[(1, 10), (pytest.approx(9.0, abs=0.001), 10)], [(9, 9), (9, 20)]]
    assert axes.get_ylim()[1] > 20
    # Not grey: nothing is known to beat them.
    assert "#8f8f8f" not in [one.get_markeredgecolor() for one in axes.lines]
    legend = axes.get_legend()
    assert legend is not None
    named = {one.get_text() for one in legend.get_texts()}
    assert "whiskers: band" in named
    assert not {"front", "dominated"} & named


def segments(collection: LineCollection) -> list[list[tuple[float, float]]]:
    return [[tuple(end) for end in one] for one in collection.get_segments()]


@pytest.mark.parametrize("points", [[(0.41, 0.2)], [(0.0, 0.0)], [(5, 1)] * 3])
def test_one_point(points: list[tuple[float, float]]) -> None:
    picture = drawn(dots_of(points), "one")
    assert ET.fromstring(picture.svg).tag.endswith("svg")
    assert picture.svg == drawn(dots_of(points), "one").svg


def test_a_page_has_the_chart_in_the_colour_of_its_text() -> None:
    picture = drawn(dots_of([(10, 9), (20, 4)]), "a < b & c")
    assert picture.for_page.startswith("<svg")
    assert "currentColor" in picture.for_page
    assert "currentColor" not in picture.svg
    ET.fromstring(picture.for_page)


def test_a_plan_imports_neither_matplotlib_nor_dagster() -> None:
    code = (
        "import sys, ascii_hydra.task, ascii_hydra.sweep, ascii_hydra.report.plan\n"
        "import ascii_hydra.report.comparison\n"
        "heavy = {'matplotlib', 'jinja2', 'dagster', 'boto3', 'numpy'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
