"""Instance pools of the rehearsal workspace: instances that wait between two clusters.

Everything here happens under the agenda's lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ascii_hydra.rehearsal import databricks_rules as rules
from ascii_hydra.rehearsal.agenda import Appointment
from ascii_hydra.rehearsal.databricks_errors import invalid, missing
from ascii_hydra.rehearsal.world import World

# The value of Databricks' API if none is given.
_IDLE_MINUTES = 60


class Pool:
    """A pool, from its creation to its end.

    Attributes:
        body: of instance-pools/create, as edited since.
        used: instances that clusters have.
    """

    def __init__(self, world: World, body: dict[str, Any]) -> None:
        stamp = secrets.token_hex(3)
        self.id = f"1120-120000-pool{stamp[:4]}-pool-{secrets.token_hex(4)}"
        self.body = body
        self.used = 0
        self.deleted = False
        self._world = world
        self._idle: list[Appointment] = []
        self._warm = int(body.get("min_idle_instances", 0))

    @property
    def idle(self) -> int:
        """Instances that wait."""
        return self._warm + len(self._idle)

    def taken(self, count: int) -> bool:
        """Take instances for a cluster; True if all of them have been waiting.

        Raises WorkspaceError if the pool's capacity does not allow them.
        """
        most = self.body.get("max_capacity")
        if most is not None and self.used + count > most:
            raise invalid(f"Instance pool {self.id} has reached its max capacity of {most}")
        waiting = min(count, self.idle)
        for _ in range(waiting):
            if self._idle:
                self._idle.pop().cancelled = True
            else:
                self._warm -= 1
        self.used += count
        return waiting == count

    def returned(self, count: int) -> None:
        """A cluster has ended: its instances wait for the next one, for a while."""
        self.used -= count
        if self.deleted:
            return
        minutes = self.body.get("idle_instance_autotermination_minutes", _IDLE_MINUTES)
        for _ in range(count):
            if self._warm < int(self.body.get("min_idle_instances", 0)):
                self._warm += 1
            else:
                self._idle.append(self._world.agenda.after(minutes * 60, self._tired))

    def delete(self) -> None:
        """End it, with the instances that wait."""
        self.deleted = True
        for one in self._idle:
            one.cancelled = True
        self._idle, self._warm = [], 0

    def as_json(self) -> dict[str, Any]:
        """As instance-pools/get tells it."""
        return {
            **self.body,
            "instance_pool_id": self.id,
            "default_tags": {
                "Vendor": "Databricks",
                "DatabricksInstancePoolId": self.id,
                "DatabricksInstancePoolCreatorId": "1",
            },
            "state": "DELETED" if self.deleted else "ACTIVE",
            "stats": {
                "used_count": self.used,
                "idle_count": self.idle,
                "pending_used_count": 0,
                "pending_idle_count": 0,
            },
            "status": {},
        }

    def _tired(self) -> None:
        now = self._world.agenda.now()
        self._idle = [one for one in self._idle if one.due > now]


class Pools:
    """The operations about pools."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pools: dict[str, Pool] = {}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """instance-pools/create."""
        rules.check_pool(body)
        if any(one.body["instance_pool_name"] == body["instance_pool_name"] for one in self.living):
            raise invalid(f"Instance pool name {body['instance_pool_name']!r} is already in use.")
        pool = Pool(self._world, body)
        self._pools[pool.id] = pool
        return {"instance_pool_id": pool.id}

    def get(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """instance-pools/get."""
        return self.named(params["instance_pool_id"]).as_json()

    def listed(self, _params: Mapping[str, Any]) -> dict[str, Any]:
        """instance-pools/list."""
        return {"instance_pools": [one.as_json() for one in self.living]}

    def edit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """instance-pools/edit."""
        pool = self.named(body["instance_pool_id"])
        if body["node_type_id"] != pool.body["node_type_id"]:
            raise invalid("The node type of an instance pool cannot be edited.")
        pool.body |= {key: one for key, one in body.items() if key != "instance_pool_id"}
        return {}

    def delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """instance-pools/delete."""
        self.named(body["instance_pool_id"]).delete()
        return {}

    @property
    def living(self) -> list[Pool]:
        """Those that are not deleted."""
        return [one for one in self._pools.values() if not one.deleted]

    def named(self, pool: str) -> Pool:
        """A living pool by its id. Raises WorkspaceError."""
        found = self._pools.get(pool)
        if found is None or found.deleted:
            raise missing(f"Can't find an instance pool with id: {pool}")
        return found
