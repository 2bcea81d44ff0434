"""What instances cost while they wait in a pool between the clusters of a launch. Pure.

The API tells how many instances of a pool are idle at a moment, and not for how long they were. But
the pools of a launch begin empty and serve its clusters alone, so it follows from when those had
which instances: one that a cluster gives back waits until the next cluster takes it, until it has
been idle for too long, or until the pool is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.usage import InstanceUse
from ascii_hydra.engines.databricks.planned_usage import pool_node


@dataclass(frozen=True)
class Lease:
    """One instance of a pool while a cluster had it.

    Attributes:
        since, until: seconds since the epoch.
    """

    since: float
    until: float


def idle_seconds(leases: Iterable[Lease], *, limit_s: float, deleted: float) -> tuple[float, ...]:
    """For how long instances waited, each time.

    Args:
        leases: of a pool, all that there were.
        limit_s: an instance that has been idle for so long ends.
        deleted: when the pool was deleted, in seconds since the epoch; infinite if it was not.
    """
    every = sorted(leases, key=lambda one: one.since)
    returned = sorted(one.until for one in every)
    found: list[float] = []
    waiting: list[float] = []
    for one in every:
        while returned and returned[0] <= one.since:
            waiting.append(returned.pop(0))
        fresh = [since for since in waiting if one.since - since < limit_s]
        found += [limit_s] * (len(waiting) - len(fresh))
        if fresh:
            found.append(one.since - fresh.pop())
        waiting = fresh
    found += [min(limit_s, max(0.0, deleted - since)) for since in (*waiting, *returned)]
    return tuple(one for one in found if one > 0)


def idle_uses(body: Mapping[str, Any], waits: Iterable[float]) -> tuple[InstanceUse, ...]:
    """What waiting instances have used: EC2 and EBS, and no DBU.

    Args:
        body: of the pool, as instance-pools/create has it.
        waits: for how long each waited, in seconds.
    """
    node = pool_node(body)
    assert node.instance_type is not None
    return tuple(
        InstanceUse(
            role="pool",
            instance_type=node.instance_type,
            market=Market.spot if node.spot else Market.on_demand,
            count=count,
            rented_s=waited_s,
            charged_s=0.0,
            worked_s=0.0,
            disks=node.disks,
            share=True,
        )
        for waited_s, count in Counter(waits).items()
    )
