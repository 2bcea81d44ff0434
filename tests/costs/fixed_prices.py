"""A price list of the tests' own, so that no refreshed price changes what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ascii_hydra.catalogue.prices import Market, Price, PriceList

ON_DEMAND = {"m5d.xlarge": 0.226, "m5d.2xlarge": 0.452, "m5d.4xlarge": 0.904}
SPOT = {"m5d.xlarge": 0.09, "m5d.2xlarge": 0.18, "m5d.4xlarge": 0.36}
FEE = {"m5d.xlarge": 0.057, "m5d.2xlarge": 0.113, "m5d.4xlarge": 0.226}
DBU = {"m5d.xlarge": 0.69, "m5d.2xlarge": 1.37, "m5d.4xlarge": 2.74}
USD_PER_DBU = {"JOBS_COMPUTE": 0.15, "ALL_PURPOSE_COMPUTE": 0.55}
EBS = {"gp3": 0.08, "st1": 0.045}
PHOTON = 2.9


@dataclass(frozen=True)
class FixedPrices(PriceList):
    """Its prices, times `factor`; none of those named in `missing`."""

    factor: float = 1.0
    missing: frozenset[str] = frozenset()

    def ec2(self, instance_type: str, market: Market) -> Price | None:
        spot = market is Market.spot
        return self._priced("ec2", SPOT if spot else ON_DEMAND, instance_type, estimated=spot)

    def emr_fee(self, instance_type: str) -> Price | None:
        return self._priced("fee", FEE, instance_type, "2019")

    def dbus(self, instance_type: str, sku: str, *, photon: bool) -> Price | None:
        if "SERVERLESS" in sku or "dbus" in self.missing:
            return None
        value = DBU[instance_type] * (PHOTON if photon else 1)
        return Price(value, "DBU per hour", "test dbus", "2025-01-01", estimated=photon)

    def dbu(self, sku: str) -> Price | None:
        return self._priced("dbu", USD_PER_DBU, sku)

    def ebs(self, volume_type: str) -> Price | None:
        return self._priced("ebs", EBS, volume_type)

    def _priced(
        self,
        kind: str,
        values: Mapping[str, float],
        item: str,
        date: str = "2026-01-01",
        *,
        estimated: bool = False,
    ) -> Price | None:
        if kind in self.missing or item not in values:
            return None
        return Price(values[item] * self.factor, "USD", f"test {kind}", date, estimated)


PRICES = FixedPrices("us-east-1", "premium")
