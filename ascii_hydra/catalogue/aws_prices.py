"""Prices as AWS tells them now: of the Price List API, and of EC2's spot market."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.catalogue.price_tables import Kind

# The Pricing API is answered in three regions; this one is in every account's reach.
_PRICING_REGION = "us-east-1"
_HOURS, _GB_MONTHS = frozenset({"Hrs", "Hours"}), frozenset({"GB-Mo"})
_REGIONAL = {"locationType": "AWS Region"}  # not of local zones
# Those that cost nothing but their storage. Of gp3 that is so up to what comes with a volume, and
# nothing here asks for more; io1, io2 and standard are charged by their operations too.
_VOLUME_TYPES = frozenset({"gp2", "gp3", "st1", "sc1"})


@dataclass(frozen=True)
class Product:
    """What GetProducts is asked for.

    Attributes:
        service: its code.
        filters: attributes that have to match, the region apart.
        item: the attribute that names the item.
        units: in which a price counts.
    """

    service: str
    filters: Mapping[str, str]
    item: str
    units: frozenset[str]


_PRODUCTS: Mapping[Kind, Product] = {
    Kind.ec2_on_demand: Product(
        "AmazonEC2",
        {
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            **_REGIONAL,
        },
        "instanceType",
        _HOURS,
    ),
    # Beside EMR's own there are fees of other vendors' software on it.
    Kind.emr_fee: Product(
        "ElasticMapReduce", {"softwareType": "EMR", **_REGIONAL}, "instanceType", _HOURS
    ),
    Kind.ebs: Product(
        "AmazonEC2", {"productFamily": "Storage", **_REGIONAL}, "volumeApiName", _GB_MONTHS
    ),
}


@dataclass(frozen=True)
class Told:
    """What a seller told.

    Attributes:
        values: the prices by their items.
        refused: why others are none, by their items.
    """

    values: Mapping[str, float]
    refused: Mapping[str, str] = field(default_factory=dict)


class UnreadableError(Exception):
    """An answer that is not as it is documented."""


def aws_prices(kind: Kind, place: Place, region: str) -> Told:
    """Prices of a region: `ec2_on_demand`, `ec2_spot`, `emr_fee` or `ebs`.

    Needs `pricing:GetProducts`, and for spot `ec2:DescribeSpotPriceHistory`.

    Raises:
        botocore.exceptions.ClientError: AWS refuses.
        botocore.exceptions.BotoCoreError: it cannot be reached, or there are no credentials.
        UnreadableError: the answer is not as it is documented.
    """
    if kind is Kind.ec2_spot:
        return _spot(replace(place, region=region))
    return _agreed(_listed(_PRODUCTS[kind], place, region))


def _listed(product: Product, place: Place, region: str) -> Iterator[tuple[str, str]]:
    pricing = aws_client("pricing", replace(place, region=_PRICING_REGION))
    wanted = {"regionCode": region, **product.filters}
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
    token: dict[str, str] = {}
    while True:
        page = pricing.get_products(ServiceCode=product.service, Filters=filters, **token)
        for text in page["PriceList"]:
            try:
                yield from _offers(product, json.loads(text))
            except (ValueError, KeyError, TypeError, AttributeError) as fault:
                what = f"a product of {product.service} is not as AWS documents it"
                raise UnreadableError(f"{what} ({type(fault).__name__}: {fault})") from None
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _offers(product: Product, told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    item = told["product"]["attributes"].get(product.item)
    if not item or (product.item == "volumeApiName" and item not in _VOLUME_TYPES):
        return
    for offer in told.get("terms", {}).get("OnDemand", {}).values():
        for dimension in offer["priceDimensions"].values():
            # Reserved and free ones are listed at 0.
            price = dimension["pricePerUnit"].get("USD")
            if dimension["unit"] in product.units and price is not None and price.strip("0."):
                yield item, price


def _agreed(offers: Iterable[tuple[str, str]]) -> Told:
    """One price an item. Several that differ are of different products: none of them is taken."""
    values: dict[str, float] = {}
    refused: dict[str, str] = {}
    for item, text in offers:
        try:
            value = float(text)
        except ValueError:
            refused[item] = f"{text!r} is no number"
            continue
        if values.setdefault(item, value) != value:
            refused[item] = f"it is listed at {values[item]:g} and at {value:g}"
    return Told({k: v for k, v in values.items() if k not in refused}, refused)


def _spot(place: Place) -> Told:
    """The median over a region's zones of their newest prices."""
    now = datetime.now(UTC)
    newest: dict[tuple[str, str], tuple[datetime, str]] = {}
    ec2 = aws_client("ec2", place)
    token: dict[str, str] = {}
    while True:
        # From now on: the price that holds, of each type and zone.
        page = ec2.describe_spot_price_history(
            ProductDescriptions=["Linux/UNIX"], StartTime=now, **token
        )
        for one in page["SpotPriceHistory"]:
            key, at = (one["InstanceType"], one["AvailabilityZone"]), one["Timestamp"]
            if at <= now and (key not in newest or newest[key][0] < at):
                newest[key] = (at, one["SpotPrice"])
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    by_type: dict[str, list[float]] = {}
    refused: dict[str, str] = {}
    for (name, zone), (_, text) in newest.items():
        try:
            by_type.setdefault(name, []).append(float(text))
        except ValueError:
            refused[name] = f"{text!r} in {zone} is no number"
    return Told(
        {name: median(prices) for name, prices in by_type.items() if name not in refused}, refused
    )
