"""What a price is, and the list of them that a region, a tier and discounts make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ascii_hydra.catalogue.price_tables import (
    HOME_REGION,
    PACKAGED,
    UNITS,
    Figure,
    Key,
    Kind,
    Table,
    dbu_key,
    table_of,
)
from ascii_hydra.config.choices import Architecture
from ascii_hydra.config.compose import project_folder
from ascii_hydra.config.schema import Discounts, PricesConfig

# Of EMR's fee where it is not known: README.md, "EMR's fee".
_FEE_SHARE = 0.25
_FEE_CAP_USD_PER_HOUR, _CAPPED_GENERATION = 0.27, "5"
_PHOTON = "_(PHOTON)"
# What is of a type or a product, and the same in every region.
_EVERYWHERE = frozenset({Kind.dbu_per_hour, Kind.photon_multiplier})


class Market(StrEnum):
    """How an instance is rented."""

    on_demand = "on demand"
    spot = "spot"


@dataclass(frozen=True)
class Price:
    """One figure of a price list.

    Attributes:
        value: USD a unit, or units of another kind (DBU an hour).
        unit: `USD per hour`, `USD per DBU`, `USD per GB-month`, `DBU per hour`, ...
        source: where it is from, for people.
        date: when it was true there: `2026-07-20`, or as exact as is known: `2019`. Of a figure
            that is made of several, that of the oldest.
        estimated: it is no published price, but taken from others by a formula that `source` names.
    """

    value: float
    unit: str
    source: str
    date: str
    estimated: bool = False


@dataclass(frozen=True)
class PriceList:
    """Prices of one region. What has no price is None, never 0.

    Attributes:
        region: AWS region.
        tier: of the Databricks workspace.
        discounts: taken off every price that is told.
        own: list prices of the region itself.
        home: those of us-east-1. They stand in, as estimates, for what the region has not.
    """

    region: str
    tier: str
    discounts: Discounts = field(default_factory=Discounts)
    own: Table = field(default_factory=dict, repr=False, compare=False)
    home: Table = field(default_factory=dict, repr=False, compare=False)

    def ec2(self, instance_type: str, market: Market) -> Price | None:
        """USD an hour of an instance.

        Spot is what was seen when prices were refreshed, else the price on demand less the usual
        saving: an estimate in both cases, because it changes by the hour and the zone. It is never
        above the list price on demand, which is where EC2 caps a request that names no other.
        """
        if market is Market.spot:
            return self._spot(instance_type)
        found = self._listed(Kind.ec2_on_demand, instance_type)
        return found and _less(found, self.discounts.ec2_pct, "ec2_pct")

    def emr_fee(self, instance_type: str) -> Price | None:
        """USD an hour that EMR takes on top; the same on spot and on demand.

        Where it is not published it is taken as 25 % of the list price on demand: of the fifth
        generation up to $0.27, as all published fees of it are; of others without a limit, because
        nothing is known of one.
        """
        fee = self._listed(Kind.emr_fee, instance_type)
        if fee is None:
            on_demand = self._listed(Kind.ec2_on_demand, instance_type)
            fee = on_demand and _fee_of(instance_type, on_demand)
        return fee and _less(fee, self.discounts.emr_pct, "emr_pct")

    def dbus(self, instance_type: str, sku: str, *, photon: bool) -> Price | None:
        """DBU an hour of an instance. Photon multiplies them, by what it is sold as. Serverless
        compute has none: its DBU are metered, and of no instance."""
        if "SERVERLESS" in sku:
            return None
        found = self._listed(Kind.dbu_per_hour, instance_type)
        if found is None or not photon:
            return found
        times = self._listed(Kind.photon_multiplier, sku.removesuffix(_PHOTON))
        return times and replace(
            found,
            value=found.value * times.value,
            source=f"{found.source}, x {times.value:g} for Photon ({times.source})",
            date=min(found.date, times.date),
            estimated=True,
        )

    def dbu(self, sku: str) -> Price | None:
        """USD a DBU. No other region's stands in."""
        found = self._listed(*dbu_key(self.tier, sku))
        return found and _less(found, self.discounts.dbu_pct, "dbu_pct")

    def ebs(self, volume_type: str) -> Price | None:
        """USD a GB-month: of 30 days, as EBS bills it. None for types whose operations a second
        cost extra (io1, io2): their storage alone would look like all."""
        found = self._listed(Kind.ebs, volume_type)
        return found and _less(found, self.discounts.ebs_pct, "ebs_pct")

    def emr_serverless(self, kind: Kind, architecture: Architecture) -> Price | None:
        """USD of EMR Serverless: `Kind.emr_serverless_vcpu`, `_memory` or `_storage`."""
        found = self._listed(kind, architecture.value)
        return found and _less(found, self.discounts.emr_pct, "emr_pct")

    def _spot(self, instance_type: str) -> Price | None:
        on_demand = self._listed(Kind.ec2_on_demand, instance_type)
        seen = self._listed(Kind.ec2_spot, instance_type)
        of_here = (Kind.ec2_on_demand, instance_type) in self.own
        if seen is not None and of_here and (Kind.ec2_spot, instance_type) not in self.own:
            seen = None  # of another region, while this one's price on demand is known
        if seen is None:
            saving = self._listed(Kind.spot_saving_pct, instance_type)
            if on_demand is None or saving is None:
                return None
            seen = replace(
                on_demand,
                value=on_demand.value * (1 - saving.value / 100),
                source=f"{on_demand.source}, less {saving.value:g} % for spot ({saving.source})",
                date=min(on_demand.date, saving.date),
            )
        elif on_demand is not None and seen.value > on_demand.value:
            seen = replace(
                seen, value=on_demand.value, source=f"{seen.source}, at most the price on demand"
            )
        return _less(replace(seen, estimated=True), self.discounts.spot_pct, "spot_pct")

    def _listed(self, kind: Kind, item: str) -> Price | None:
        """The list price, of the region or of what stands in for it."""
        key: Key = (kind, item)
        if (figure := self.own.get(key)) is not None:
            return _price(kind, figure)
        figure = None if kind is Kind.dbu else self.home.get(key)
        if figure is None:
            return None
        found = _price(kind, figure)
        if kind in _EVERYWHERE or self.region == HOME_REGION:
            return found
        source = f"{found.source}, of {HOME_REGION} for want of {self.region}'s"
        return replace(found, source=source, estimated=True)


