"""Which instance types would do, cheapest first."""

from __future__ import annotations

from collections.abc import Iterable

from ascii_hydra.catalogue.instances import InstanceType, size_rank
from ascii_hydra.config.cluster_schema import InstanceFilters


def matching(
    filters: InstanceFilters, instances: Iterable[InstanceType], release: str
) -> list[InstanceType]:
    """The instance types that EMR offers in a release and that the filters let pass, by price:
    on demand with EMR's fee, an estimated one where it is not known. A type without a price is
    never taken.

    Raises:
        ValueError: `size_at_most` is no size.
    """
    largest = None if filters.size_at_most is None else size_rank(filters.size_at_most)

    def would_do(one: InstanceType) -> bool:
        return (
            one.offered_in(release)
            and one.emr_usd_per_hour is not None
            and _within(one.vcpus, filters.vcpus, filters.vcpus_at_most)
            and _within(one.memory_gib, filters.memory_gib, filters.memory_gib_at_most)
            and _within(one.local_storage_gb, filters.storage_gb, None)
            and (not filters.families or one.family in filters.families)
            and filters.architecture in (None, one.architecture)
            and (largest is None or size_rank(one.size) <= largest)
        )

    found = [one for one in instances if would_do(one)]
    return sorted(found, key=lambda one: (one.emr_usd_per_hour or 0.0, one.name))


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
