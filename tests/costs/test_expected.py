"""Durations: told, measured, scaled by a law, or not known; never made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.costs.expected import Amdahl, Assumed, Wanted, expected
from ascii_hydra.costs.ledger import Sample

WANTED = Wanted("cloud", "webgraph", "edges", "full", "emr", "large", 128.0)
STARTUP = Assumed(210.0, "assumed")


def sample(run_s: float, vcpus: float = 128.0, *, number: int = 0, **fields: object) -> Sample:
    made = Sample(
        at=f"2026-11-20T10:{number // 60:02}:{number % 60:02}+00:00",
        endpoint="cloud",
        pipeline="webgraph",
        step="edges",
        partition=f"p{number}",
        mode="full",
        engine="emr",
        cluster={128.0: "large", 32.0: "medium", 8.0: "small"}.get(vcpus, "large"),
        vcpus=vcpus,
        startup_s=200.0,
        run_s=run_s,
        usd=None,
        estimated_usd=None,
        run_id="r",
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_nothing_known_is_not_known() -> None:
    made = expected([], WANTED, STARTUP)
    assert (made.run_s, made.low_s, made.high_s, made.samples) == (None, None, None, 0)
    assert (made.startup_s, made.startup_source) == (210.0, "assumed")
    assert made.source == "no run of it is known"


def test_what_is_told_wins() -> None:
    made = expected([sample(100.0)], WANTED, STARTUP, Assumed(1800.0, "told"))
    assert (made.run_s, made.low_s, made.high_s, made.source) == (1800.0, None, None, "told")


def test_one_run_has_no_spread() -> None:
    made = expected([sample(100.0)], WANTED, STARTUP)
    assert (made.run_s, made.low_s, made.high_s, made.samples) == (100.0, None, None, 1)
    assert made.source == "its last run"


def test_the_newest_twenty_count_whatever_their_order() -> None:
    every = [sample(float(number), number=number) for number in range(30)]
    made = expected(reversed(every), WANTED, STARTUP)
    assert (made.run_s, made.low_s, made.high_s, made.samples) == (19.5, 10.0, 29.0, 20)


@pytest.mark.parametrize(
    "other",
    [
        {"endpoint": "rehearsal"},
        {"pipeline": "other"},
        {"step": "nodes"},
        {"mode": "small_dev_sample_s3"},
        {"engine": "databricks"},
        {"photon": True},
    ],
)
def test_what_is_not_alike_is_never_mixed_in(other: dict[str, Any]) -> None:
    assert expected([sample(100.0, **other)], WANTED, STARTUP).run_s is None


def test_start_up_is_of_the_engine_and_of_clusters_that_were_started() -> None:
    runs = [
        sample(1.0, number=1, step="nodes", startup_s=300.0),
        sample(1.0, number=2, step="graph", startup_s=0.0),
        sample(1.0, number=3, engine="databricks", startup_s=900.0),
        sample(1.0, number=4, endpoint="rehearsal", startup_s=900.0),
    ]
    made = expected(runs, WANTED, STARTUP)
    assert (made.startup_s, made.startup_source) == (300.0, "the last run on emr")
    fixed = expected(runs, WANTED, Assumed(0.0, "", fixed=True))
    assert (fixed.startup_s, fixed.startup_source) == (0.0, "")


def test_two_sizes_make_amdahls_law() -> None:
    # T = 100 + 6400 / vCPU
    made = expected([sample(300.0, 32.0), sample(900.0, 8.0)], WANTED, STARTUP)
    assert made.run_s == pytest.approx(150.0)
    assert (made.low_s, made.high_s, made.samples) == (None, None, 2)
    assert made.source == "Amdahl's law fitted to 2 runs on 8, 32 vCPU"


def test_runs_that_differ_give_the_law_a_spread() -> None:
    runs = [sample(300.0, 32.0), sample(800.0, 8.0, number=1), sample(1000.0, 8.0, number=2)]
    made = expected(runs, WANTED, STARTUP)
    assert made.run_s == pytest.approx(150.0)
    assert made.low_s == pytest.approx(150 * 8 / 9)
    assert made.high_s == pytest.approx(150 * 10 / 9)


def test_one_size_is_between_ideal_and_not_scaling() -> None:
    made = expected([sample(800.0, 32.0)], WANTED, STARTUP)
    assert (made.run_s, made.low_s, made.high_s) == (500.0, 200.0, 800.0)
    assert made.source == "1 run on 32 vCPU, if half of it scales (spread: none or all of it)"
    smaller = expected([sample(800.0, 32.0)], replace(WANTED, vcpus=8.0, cluster="small"), STARTUP)
    assert (smaller.run_s, smaller.low_s, smaller.high_s) == (2000.0, 800.0, 3200.0)


def test_another_cluster_of_as_many_vcpus_is_as_fast() -> None:
    made = expected([sample(800.0, cluster="medium")], WANTED, STARTUP)
    assert (made.run_s, made.low_s, made.source) == (800.0, None, "1 run on as many vCPU")


def test_where_vcpus_are_not_known_nothing_is_scaled() -> None:
    unknown = replace(WANTED, vcpus=0.0)
    assert expected([sample(800.0)], unknown, STARTUP).run_s is None
    assert expected([sample(800.0, vcpus=0.0)], WANTED, STARTUP).run_s is None
    # an existing cluster, again
    assert expected([sample(800.0, vcpus=0.0)], unknown, STARTUP).run_s == 800.0


# --- laws -----------------------------------------------------------------------------------------

SIZES = st.sampled_from([2.0, 8.0, 16.0, 32.0, 128.0, 512.0])
points = st.lists(st.tuples(SIZES, st.floats(1, 1e5)), min_size=2, max_size=12).filter(
    lambda found: len({vcpus for vcpus, _ in found}) > 1
)
runs = st.lists(
    st.builds(sample, st.floats(1, 1e5), SIZES, number=st.integers(0, 3599)),
    min_size=1,
    max_size=40,
)


@given(points, SIZES, SIZES)
def test_more_vcpus_are_never_slower(
    found: list[tuple[float, float]], one: float, two: float
) -> None:
    law = Amdahl.fitted(found)
    assert law.serial_s >= 0
    assert law.parallel_s >= 0
    assert law.seconds(max(one, two)) <= law.seconds(min(one, two)) * (1 + 1e-9)


@given(st.floats(0, 1e4), st.floats(0, 1e6), st.lists(SIZES, min_size=2, unique=True))
def test_the_law_finds_itself(serial_s: float, parallel_s: float, sizes: list[float]) -> None:
    law = Amdahl(serial_s, parallel_s)
    fitted = Amdahl.fitted([(vcpus, law.seconds(vcpus)) for vcpus in sizes])
    for vcpus in sizes:
        assert fitted.seconds(vcpus) == pytest.approx(law.seconds(vcpus), rel=1e-6, abs=1e-6)


@given(points, st.floats(0, 1e4), st.floats(0, 1e6))
def test_no_other_law_fits_better(
    found: list[tuple[float, float]], serial_s: float, parallel_s: float
) -> None:
    def off(law: Amdahl) -> float:
        return sum((law.seconds(vcpus) - run_s) ** 2 for vcpus, run_s in found)

    assert off(Amdahl.fitted(found)) <= off(Amdahl(serial_s, parallel_s)) * (1 + 1e-6) + 1e-6


@given(runs, SIZES)
def test_the_spread_holds_the_figure(found: list[Sample], vcpus: float) -> None:
    made = expected(found, replace(WANTED, vcpus=vcpus), STARTUP)
    assert made.run_s is not None
    assert made.run_s > 0
    if made.low_s is not None and made.high_s is not None:
        assert made.low_s <= made.run_s <= made.high_s


@given(st.lists(st.builds(sample, st.floats(1, 1e5), st.just(32.0)), min_size=1), SIZES, SIZES)
def test_scaled_from_one_size_more_is_never_slower(
    found: list[Sample], one: float, two: float
) -> None:
    fewer, more = (
        expected(found, replace(WANTED, vcpus=vcpus, cluster="other"), STARTUP).run_s or 0.0
        for vcpus in sorted((one, two))
    )
    assert more <= fewer * (1 + 1e-9)
