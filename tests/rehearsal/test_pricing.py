"""Prices in the shape of AWS's Pricing API, out of the package's catalogue."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from ascii_hydra.aws.client import Place
from ascii_hydra.catalogue.aws_prices import aws_prices
from ascii_hydra.catalogue.live import live_catalogue
from ascii_hydra.catalogue.price_tables import Kind
from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.config.schema import PricesConfig
from tests.rehearsal.conftest import REGION, Rehearsed

LIST = price_list(PricesConfig(), REGION)


def test_one_price(cloud: Rehearsed) -> None:
    wanted = {"regionCode": REGION, "operatingSystem": "Linux", "instanceType": "m5.xlarge"}
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
    pricing = cloud.client("pricing")
    (text,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (offer,) = json.loads(text)["terms"]["OnDemand"].values()
    (price,) = offer["priceDimensions"].values()
    assert price["unit"] == "Hrs"
    assert float(price["pricePerUnit"]["USD"]) == 0.192
    filters[0]["Value"] = "eu-west-1"
    assert pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"] == []


def test_the_project_reads_them_as_it_reads_those_of_aws(cloud: Rehearsed) -> None:
    place = Place(REGION, cloud.url, path_style=True, rehearsal=True)
    live = live_catalogue(place, "emr-7.12.0", PricesConfig()).prices
    for name in ("m5.xlarge", "r5.2xlarge", "m6g.xlarge"):
        here, there = (one.ec2(name, Market.on_demand) for one in (live, LIST))
        assert here and there and here.value == there.value  # noqa: PT018
        here, there = (one.emr_fee(name) for one in (live, LIST))
        assert here and there and here.value == there.value  # noqa: PT018


def test_volumes(cloud: Rehearsed) -> None:
    told = aws_prices(Kind.ebs, Place(REGION, cloud.url, rehearsal=True), REGION)
    assert told.values == {"gp2": 0.1, "gp3": 0.08, "st1": 0.045}


def test_spot_prices_by_zone(cloud: Rehearsed) -> None:
    ec2, now = cloud.client("ec2"), datetime.now(UTC)
    asked = {"InstanceTypes": ["m5.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}
    told = ec2.describe_spot_price_history(**asked, StartTime=now)["SpotPriceHistory"]
    assert [one["AvailabilityZone"][-1] for one in told] == ["a", "b", "c"]
    usual = LIST.ec2("m5.xlarge", Market.spot)
    assert usual is not None
    assert float(told[1]["SpotPrice"]) == pytest.approx(usual.value, rel=1e-4)
    assert all(one["Timestamp"] <= now for one in told)
    # Changes of the last day, and the price that held before them.
    day = ec2.describe_spot_price_history(**asked, StartTime=now - timedelta(days=1))
    assert len(day["SpotPriceHistory"]) == 6
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        StartTime=now, PaginationConfig={"PageSize": 500}
    )
    assert sum(len(page["SpotPriceHistory"]) for page in pages) == 3 * 590
    assert cloud.client("ec2", "eu-west-1").describe_spot_price_history()["SpotPriceHistory"] == []


def test_spot_requests_that_are_refused(cloud: Rehearsed) -> None:
    ec2 = cloud.client("ec2", parameter_validation=False)
    with pytest.raises(ClientError, match="InvalidNextToken"):
        ec2.describe_spot_price_history(NextToken="x")
    with pytest.raises(ClientError, match="knows no DryRun"):
        ec2.describe_spot_price_history(DryRun=True)
    cloud.goes_wrong("DescribeSpotPriceHistory", "refused", code="UnauthorizedOperation")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_spot_price_history()


def test_requests_that_are_refused(cloud: Rehearsed) -> None:
    pricing = cloud.client("pricing", parameter_validation=False)
    with pytest.raises(ClientError, match=r"Filters\[0\]\.Type: is missing"):
        pricing.get_products(ServiceCode="AmazonEC2", Filters=[{"Field": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="no operation DescribeServices"):
        pricing.describe_services()
