"""The instances that a RunJobFlow asks for, however it names them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue.prices import Market

ROLES: Mapping[str, str] = {"MASTER": "primary", "CORE": "core", "TASK": "task"}
"""EMR's word for a role, and that of bills."""


@dataclass(frozen=True)
class Nodes:
    """Instances of one role and one market.

    Attributes:
        role: primary, core or task.
        market: spot or on demand.
        count: how many at the start. Of a fleet whose types have different weights it is counted in
            the first type.
        types: instance types; EMR may choose any of several.
        specs: what is asked of each type: the instance group, or one of a fleet's
            InstanceTypeConfigs.
    """

    role: str
    market: Market
    count: int
    types: tuple[str, ...]
    specs: tuple[Mapping[str, Any], ...]


def nodes_of(flow: Mapping[str, Any]) -> tuple[Nodes, ...]:
    """The instances of a cluster at its start.

    Args:
        flow: the arguments of RunJobFlow.
    """
    instances = flow["Instances"]
    return (
        *_of_counts(instances),
        *(one for group in instances.get("InstanceGroups", ()) for one in _of_group(group)),
        *(one for fleet in instances.get("InstanceFleets", ()) for one in _of_fleet(fleet)),
    )


def worker_nodes(flow: Mapping[str, Any]) -> tuple[Nodes, ...]:
    """The instances that executors run on: core and task nodes; the primary of a cluster that has
    nothing else."""
    every = nodes_of(flow)
    return tuple(one for one in every if one.role != "primary") or every


def most_workers(flow: Mapping[str, Any], vcpus: int) -> int:
    """How many workers managed scaling may make of a cluster; those at the start if it has none.

    Args:
        flow: the arguments of RunJobFlow.
        vcpus: of a worker, by which a limit of vCPUs is divided.
    """
    count = sum(one.count for one in worker_nodes(flow))
    limits = (flow.get("ManagedScalingPolicy") or {}).get("ComputeLimits") or {}
    highest = limits.get("MaximumCapacityUnits", count)
    if limits.get("UnitType") == "VCPU":
        highest //= vcpus
    return max(count, int(highest))


def _of_counts(instances: Mapping[str, Any]) -> Iterator[Nodes]:
    """The short form: one type for the primary, and one for `InstanceCount - 1` core nodes."""
    primary: str | None = instances.get("MasterInstanceType")
    if primary is None:
        return
    yield Nodes("primary", Market.on_demand, 1, (primary,), ({},))
    worker: str = instances.get("SlaveInstanceType") or primary
    if (count := instances.get("InstanceCount", 1) - 1) > 0:
        yield Nodes("core", Market.on_demand, count, (worker,), ({},))


def _of_group(group: Mapping[str, Any]) -> Iterator[Nodes]:
    market = Market.spot if group.get("Market") == "SPOT" else Market.on_demand
    role, name = group["InstanceRole"], group["InstanceType"]
    yield Nodes(ROLES.get(role, role), market, group["InstanceCount"], (name,), (group,))


def _of_fleet(fleet: Mapping[str, Any]) -> Iterator[Nodes]:
    specs = tuple(fleet.get("InstanceTypeConfigs", ()))
    names = tuple(one["InstanceType"] for one in specs)
    role = fleet["InstanceFleetType"]
    for key, market in (
        ("TargetOnDemandCapacity", Market.on_demand),
        ("TargetSpotCapacity", Market.spot),
    ):
        if specs and (units := fleet.get(key, 0)):
            count = math.ceil(units / specs[0].get("WeightedCapacity", 1))
            yield Nodes(ROLES.get(role, role), market, count, names, specs)
