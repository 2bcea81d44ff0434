"""Which instance types would do, cheapest first."""

from __future__ import annotations

from collections.abc import Iterable

from ascii_hydra.catalogue.instances import InstanceType, size_rank
from ascii_hydra.catalogue.prices import Market, PriceList
from ascii_hydra.config.cluster_schema import InstanceFilters


def matching(
    filters: InstanceFilters,
    instances: Iterable[InstanceType],
    release: str,
    prices: PriceList,
) -> list[InstanceType]:
    """The instance types that EMR offers in a release and that the filters let pass, by price:
    on demand with EMR's fee. A type without a price is never taken.

    Raises:
        ValueError: `size_at_most` is no size.
    """
    largest = None if filters.size_at_most is None else size_rank(filters.size_at_most)

    def would_do(one: InstanceType) -> bool:
        return (
            one.offered_in(release)
            and _within(one.vcpus, filters.vcpus, filters.vcpus_at_most)
            and _within(one.memory_gib, filters.memory_gib, filters.memory_gib_at_most)
            and _within(one.local_storage_gb, filters.storage_gb, None)
            and (not filters.families or one.family in filters.families)
            and filters.architecture in (None, one.architecture)
            and (largest is None or size_rank(one.size) <= largest)
        )

    priced = [(usd_per_hour(one.name, prices), one) for one in instances if would_do(one)]
    found = sorted((usd, one.name, one) for usd, one in priced if usd is not None)
    return [one for _, _, one in found]


def usd_per_hour(instance_type: str, prices: PriceList) -> float | None:
    """USD an hour of an instance of an EMR cluster on demand: EC2 and EMR's fee, without disks.
    None without a price."""
    ec2, fee = prices.ec2(instance_type, Market.on_demand), prices.emr_fee(instance_type)
    return None if ec2 is None or fee is None else ec2.value + fee.value


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
