"""Which figures cannot be true: the packaged ones pass this, and refreshed ones have to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise

from ascii_hydra.catalogue.instances import size_rank
from ascii_hydra.catalogue.price_tables import UNITS, Kind, Table, dbu_key, possible
from ascii_hydra.config.choices import Tier

# Our choice: a wrong unit or a wrong product is further off, a list price hardly moves so much.
_MOST_CHANGE = 5.0
# Of the price on demand, and our choice: the highest average saving packaged is 84 %.
_LEAST_SPOT_SHARE = 0.02
# Priced by accelerators, which do not grow with the size: g5.12xlarge has four, g5.16xlarge one.
_ACCELERATED = ("dl", "f", "g", "inf", "p", "trn", "vt")
_GROWING = (Kind.ec2_on_demand, Kind.emr_fee, Kind.dbu_per_hour)
_STEADY = (Kind.ec2_on_demand, Kind.emr_fee, Kind.ebs, Kind.dbu)


def refusals(kind: Kind, values: Mapping[str, float], before: Table) -> dict[str, str]:
    """Why figures of a kind cannot be true, by their items; the others may be.

    Args:
        kind: what they are of.
        values: the figures by their items.
        before: what is known of the same region; on-demand prices that are new among it.
    """
    found: dict[str, str] = {}
    for item, value in values.items():
        reason = _impossible(kind, item, value, before)
        if reason is not None:
            found[item] = reason
    left = {item: value for item, value in values.items() if item not in found}
    if kind in _GROWING:
        found |= dict(_falling(left))
    if kind is Kind.dbu:
        found |= dict(_cheaper_enterprise(left))
    return found


def _impossible(kind: Kind, item: str, value: float, before: Table) -> str | None:
    if not possible(kind, value):
        return f"{value:g} cannot be {UNITS[kind]}"
    old = before.get((kind, item))
    if kind in _STEADY and old is not None:
        times = value / old.value
        if not 1 / _MOST_CHANGE <= times <= _MOST_CHANGE:
            return f"{value:g} is {times:.3g} times what it was"
    on_demand = before.get((Kind.ec2_on_demand, item))
    if on_demand is None:
        return None
    if kind is Kind.emr_fee and value >= on_demand.value:
        return f"{value:g} is not below EC2's own price, {on_demand.value:g}"
    if kind is Kind.ec2_spot and value < _LEAST_SPOT_SHARE * on_demand.value:
        return f"{value:g} is less than {100 * _LEAST_SPOT_SHARE:g} % of the price on demand"
    return None


def _falling(values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """A larger size that costs less than a smaller one: either may be wrong."""
    ranked = sorted(
        (name.partition(".")[0], rank, name)
        for name in values
        if (rank := _rank(name)) is not None and not name.startswith(_ACCELERATED)
    )
    for _, members in groupby(ranked, key=lambda one: one[0]):
        for (_, _, smaller), (_, _, larger) in pairwise(members):
            if values[larger] < values[smaller]:
                told = f"{values[larger]:g} of {larger} is below {values[smaller]:g} of {smaller}"
                yield smaller, told
                yield larger, told


def _rank(name: str) -> int | None:
    try:
        return size_rank(name.partition(".")[2])
    except ValueError:  # a size that is not known yet
        return None


def _cheaper_enterprise(values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for item, value in values.items():
        tier, _, sku = item.partition("/")
        _, premium = dbu_key(Tier.premium, sku)
        if tier == Tier.enterprise and premium in values and value < values[premium]:
            told = f"{value:g} of {item} is below {values[premium]:g} of {premium}"
            yield item, told
            yield premium, told
