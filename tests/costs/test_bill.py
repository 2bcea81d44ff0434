"""A bill is usage times prices: by hand, and by its laws."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.bill import Bill, Part, bill, times, together
from ascii_hydra.costs.usage import Disk, InstanceUse, Usage
from ascii_hydra.step.choices import Engine
from tests.costs.fixed_prices import ON_DEMAND, PRICES, FixedPrices

ROOT = (Disk("gp3", 15),)
OD, SPOT = Market.on_demand, Market.spot


def use(
    role: str,
    kind: str,
    times_s: tuple[float, float, float],
    *,
    count: int = 1,
    market: Market = OD,
    disks: tuple[Disk, ...] = ROOT,
    share: bool = False,
) -> InstanceUse:
    """`times_s`: rented, charged, worked."""
    return InstanceUse(role, f"m5d.{kind}", market, count, *times_s, disks, share)


def emr(*uses: InstanceUse, **fields: object) -> Usage:
    return replace(Usage(Engine.emr, "us-east-1", uses), **fields)  # type: ignore[arg-type]


def databricks(*uses: InstanceUse, **fields: object) -> Usage:
    made = Usage(Engine.databricks, "us-east-1", uses, sku="JOBS_COMPUTE")
    return replace(made, **fields)  # type: ignore[arg-type]


HOUR_LATE = (3800.0, 3800.0, 3600.0)
TWO_HOURS = (7200.0, 7200.0, 7200.0)
OWN = (Disk("gp3", 180),)
# By hand: (compute, platform, storage, start-up and idle, instance-hours, DBU).
CASES = {
    # 0.226; 0.057; 15 x 3600 / 2,592,000 x 0.08; 200 / 3600 x 0.283 + 15 x 200 / 2,592,000 x 0.08
    "EMR, a primary alone": (
        [emr(use("primary", "xlarge", HOUR_LATE))],
        (0.226, 0.057, 0.001666667, 0.015814815, 1.055555556, 0.0),
    ),
    # 2 x (0.226 + 0.904 + 3 x 0.36); 2 x (0.057 + 4 x 0.226); 5 x 15 x 7200 / 2,592,000 x 0.08
    "EMR, task nodes on spot, whose fee is not less": (
        [
            emr(
                use("primary", "xlarge", TWO_HOURS),
                use("core", "4xlarge", TWO_HOURS),
                use("task", "4xlarge", TWO_HOURS, count=3, market=SPOT),
            )
        ],
        (4.42, 1.922, 0.016666667, 0.0, 10.0, 0.0),
    ),
    # 10 s are billed as 60: 60 / 3600 x 0.226, of which 4 s worked
    "EMR, shorter than a minute": (
        [emr(use("primary", "xlarge", (10.0, 10.0, 4.0), disks=()))],
        (0.000251111, 0.000063333, 0.0, 0.004402222, 0.016666667, 0.0),
    ),
    # a share of instances has no minimum: 10 / 3600 x (0.226 + 0.057)
    "EMR, a share of ten seconds": (
        [emr(use("core", "xlarge", (10.0, 10.0, 10.0), disks=(), share=True))],
        (0.000627778, 0.000158333, 0.0, 0.0, 0.002777778, 0.0),
    ),
    # 1 h: 3 x 0.226; 3 x 0.69 x 0.15; 3 x 180 x 3600 / 2,592,000 x 0.08; 400 s without DBU before
    "Databricks, start-up without DBU": (
        [
            databricks(
                use("driver", "xlarge", (4000.0, 3600.0, 3600.0), disks=OWN),
                use("worker", "xlarge", (4000.0, 3600.0, 3600.0), count=2, disks=OWN),
            )
        ],
        (0.678, 0.3105, 0.06, 0.082, 3.333333333, 2.07),
    ),
    # workers: 2 for an hour, 2 more for half of it: 0.226 + 3 x 0.452; (0.69 + 3 x 1.37) x 0.15
    "Databricks, grown by autoscaling": (
        [
            databricks(
                use("driver", "xlarge", (3600.0,) * 3, disks=()),
                use("worker", "2xlarge", (3600.0,) * 3, count=2, disks=()),
                use("worker", "2xlarge", (1800.0,) * 3, count=2, market=OD, disks=()),
            )
        ],
        (1.582, 0.72, 0.0, 0.0, 4.0, 4.8),
    ),
    # DBU have no minimum: 12 s x (0.69 x 2.9) x 0.15; EC2 has: 60 s, of which 12 worked
    "Databricks, Photon for twelve seconds": (
        [databricks(use("driver", "xlarge", (30.0, 12.0, 12.0), disks=()), photon=True)],
        (0.000753333, 0.0010005, 0.0, 0.003013333, 0.016666667, 0.00667),
    ),
    # the instance of nobody's platform: it waited in a pool
    "Databricks, idle in a pool": (
        [databricks(use("pool", "xlarge", (1200.0, 0.0, 0.0), count=2, disks=OWN))],
        (0.0, 0.0, 0.0, 0.164, 0.666666667, 0.0),
    ),
    # the first try was in vain: 0.1 h of it, then an hour
    "EMR, wasted": (
        [
            emr(use("primary", "xlarge", (360.0,) * 3, disks=()), wasted=True),
            emr(use("primary", "xlarge", (3600.0,) * 3, disks=())),
        ],
        (0.2486, 0.0627, 0.0, 0.0, 1.1, 0.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bills_by_hand(case: str) -> None:
    usages, by_hand = CASES[case]
    made = bill(usages, PRICES)
    told = (*(made.of(part) for part in Part), made.instance_hours, made.dbu)
    assert told == pytest.approx(by_hand, abs=1e-9)
    assert made.usd == pytest.approx(sum(by_hand[:4]), abs=1e-8)
    wasted = 0.0 if case != "EMR, wasted" else 0.1 * (0.226 + 0.057)
    assert made.wasted_usd == pytest.approx(wasted)


def test_what_was_never_there_costs_nothing_and_needs_no_price() -> None:
    nothing = [
        emr(),
        emr(use("core", "24xlarge", (0.0, 0.0, 0.0))),
        emr(use("core", "xlarge", HOUR_LATE, count=0)),
    ]
    made = bill(nothing, PRICES)
    assert (made.usd, made.lines, made.unpriced) == (0.0, (), ())


def test_two_price_lists_behind_one_line_are_both_named() -> None:
    made = bill([databricks(use("driver", "xlarge", (3600.0,) * 3), photon=True)], PRICES)
    line = next(one for one in made.lines if one.part is Part.platform)
    assert line.price_source == "test dbu; test dbus"
    assert (line.price_date, line.estimated) == ("2025-01-01", True)
    assert made.price_dates == ("2025-01-01", "2026-01-01")


def test_what_is_not_counted_makes_the_whole_unknown() -> None:
    made = bill([databricks(not_counted=("serverless compute",))], PRICES)
    assert (made.usd, made.known_usd, made.unpriced) == (None, 0.0, ("serverless compute",))


@pytest.mark.parametrize(
    ("missing", "engine", "named"),
    [
        ("ec2", emr, "EC2 m5d.xlarge on demand in us-east-1"),
        ("fee", emr, "EMR's fee for m5d.xlarge"),
        ("ebs", emr, "EBS gp3 in us-east-1"),
        ("dbus", databricks, "DBU of m5d.xlarge in us-east-1, tier premium"),
        ("dbu", databricks, "a DBU of JOBS_COMPUTE in us-east-1, tier premium"),
    ],
)
def test_a_missing_price_is_named_and_is_not_zero(missing: str, engine: object, named: str) -> None:
    usage = engine(use("primary", "xlarge", HOUR_LATE))  # type: ignore[operator]
    prices = FixedPrices("us-east-1", "premium", missing=frozenset({missing}))
    made, whole = bill([usage], prices), bill([usage], PRICES)
    assert made.usd is None
    assert made.unpriced == (named,)
    assert 0 < made.known_usd < whole.known_usd


# --- laws -----------------------------------------------------------------------------------------

seconds = st.floats(60, 1e6)


@st.composite
def uses(draw: st.DrawFn) -> InstanceUse:
    rented_s = draw(seconds)
    charged_s = draw(st.floats(0.1, 1)) * rented_s
    return InstanceUse(
        role=draw(st.sampled_from(["driver", "worker"])),
        instance_type=draw(st.sampled_from(sorted(ON_DEMAND))),
        market=draw(st.sampled_from(Market)),
        count=draw(st.integers(1, 200)),
        rented_s=rented_s,
        charged_s=charged_s,
        worked_s=draw(st.floats(0, 1)) * charged_s,
        disks=draw(st.sampled_from([(), ROOT, (Disk("st1", 500), *ROOT)])),
        share=draw(st.booleans()),
    )


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    engine = draw(st.sampled_from([Engine.emr, Engine.databricks]))
    return Usage(
        engine=engine,
        region="us-east-1",
        instances=tuple(draw(st.lists(uses(), max_size=4))),
        startup_s=draw(seconds),
        run_s=draw(seconds),
        sku=None if engine is Engine.emr else "JOBS_COMPUTE",
        photon=draw(st.booleans()),
        wasted=draw(st.booleans()),
        assumed=tuple(draw(st.lists(st.text(max_size=9), max_size=2))),
    )


attempts = st.lists(usages(), max_size=3)


def scaled(usage: Usage, *, count: int = 1, time: float = 1.0) -> Usage:
    return replace(
        usage,
        instances=tuple(
            replace(
                one,
                count=one.count * count,
                rented_s=one.rented_s * time,
                charged_s=max(one.charged_s, 60.0) * time,
                worked_s=one.worked_s * time,
            )
            for one in usage.instances
        ),
    )


@given(attempts)
def test_the_parts_are_the_whole(tries: list[Usage]) -> None:
    made = bill(tries, PRICES)
    assert sum(made.of(part) for part in Part) == pytest.approx(made.known_usd)
    assert made.usd == made.known_usd
    assert all(line.usd >= 0 for line in made.lines)
    assert 0 <= made.wasted_usd <= made.known_usd * (1 + 1e-9)


@given(attempts, st.integers(2, 50), st.floats(1, 100))
def test_twice_as_many_for_twice_as_long_costs_four_times(
    tries: list[Usage], count: int, time: float
) -> None:
    one = bill([scaled(each) for each in tries], PRICES)
    many = bill([scaled(each, count=count, time=time) for each in tries], PRICES)
    assert many.known_usd == pytest.approx(count * time * one.known_usd)
    assert many.instance_hours == pytest.approx(count * time * one.instance_hours)
    assert many.dbu == pytest.approx(count * time * one.dbu)


@given(attempts, st.floats(0.01, 100))
def test_cost_goes_with_the_prices(tries: list[Usage], factor: float) -> None:
    dearer = FixedPrices("us-east-1", "premium", factor=factor)
    assert bill(tries, dearer).known_usd == pytest.approx(factor * bill(tries, PRICES).known_usd)


@given(attempts)
def test_a_bill_of_attempts_is_their_bills_together(tries: list[Usage]) -> None:
    whole, each = bill(tries, PRICES), together(bill([one], PRICES) for one in tries)
    assert whole.lines == each.lines
    assert (whole.unpriced, whole.assumed) == (each.unpriced, each.assumed)
    assert (whole.startup_s, whole.run_s) == (each.startup_s, each.run_s)
    assert whole.instance_hours == pytest.approx(each.instance_hours)
    assert whole.dbu == pytest.approx(each.dbu)


@given(attempts, st.integers(0, 1000))
def test_so_many_runs_cost_so_many_times_as_much(tries: list[Usage], count: int) -> None:
    one = bill(tries, PRICES)
    assert times(one, count).known_usd == pytest.approx(count * one.known_usd)
    assert times(one, 1) == one


@given(attempts, st.sets(st.sampled_from(["ec2", "fee", "dbu", "dbus", "ebs"])))
def test_json_keeps_a_bill_exactly(tries: list[Usage], missing: set[str]) -> None:
    made = bill(tries, FixedPrices("us-east-1", "premium", missing=frozenset(missing)))
    assert Bill.from_json(json.loads(json.dumps(made.as_json()))) == made


@given(attempts)
def test_no_minute_is_lost_between_work_and_idle(tries: list[Usage]) -> None:
    made = bill(tries, PRICES)
    hours = sum(one.quantity for one in made.lines if one.what.endswith(")") and _is_ec2(one.what))
    assert hours == pytest.approx(made.instance_hours)


def _is_ec2(what: str) -> bool:
    return " x m5d." in what and not what.startswith(("EMR", "JOBS")) and "GiB" not in what
