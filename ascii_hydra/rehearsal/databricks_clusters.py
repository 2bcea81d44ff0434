"""The Clusters API of the rehearsal workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascii_hydra.rehearsal import databricks_rules as rules
from ascii_hydra.rehearsal.databricks_cluster import USER, Cluster
from ascii_hydra.rehearsal.databricks_errors import invalid
from ascii_hydra.rehearsal.databricks_pools import Pools
from ascii_hydra.rehearsal.world import World

_PAGE = 100
_MOST_EVENTS = 500


class Clusters:
    """The operations about clusters."""

    def __init__(self, world: World, pools: Pools) -> None:
        self._world, self._pools = world, pools
        self._clusters: dict[str, Cluster] = {}

    def of_job(self, spec: Mapping[str, Any], run_name: str) -> Cluster:
        """A run's own cluster."""
        return self._added(Cluster(self._world, self._pools, spec, run_name=run_name))

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/create."""
        rules.check_cluster(body, self._pools.named, of_job=False)
        return {"cluster_id": self._added(Cluster(self._world, self._pools, body)).id}

    def get(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/get."""
        return self.named(params["cluster_id"]).as_json()

    def listed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/list, the newest first."""
        wanted = params.get("filter_by", {})
        states, sources = wanted.get("cluster_states"), wanted.get("cluster_sources")
        found = [
            one
            for one in reversed(self._clusters.values())
            if (not states or one.state in states) and (not sources or one.source in sources)
        ]
        start, size = int(params.get("page_token") or 0), params.get("page_size", _PAGE)
        more = {"next_page_token": str(start + size)} if start + size < len(found) else {}
        return {"clusters": [one.as_json() for one in found[start : start + size]], **more}

    def events(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/events, the newest first unless the order says otherwise."""
        cluster = self.named(body["cluster_id"])
        kinds, descending = body.get("event_types"), body.get("order", "DESC") == "DESC"
        if body.get("offset") and descending and "end_time" not in body:
            raise invalid("end_time must be given with an offset in descending order")
        since, until = body.get("start_time", 0), body.get("end_time")
        found = [
            one
            for one in cluster.events
            if (not kinds or one["type"] in kinds)
            and one["timestamp"] >= since
            and (until is None or one["timestamp"] <= until)
        ]
        if descending:
            found = found[::-1]
        start, size = body.get("offset", 0), min(body.get("limit") or 50, _MOST_EVENTS)
        told: dict[str, Any] = {"events": found[start : start + size], "total_count": len(found)}
        if start + size < len(found):
            end = {"end_time": found[0]["timestamp"]} if descending else {}
            told["next_page"] = {**end, **body, "offset": start + size, "limit": size}
        return told

    def delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/delete: terminates it."""
        self.named(body["cluster_id"]).terminate(username=USER)
        return {}

    def permanent_delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """clusters/permanent-delete: terminates and forgets it."""
        cluster = self.named(body["cluster_id"])
        cluster.terminate(username=USER)
        cluster.gone()
        del self._clusters[cluster.id]
        return {}

    @property
    def living(self) -> list[Cluster]:
        """Those that have not terminated."""
        return [one for one in self._clusters.values() if one.alive]

    def named(self, cluster: str) -> Cluster:
        """A cluster by its id. Raises WorkspaceError."""
        found = self._clusters.get(cluster)
        if found is None:
            # The SDK makes RESOURCE_DOES_NOT_EXIST of this sentence.
            raise invalid(f"Cluster {cluster} does not exist")
        return found

    def _added(self, cluster: Cluster) -> Cluster:
        self._clusters[cluster.id] = cluster
        return cluster