def price_list(config: PricesConfig, region: str | None) -> PriceList:
    """The prices that hold for a region, by what is configured: those of `prices.folder` before
    those of the package. A region that is not known is taken for us-east-1.

    Raises:
        ConfigError: a file in `prices.folder` is not as it has to be.
    """
    region = region or HOME_REGION
    home = known(config, HOME_REGION)
    own = home if region == HOME_REGION else known(config, region)
    return PriceList(region, config.tier.value, config.discounts, own, home)


def known(config: PricesConfig, region: str) -> Table:
    """The list prices of a region itself, refreshed ones before packaged ones. Raises ConfigError
    as `price_list`."""
    refreshed = table_of(project_folder() / config.folder, region)
    packaged = table_of(PACKAGED, region)
    return {**packaged, **refreshed} if refreshed else packaged


def _price(kind: Kind, figure: Figure) -> Price:
    source = figure.source
    return Price(figure.value, UNITS[kind], source.what, source.date, estimated=not source.exact)


def _less(price: Price, pct: float, key: str) -> Price:
    if not pct:
        return price
    source = f"{price.source}, less {pct:g} % (prices.discounts.{key})"
    return replace(price, value=price.value * (1 - pct / 100), source=source)


def _fee_of(instance_type: str, on_demand: Price) -> Price:
    value = _FEE_SHARE * on_demand.value
    formula = f"{100 * _FEE_SHARE:g} % of EC2 on demand"
    over = value > _FEE_CAP_USD_PER_HOUR
    if _generation(instance_type) == _CAPPED_GENERATION:
        value = min(value, _FEE_CAP_USD_PER_HOUR)
        formula += f", at most ${_FEE_CAP_USD_PER_HOUR}, as EMR's published fees of its generation"
    elif over:
        formula += (
            f" (${_FEE_CAP_USD_PER_HOUR} if the limit of the fifth generation holds for it too)"
        )
    return replace(on_demand, value=value, source=f"{formula}: {on_demand.source}", estimated=True)


def _generation(instance_type: str) -> str:
    """`5` of `m5d.xlarge`; empty if the name has none."""
    return next((one for one in instance_type.partition(".")[0] if one.isdigit()), "")
