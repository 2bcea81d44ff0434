"""The packaged prices: that they can be true, are whole, and tell where they are from."""

from __future__ import annotations

import csv
import re
from collections import defaultdict

import pytest

from ascii_hydra.catalogue.databricks_prices import REGION_NAMES
from ascii_hydra.catalogue.instances import instance_types
from ascii_hydra.catalogue.plausible import refusals
from ascii_hydra.catalogue.price_tables import (
    HOME_REGION,
    PACKAGED,
    UNITS,
    Kind,
    sources_of,
    table_of,
)
from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.config.choices import Architecture, Tier
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.schema import PricesConfig

TABLE = table_of(PACKAGED, HOME_REGION)
LIST = price_list(PricesConfig(), HOME_REGION)
OF_INSTANCES = (*(Kind.ec2_on_demand, Kind.emr_fee, Kind.dbu_per_hour, Kind.spot_saving_pct),)
NAMED = sorted(
    {
        name
        for path in (conf_folder() / "cluster").rglob("*.yaml")
        for name in re.findall(r"\b[a-z]+\d[a-z]*\.\d*xlarge\b", path.read_text(encoding="utf-8"))
    }
)


def rows(name: str) -> list[dict[str, str]]:
    with (PACKAGED / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def values(kind: Kind) -> dict[str, float]:
    return {item: figure.value for (of, item), figure in TABLE.items() if of is kind}


def test_everything_is_there() -> None:
    assert len(values(Kind.ec2_on_demand)) == 601
    assert len(values(Kind.emr_fee)) == 81
    assert len(values(Kind.dbu_per_hour)) == 490
    assert len(values(Kind.spot_saving_pct)) == 590
    assert len(rows("dbu_prices.csv")) == 234


@pytest.mark.parametrize("kind", list(Kind))
def test_no_figure_would_be_refused(kind: Kind) -> None:
    """Positive, growing with the size within a family, EMR's fee below EC2's price, enterprise not
    below premium: what a refresh refuses."""
    assert refusals(kind, values(kind), TABLE) == {}


def test_estimated_fees_grow_with_the_size_too() -> None:
    fees = {name: LIST.emr_fee(name) for name in values(Kind.ec2_on_demand)}
    assert all(fees.values())
    told = {name: fee.value for name, fee in fees.items() if fee is not None}
    assert refusals(Kind.emr_fee, told, TABLE) == {}


def test_instances_of_prices_are_known() -> None:
    types = instance_types()
    for kind in OF_INSTANCES:
        assert set(values(kind)) <= set(types), kind
    listed = {name for name, one in types.items() if one.databricks_listed}
    assert set(values(Kind.dbu_per_hour)) == listed


def test_nothing_is_there_twice() -> None:
    """Reading would refuse it; the files are looked at themselves."""
    keys = [(row["kind"], row["item"]) for row in rows("prices_us_east_1.csv")]
    assert len(keys) == len(set(keys))
    keys = [(row["region"], row["tier"] + row["sku"]) for row in rows("dbu_prices.csv")]
    assert len(keys) == len(set(keys))
    names = [row["source"] for row in rows("sources.csv")]
    assert len(names) == len(set(names))


def test_every_source_is_dated_and_used() -> None:
    sources = sources_of(PACKAGED)
    for one in sources.values():
        assert re.fullmatch(r"20\d\d(-\d\d-\d\d)?", one.date), one
        assert one.what
    assert {row["certainty"] for row in rows("sources.csv")} == {"exact", "estimated"}
    used = {
        row["source"] for name in ("prices_us_east_1.csv", "dbu_prices.csv") for row in rows(name)
    }
    assert used == set(sources)


def test_every_unit_is_its_kinds() -> None:
    assert set(UNITS) == set(Kind)
    for row in rows("prices_us_east_1.csv"):
        assert row["unit"] == UNITS[Kind(row["kind"])]


def test_dbu_are_priced_by_the_tiers_that_there_are() -> None:
    by_region: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in rows("dbu_prices.csv"):
        by_region[row["region"]][row["tier"], row["sku"]] = float(row["usd_per_dbu"])
    assert set(by_region) == set(REGION_NAMES)
    for region, prices in by_region.items():
        assert {tier for tier, _ in prices} == {one.value for one in Tier}, region
        for tier, sku in prices:
            assert prices["enterprise", sku] >= prices["premium", sku], (region, tier, sku)
        for sku in ("JOBS_COMPUTE", "ALL_PURPOSE_COMPUTE"):
            assert ("premium", sku) in prices, region


def test_conf_names_instance_types() -> None:
    assert {"m5d.xlarge", "m5d.2xlarge", "m5d.4xlarge"} <= set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_what_conf_names_has_every_price(name: str) -> None:
    """And a published one, where there is any."""
    for found in (LIST.ec2(name, Market.on_demand), LIST.emr_fee(name)):
        assert found is not None
        assert not found.estimated
    assert LIST.ec2(name, Market.spot) is not None
    dbus = LIST.dbus(name, "JOBS_COMPUTE", photon=False)
    assert dbus is not None
    assert not dbus.estimated


def test_emr_serverless() -> None:
    found = LIST.emr_serverless(Kind.emr_serverless_vcpu, Architecture.x86_64)
    assert found is not None
    assert (found.value, found.unit) == (0.052624, "USD per vCPU-hour")
    assert LIST.emr_serverless(Kind.emr_serverless_vcpu, Architecture.arm64) is None
