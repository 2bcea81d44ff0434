"""The nodes of a cluster of the rehearsal workspace: how many, where from, and which on spot.

Everything here happens under the agenda's lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ascii_hydra.rehearsal import databricks_rules as rules
from ascii_hydra.rehearsal.agenda import Appointment
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError
from ascii_hydra.rehearsal.databricks_pools import Pool, Pools
from ascii_hydra.rehearsal.world import World

# The API's values if none are given.
_AVAILABILITY, _POOL_AVAILABILITY, _FIRST_ON_DEMAND = "SPOT_WITH_FALLBACK", "SPOT", 1
# Virtual seconds. A cluster with autoscale grows to its largest once a step has executed for so
# long, and one that stays shrinks to its smallest when none has for so long.
_GROWS_S, _SHRINKS_S = 60.0, 600.0


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        started: virtual time, in seconds since the epoch.
        spot: it is on spot.
    """

    started: float
    spot: bool
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    def as_json(self) -> dict[str, Any]:
        """As clusters/get tells it."""
        return {
            "node_id": self.id,
            "instance_id": f"i-{self.id[:17]}",
            "start_timestamp": int(self.started * 1000),
            "node_aws_attributes": {"is_spot": self.spot},
        }


class Nodes:
    """The nodes of one cluster.

    Args:
        world, pools: where they are from.
        spec: of the cluster.
        later: lets something happen unless the cluster ends before.
        tell: takes the type and the details of an event.

    Attributes:
        resizing: more of them are on their way.
    """

    def __init__(
        self,
        world: World,
        pools: Pools,
        spec: Mapping[str, Any],
        later: Callable[[float, Callable[[], None]], Appointment],
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self.resizing = False
        self._world, self._pools, self._spec = world, pools, spec
        self._later, self._tell = later, tell
        self._workers_pool = spec.get("instance_pool_id")
        self._driver_pool = spec.get("driver_instance_pool_id", self._workers_pool)
        self._types = self._node_types()
        self._nodes: list[Node] = []
        self._taken: dict[Pool, int] = {}
        self._scaling: Appointment | None = None
        self._spot_lacks = False

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return max(0, len(self._nodes) - 1)

    def take(self) -> bool:
        """Take instances of pools; True if all that are needed have waited there.

        Raises WorkspaceError: a pool is full.
        """
        needed: dict[str, int] = {}
        workers = rules.workers(self._spec)
        for name, count in ((self._workers_pool, workers), (self._driver_pool, 1)):
            if name is not None:
                needed[name] = needed.get(name, 0) + count
        waited = [self._took(name, count) for name, count in needed.items()]
        return bool(waited) and all(waited)

    def begin(self, *, spot_lacks: bool) -> None:
        """AWS has given the instances: they start."""
        self._spot_lacks = spot_lacks
        self._nodes = [self._node(place) for place in range(rules.workers(self._spec) + 1)]

    def end(self) -> None:
        """They are gone, or wait in their pools."""
        self._nodes, self.resizing = [], False
        for pool, count in self._taken.items():
            pool.returned(count)
        self._taken = {}

    def busy(self) -> None:
        """A step has begun to execute."""
        self._scale(_GROWS_S, int((self._spec.get("autoscale") or {}).get("max_workers") or 0))

    def idle(self) -> None:
        """No step executes any more."""
        self._scale(_SHRINKS_S, rules.workers(self._spec))

    def size(self) -> dict[str, Any]:
        """The details of an event about it."""
        return {"current_num_workers": self.workers, "target_num_workers": self.workers}

    def types_as_json(self) -> dict[str, Any]:
        """The instance types, those of pools too, as clusters/get tells them."""
        return dict(self._types)

    def as_json(self) -> dict[str, Any]:
        """The nodes, as clusters/get tells them of a cluster that is up."""
        return {
            "num_workers": self.workers,
            "driver": self._nodes[0].as_json(),
            "executors": [one.as_json() for one in self._nodes[1:]],
        }

    def _took(self, name: str, count: int) -> bool:
        pool = self._pools.named(name)
        waited = pool.taken(count)
        self._taken[pool] = self._taken.get(pool, 0) + count
        return waited

    def _node(self, place: int) -> Node:
        return Node(self._world.agenda.now(), self._wants_spot(place) and not self._spot_lacks)

    def _wants_spot(self, place: int) -> bool:
        """Whether a node is to be on spot; 0 is the driver, and the workers follow."""
        name = self._workers_pool if place else self._driver_pool
        if name is not None:  # all about an instance is its pool's
            aws = self._pools.named(name).body.get("aws_attributes") or {}
            return str(aws.get("availability", _POOL_AVAILABILITY)) != "ON_DEMAND"
        aws = self._spec.get("aws_attributes") or {}
        if str(aws.get("availability", _AVAILABILITY)) == "ON_DEMAND":
            return False
        return place >= int(aws.get("first_on_demand", _FIRST_ON_DEMAND))

    def _node_types(self) -> dict[str, str]:
        own, of_driver = self._workers_pool, self._driver_pool
        worker = self._spec["node_type_id"] if own is None else self._type_in(own)
        driver = self._spec.get("driver_node_type_id", worker)
        if of_driver is not None:
            driver = self._type_in(of_driver)
        return {"node_type_id": worker, "driver_node_type_id": driver}

    def _type_in(self, pool: str) -> str:
        return str(self._pools.named(pool).body["node_type_id"])

    # --- autoscaling ---------------------------------------------------------------------------

    def _scale(self, after_s: float, target: int) -> None:
        if self._scaling is not None:
            self._scaling.cancelled = True
        if "autoscale" in self._spec:
            self.resizing = False
            self._scaling = self._later(after_s, lambda: self._resize(target))

    def _resize(self, target: int) -> None:
        more = target - self.workers
        needed_s = self._world.config.provisioning_seconds
        if more > 0 and self._workers_pool is not None:
            try:
                waited = self._took(self._workers_pool, more)
            except WorkspaceError:
                return  # the pool is full
            needed_s = self._world.config.pool_seconds if waited else needed_s
        if more:
            self._tell(
                "RESIZING", {**self.size(), "target_num_workers": target, "cause": "AUTOSCALE"}
            )
        if more < 0:
            self._shrink(-more)
        elif more > 0:
            self.resizing = True
            coming = [self._node(len(self._nodes) + index) for index in range(more)]
            self._scaling = self._later(needed_s, lambda: self._grow(coming))

    def _shrink(self, less: int) -> None:
        del self._nodes[-less:]
        if self._workers_pool is not None:
            pool = self._pools.named(self._workers_pool)
            self._taken[pool] -= less
            pool.returned(less)

    def _grow(self, coming: list[Node]) -> None:
        self._nodes += coming
        self.resizing = False
        self._tell("UPSIZE_COMPLETED", self.size())
