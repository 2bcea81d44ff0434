"""What a price is, and the list of them that a region, a tier and discounts make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ascii_hydra.config.schema import PricesConfig


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
        date: when it was true there: `2026-07-20`, or as exact as is known: `2019`.
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
    """

    region: str
    tier: str

    def ec2(self, instance_type: str, market: Market) -> Price | None:
        """USD an hour of an instance. Spot is never above on demand."""
        raise NotImplementedError

    def emr_fee(self, instance_type: str) -> Price | None:
        """USD an hour that EMR takes on top; the same on spot and on demand."""
        raise NotImplementedError

    def dbus(self, instance_type: str, sku: str, *, photon: bool) -> Price | None:
        """DBU an hour of an instance."""
        raise NotImplementedError

    def dbu(self, sku: str) -> Price | None:
        """USD a DBU."""
        raise NotImplementedError

    def ebs(self, volume_type: str) -> Price | None:
        """USD a GB-month: of 30 days, as EBS bills it."""
        raise NotImplementedError


def price_list(config: PricesConfig, region: str) -> PriceList:
    """The prices that hold for a region, by what is configured."""
    return PriceList(region, config.tier.value)
