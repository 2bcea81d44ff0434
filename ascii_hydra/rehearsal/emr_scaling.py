"""Managed scaling, at its simplest: all that is allowed while there are steps, else what was asked.

The real one looks at what YARN needs, and grows step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ascii_hydra.rehearsal.emr_instances import Collection, Instance, task_collection


def grown(
    collections: list[Collection], limits: Mapping[str, Any], now: float
) -> Sequence[Instance]:
    """Ask for instances up to the policy's maximum; returns those that are now coming.

    Task nodes come where core nodes may not; a cluster without any gets a collection of them.

    Args:
        collections: of the cluster; may grow by one.
        limits: the policy's ComputeLimits. Every unit counts as one of a fleet's, or an instance.
        now: virtual time.
    """
    workers = [one for one in collections if one.role != "MASTER"]
    most = int(limits["MaximumCapacityUnits"])
    room = most - sum(one.units() for one in workers)
    core = next((one for one in workers if one.role == "CORE"), None)
    if room <= 0 or core is None:
        return ()
    in_core = min(room, max(0, int(limits.get("MaximumCoreCapacityUnits", most)) - core.units()))
    on_demand = int(limits.get("MaximumOnDemandCapacityUnits", most))
    on_demand = max(0, on_demand - sum(one.units("ON_DEMAND") for one in workers))
    growing = [(core, in_core)]
    if room > in_core:
        task = next((one for one in workers if one.role == "TASK"), None)
        if task is None:
            task = task_collection(core)
            collections.append(task)
        growing.append((task, room - in_core))
    coming: list[Instance] = []
    for collection, units in growing:
        before = len(collection.instances)
        bought = min(units, on_demand)
        on_demand -= bought
        collection.launch("ON_DEMAND", bought, now, added=True)
        collection.launch("SPOT", units - bought, now, added=True)
        coming += collection.instances[before:]
    return coming


def shrink(collections: Sequence[Collection], now: float) -> None:
    """Let go of every instance that scaling has added."""
    for collection in collections:
        for instance in collection.instances:
            if instance.added and instance.ended is None:
                instance.state, instance.ended = "TERMINATED", now
