"""Prices in the shape of AWS's Pricing API, out of the package's catalogue."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from ascii_hydra.aws.client import Place
from ascii_hydra.catalogue.instances import instance_types
from ascii_hydra.catalogue.live import live_instances
from tests.rehearsal.conftest import REGION, Rehearsed


def test_one_price(cloud: Rehearsed) -> None:
    wanted = {"regionCode": REGION, "operatingSystem": "Linux", "instanceType": "m5.xlarge"}
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
    pricing = cloud.client("pricing")
    (text,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (offer,) = json.loads(text)["terms"]["OnDemand"].values()
    (price,) = offer["priceDimensions"].values()
    assert price["unit"] == "Hrs"
    expected = instance_types()["m5.xlarge"].on_demand_usd_per_hour
    assert float(price["pricePerUnit"]["USD"]) == expected
    filters[0]["Value"] = "eu-west-1"
    assert pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"] == []


def test_the_project_reads_them_as_it_reads_those_of_aws(cloud: Rehearsed) -> None:
    place = Place(REGION, cloud.url, path_style=True, rehearsal=True)
    live = live_instances(place, "emr-7.12.0")
    packaged = instance_types()
    for name in ("m5.xlarge", "r5.2xlarge", "m6g.xlarge"):
        assert live[name].on_demand_usd_per_hour == packaged[name].on_demand_usd_per_hour
        assert live[name].emr_fee_usd_per_hour == packaged[name].emr_fee_usd_per_hour


def test_requests_that_are_refused(cloud: Rehearsed) -> None:
    pricing = cloud.client("pricing", parameter_validation=False)
    with pytest.raises(ClientError, match=r"Filters\[0\]\.Type: is missing"):
        pricing.get_products(ServiceCode="AmazonEC2", Filters=[{"Field": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="no operation DescribeServices"):
        pricing.describe_services()
