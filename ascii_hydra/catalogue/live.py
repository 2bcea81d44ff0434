"""Instance types and prices as AWS tells them now; for `cluster.filters.source=live`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.catalogue.instances import InstanceType, instance_types
from ascii_hydra.config.choices import Architecture

# The Pricing API is answered in three regions; this one is in every account's reach.
_PRICING_REGION = "us-east-1"
_ARCHITECTURES = {"X86_64": Architecture.x86_64, "AARCH64": Architecture.arm64}


def live_instances(place: Place, release: str) -> dict[str, InstanceType]:
    """The instance types that EMR offers in a release, with today's list prices of the region.

    What a type is, is taken from the package where it is known there: EMR's own figures are
    rounded (README.md). Needs `elasticmapreduce:ListSupportedInstanceTypes` and
    `pricing:GetProducts`.

    Raises:
        botocore.exceptions.ClientError: AWS refuses.
    """
    packaged = instance_types()
    region = place.region or _PRICING_REGION
    prices = dict(_prices(place, "AmazonEC2", _on_demand(region)))
    fees = dict(_prices(place, "ElasticMapReduce", {"regionCode": region, "softwareType": "EMR"}))
    found = {}
    for told in _supported(place, release):
        name = str(told["Type"])
        one = packaged.get(name) or InstanceType(
            name=name,
            vcpus=int(told["VCPU"]),
            memory_gib=float(told["MemoryGB"]),
            local_storage_gb=float(told.get("StorageGB", 0)),
            architecture=_ARCHITECTURES[told.get("Architecture", "X86_64")],
        )
        found[name] = replace(
            one,
            emr_since=release,
            on_demand_usd_per_hour=prices.get(name),
            emr_fee_usd_per_hour=fees.get(name),
            emr_fee_source="pricing-api" if name in fees else None,
        )
    return found


def _supported(place: Place, release: str) -> Iterator[Mapping[str, Any]]:
    emr = aws_client("emr", place)
    marker: dict[str, str] = {}
    while True:
        page = emr.list_supported_instance_types(ReleaseLabel=release, **marker)
        yield from page.get("SupportedInstanceTypes", [])
        if not page.get("Marker"):
            return
        marker = {"Marker": page["Marker"]}


def _on_demand(region: str) -> dict[str, str]:
    return {
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }


def _prices(place: Place, service: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Instance types of a service's price list, and what an hour of each costs."""
    pricing = aws_client("pricing", replace(place, region=_PRICING_REGION))
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
    token: dict[str, str] = {}
    while True:
        page = pricing.get_products(ServiceCode=service, Filters=filters, **token)
        for text in page["PriceList"]:
            product = json.loads(text)
            name = product["product"]["attributes"].get("instanceType")
            price = _hourly(product.get("terms", {}).get("OnDemand", {}))
            if name and price is not None:
                yield name, price
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _hourly(terms: Mapping[str, Any]) -> float | None:
    for offer in terms.values():
        for dimension in offer["priceDimensions"].values():
            if dimension["unit"] in {"Hrs", "Hours"} and float(dimension["pricePerUnit"]["USD"]):
                return float(dimension["pricePerUnit"]["USD"])
    return None
