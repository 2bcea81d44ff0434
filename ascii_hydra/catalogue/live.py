"""Instance types and prices as AWS tells them now; for `cluster.filters.source=live`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.catalogue.aws_prices import aws_prices
from ascii_hydra.catalogue.instances import InstanceType, instance_types
from ascii_hydra.catalogue.plausible import refusals
from ascii_hydra.catalogue.price_tables import HOME_REGION, Figure, Key, Kind, Source
from ascii_hydra.catalogue.prices import PriceList, price_list
from ascii_hydra.config.choices import Architecture
from ascii_hydra.config.schema import PricesConfig

_ARCHITECTURES = {"X86_64": Architecture.x86_64, "AARCH64": Architecture.arm64}


@dataclass(frozen=True)
class LiveCatalogue:
    """What can be rented now.

    Attributes:
        instances: the instance types that EMR offers in a release, by their names.
        prices: of them: on demand and EMR's fee of today, all else as it is known.
    """

    instances: Mapping[str, InstanceType]
    prices: PriceList


def live_catalogue(place: Place, release: str, config: PricesConfig) -> LiveCatalogue:
    """The instance types that EMR offers in a release, with today's list prices of the region.

    What a type is, is taken from the package where it is known there: EMR's own figures are
    rounded (README.md). Needs `elasticmapreduce:ListSupportedInstanceTypes` and
    `pricing:GetProducts`.

    Raises:
        botocore.exceptions.ClientError: AWS refuses.
        ascii_hydra.catalogue.aws_prices.UnreadableError: it answers as nobody expects.
    """
    packaged = instance_types()
    region = place.region or HOME_REGION
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
        found[name] = replace(one, emr_since=release)
    return LiveCatalogue(found, _prices(place, region, config))


def _prices(place: Place, region: str, config: PricesConfig) -> PriceList:
    today = datetime.now(UTC).date().isoformat()
    source = Source(f"aws-price-list-{today}", today, exact=True, what="AWS Price List API")
    known = price_list(config, region)
    fresh: dict[Key, Figure] = {}
    for kind in (Kind.ec2_on_demand, Kind.emr_fee):
        values = aws_prices(kind, place, region).values
        refused = refusals(kind, values, {**known.own, **fresh})
        fresh |= {
            (kind, item): Figure(value, source)
            for item, value in values.items()
            if item not in refused
        }
    kept = {
        key: one
        for key, one in known.own.items()
        if key[0] not in (Kind.ec2_on_demand, Kind.emr_fee)
    }
    # What is not on today's list is not for sale there, whatever it costs elsewhere; what cannot be
    # true is no price either.
    home = {key: one for key, one in known.home.items() if key[0] is not Kind.ec2_on_demand}
    return replace(known, own={**kept, **fresh}, home=home)


def _supported(place: Place, release: str) -> Iterator[Mapping[str, Any]]:
    emr = aws_client("emr", place)
    marker: dict[str, str] = {}
    while True:
        page = emr.list_supported_instance_types(ReleaseLabel=release, **marker)
        yield from page.get("SupportedInstanceTypes", [])
        if not page.get("Marker"):
            return
        marker = {"Marker": page["Marker"]}
