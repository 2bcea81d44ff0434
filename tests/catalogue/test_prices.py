"""What a price list tells: the region's own prices, what stands in for them, and discounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.catalogue.price_tables import Figure, Key, Kind, Source, dbu_key
from ascii_hydra.catalogue.prices import Market, Price, PriceList, price_list
from ascii_hydra.config.choices import Tier
from ascii_hydra.config.schema import Discounts, PricesConfig

HERE = "us-east-1"
LIST = price_list(PricesConfig(), HERE)
SAW = Source("saw", "2026-11-20", exact=True, what="what was seen")
TYPES = st.sampled_from(sorted(item for kind, item in LIST.own if kind is Kind.ec2_on_demand))
PERCENT = st.floats(0, 100, allow_nan=False)
ASKED: dict[str, Callable[[PriceList, str], Price | None]] = {
    "ec2_pct": lambda prices, name: prices.ec2(name, Market.on_demand),
    "spot_pct": lambda prices, name: prices.ec2(name, Market.spot),
    "emr_pct": PriceList.emr_fee,
    "dbu_pct": lambda prices, _: prices.dbu("JOBS_COMPUTE"),
    "ebs_pct": lambda prices, _: prices.ebs("gp3"),
}


def value(price: Price | None) -> float:
    assert price is not None
    return price.value


def figures(**values: float) -> dict[Key, Figure]:
    """Of one type, by kind."""
    return {(Kind(kind), "m5.xlarge"): Figure(one, SAW) for kind, one in values.items()}


@pytest.mark.parametrize(
    ("asked", "usd", "estimated", "date"),
    [
        (LIST.ec2("m5d.xlarge", Market.on_demand), 0.226, False, "2026-07-20"),
        (LIST.ec2("m5d.xlarge", Market.spot), 0.226 * 0.47, True, "2025-06-28"),
        (LIST.emr_fee("m5d.xlarge"), 0.057, False, "2019"),
        (LIST.dbus("m5d.xlarge", "JOBS_COMPUTE", photon=False), 0.69, False, "2026-04-10"),
        (LIST.dbus("m5d.xlarge", "JOBS_COMPUTE", photon=True), 0.69 * 2.9, True, "2026-04-10"),
        (LIST.dbus("m5d.xlarge", "ALL_PURPOSE_COMPUTE", photon=True), 1.38, True, "2026-04-10"),
        (LIST.dbu("JOBS_COMPUTE"), 0.15, False, "2026-04-10"),
        (LIST.dbu("JOBS_COMPUTE_(PHOTON)"), 0.15, False, "2026-04-10"),
        (LIST.dbu("JOBS_SERVERLESS_COMPUTE"), 0.35, False, "2026-04-10"),
        (LIST.ebs("gp3"), 0.08, False, "2026"),
    ],
)
def test_known_prices(asked: Price | None, usd: float, estimated: bool, date: str) -> None:
    assert value(asked) == pytest.approx(usd)
    assert asked is not None
    assert (asked.estimated, asked.date) == (estimated, date)
    assert asked.source


def test_what_has_no_price_is_none() -> None:
    assert LIST.ec2("zz9.xlarge", Market.on_demand) is None
    assert LIST.ec2("zz9.xlarge", Market.spot) is None
    assert LIST.emr_fee("zz9.xlarge") is None
    assert LIST.dbus("zz9.xlarge", "JOBS_COMPUTE", photon=False) is None
    assert LIST.dbu("NO_SUCH_COMPUTE") is None
    # On demand alone is known of it.
    assert LIST.ec2("m8i.48xlarge", Market.on_demand) is not None
    assert LIST.ec2("m8i.48xlarge", Market.spot) is None
    # Their operations cost extra.
    assert LIST.ebs("io2") is None
    # Metered, and of no instance.
    assert LIST.dbus("m5d.xlarge", "JOBS_SERVERLESS_COMPUTE", photon=False) is None
    # No multiplier is known of it.
    assert LIST.dbus("m5d.xlarge", "JOBS_LIGHT_COMPUTE", photon=True) is None


@pytest.mark.parametrize(
    ("name", "usd", "words"),
    [
        ("c5.12xlarge", 0.27, "at most $0.27"),  # 25 % would be 0.51
        ("m5ad.xlarge", 0.25 * 0.206, "at most $0.27"),
        ("m6g.xlarge", 0.25 * 0.154, "25 % of EC2 on demand"),
        ("m6i.8xlarge", 0.25 * 1.536, "$0.27 if the limit"),
        ("x2gd.16xlarge", 0.25 * 5.344, "$0.27 if the limit"),
    ],
)
def test_emrs_fee_where_none_is_published(name: str, usd: float, words: str) -> None:
    fee = LIST.emr_fee(name)
    assert value(fee) == pytest.approx(usd)
    assert fee is not None
    assert fee.estimated
    assert words in fee.source


def test_the_tier_decides_the_price_of_a_dbu() -> None:
    assert value(price_list(PricesConfig(tier=Tier.enterprise), HERE).dbu("JOBS_COMPUTE")) == 0.20


# --- spot ---------------------------------------------------------------------------------------


@given(TYPES, PERCENT)
def test_spot_is_never_above_the_list_price_on_demand(name: str, saving: float) -> None:
    on_demand = value(LIST.ec2(name, Market.on_demand))
    seen = {(Kind.spot_saving_pct, name): Figure(saving, SAW)}
    spot = replace(LIST, own={**LIST.own, **seen}).ec2(name, Market.spot)
    assert 0 <= value(spot) <= on_demand


@given(st.floats(0.0001, 10))
def test_a_spot_price_that_was_seen_counts_up_to_the_one_on_demand(usd: float) -> None:
    own = {**LIST.own, **figures(ec2_spot=usd)}
    found = replace(LIST, own=own, home=own).ec2("m5.xlarge", Market.spot)
    assert value(found) == min(usd, 0.192)
    assert found is not None
    assert found.estimated
    assert ("at most the price on demand" in found.source) == (usd > 0.192)


# --- other regions ------------------------------------------------------------------------------


def test_us_east_1_stands_in_for_a_region_and_says_so() -> None:
    there = price_list(PricesConfig(), "eu-west-1")
    for found, here in (
        (there.ec2("m5d.xlarge", Market.on_demand), LIST.ec2("m5d.xlarge", Market.on_demand)),
        (there.emr_fee("m5d.xlarge"), LIST.emr_fee("m5d.xlarge")),
        (there.ebs("gp3"), LIST.ebs("gp3")),
    ):
        assert value(found) == value(here)
        assert found is not None
        assert found.estimated
        assert "of us-east-1 for want of eu-west-1's" in found.source
    # Not of a region at all.
    dbus = there.dbus("m5d.xlarge", "JOBS_COMPUTE", photon=False)
    assert dbus == LIST.dbus("m5d.xlarge", "JOBS_COMPUTE", photon=False)
    # Its own.
    dbu = there.dbu("JOBS_SERVERLESS_COMPUTE")
    assert dbu is not None
    assert (dbu.value, dbu.estimated) == (0.39, False)


def test_no_other_regions_dbu_stands_in() -> None:
    nowhere = price_list(PricesConfig(), "af-south-1")
    assert nowhere.dbu("JOBS_COMPUTE") is None
    assert nowhere.ec2("m5d.xlarge", Market.on_demand) is not None


def test_a_regions_own_price_on_demand_counts_for_its_spot_and_fee() -> None:
    home = {**LIST.own, **figures(ec2_spot=0.05)}
    there = PriceList("eu-west-1", "premium", Discounts(), figures(ec2_on_demand=0.4), home)
    assert value(there.ec2("m5.xlarge", Market.on_demand)) == 0.4
    saving = home[Kind.spot_saving_pct, "m5.xlarge"].value
    assert value(there.ec2("m5.xlarge", Market.spot)) == pytest.approx(0.4 * (1 - saving / 100))


def test_a_region_that_is_not_known_is_us_east_1() -> None:
    assert price_list(PricesConfig(), None) == LIST


# --- discounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ASKED)
@given(name=TYPES, pct=PERCENT)
def test_a_discount_is_linear_and_of_its_own_price_alone(key: str, name: str, pct: float) -> None:
    less = replace(LIST, discounts=Discounts(**{key: pct}))
    for other, asked in ASKED.items():
        listed, found = asked(LIST, name), asked(less, name)
        if listed is None:
            assert found is None
        elif other == key and pct:
            assert value(found) == pytest.approx(listed.value * (1 - pct / 100))
            assert found is not None
            assert f"less {pct:g} % (prices.discounts.{key})" in found.source
            assert found.estimated == listed.estimated
        else:
            assert found == listed


def test_no_discount_changes_nothing() -> None:
    assert replace(LIST, discounts=Discounts()).ec2("m5.xlarge", Market.on_demand) == Price(
        0.192, "USD per hour", "AWS Price List API, Linux, shared tenancy", "2026-07-20"
    )


def test_a_list_made_by_hand() -> None:
    """As tests of others make them."""
    dbu = {dbu_key("premium", "JOBS_COMPUTE"): Figure(1.0, SAW)}
    own = {**figures(ec2_on_demand=2.0, emr_fee=0.5, dbu_per_hour=3.0), **dbu}
    made = PriceList("us-east-1", "premium", own=own)
    assert value(made.dbu("JOBS_COMPUTE")) == 1.0
    assert PriceList("us-east-1", "premium").ec2("m5.xlarge", Market.on_demand) is None
