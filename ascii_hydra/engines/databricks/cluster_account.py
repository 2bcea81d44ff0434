"""What a workspace tells of the cluster of a run, gathered for its bill.

A terminated cluster is told without its nodes, so they are looked at while it lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ascii_hydra.engines.calls import promptly
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.states import (
    Stage,
    cluster_id_of,
    has_executed,
    task_of,
    work_of,
)
from ascii_hydra.engines.databricks.watcher import Look
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of

T = TypeVar("T")
# By the cloud's clock: nodes are replaced, and clusters grow.
_NODES_EVERY_S = 15 * 60.0
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Nodes:
    """The nodes of a cluster, as one look has shown them.

    Attributes:
        at: when that was, seconds since the epoch, by the clock.
        driver: the driver, as clusters/get tells it; None if it does not.
        workers: the workers.
    """

    at: float
    driver: Mapping[str, Any] | None
    workers: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Account:
    """What is known of a run and its cluster.

    Attributes:
        now: seconds since the epoch, by the clock.
        submitted_at: likewise.
        run: the run, as runs/get tells it; empty if it never did.
        cluster: the cluster, as clusters/get tells it; empty if it does not.
        events: those of clusters/events, the oldest first; None if it tells none.
        nodes: looks at the cluster, the oldest first.
        untold: why the cluster or its events are not told: a clause; empty if they are, or if the
            run needed none.
        passing: they may be told later.
        pool, driver_pool: existing pools of the cluster, as instance-pools/get tells them.
    """

    now: float
    submitted_at: float
    run: Mapping[str, Any]
    cluster: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...] | None
    nodes: tuple[Nodes, ...] = ()
    untold: str = ""
    passing: bool = False
    pool: Mapping[str, Any] | None = None
    driver_pool: Mapping[str, Any] | None = None


class ClusterRecord:
    """Gathers the account of one attempt. Nothing that it asks for can fail the step.

    Args:
        api: where.
    """

    def __init__(self, api: Databricks) -> None:
        self._api = api
        self._nodes: list[Nodes] = []
        self._next_at: float | None = None
        self._state: tuple[str | None, Stage] | None = None
        self._run: Mapping[str, Any] = {}
        self._denied = False

    def see(self, look: Look) -> None:
        """Look at the nodes of a run's cluster, if they may be new. Returns at once if stopped."""
        self._run = look.run
        cluster_id, stage = cluster_id_of(look.run), work_of(look.run).stage
        due = self._next_at is None or look.at >= self._next_at
        if cluster_id is None or stage is Stage.ended or self._denied:
            return
        if (cluster_id, stage) == self._state and not due:
            return
        self._state, self._next_at = (cluster_id, stage), look.at + _NODES_EVERY_S
        try:
            cluster = self._promptly(lambda api: api.cluster(cluster_id), patience_s=0.0)
        except DATABRICKS_FAULTS as raised:
            self._denied = fault_of(raised).denied
            return
        except TimeoutError:
            return
        self._nodes += nodes_of(look.at, cluster)

    def account(self, run: Mapping[str, Any] | None, submitted_at: float) -> Account:
        """What is known now: that the run has ended, or is left; or meanwhile.

        Args:
            run: what runs/get has said last; None if only the looks have seen it.
            submitted_at: seconds since the epoch, by the clock.
        """
        seen = self._run if run is None else run
        now = self._api.clock.now()
        cluster_id = cluster_id_of(seen)
        if cluster_id is None:
            why = "Databricks tells nothing of the run"
            if seen:
                why = "Databricks does not tell its cluster" if has_executed(seen) else ""
            return Account(now, submitted_at, seen, {}, None, untold=why)
        try:
            found = self._promptly(lambda api: _asked(api, cluster_id, seen, now), _PATIENCE_S)
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            found, why, passing = None, fault.words, fault.transient or fault.expired
        except TimeoutError:
            found, why, passing = None, "Databricks did not answer in time", True
        if found is None:
            return Account(now, submitted_at, seen, {}, None, tuple(self._nodes), why, passing)
        shown = nodes_of(now, found.cluster)
        return Account(
            now=now,
            submitted_at=submitted_at,
            run=seen,
            cluster=found.cluster,
            events=found.events,
            nodes=(*self._nodes, *shown),
            untold=found.untold,
            pool=found.pool,
            driver_pool=found.driver_pool,
        )

    def _promptly(self, call: Callable[[Databricks], T], patience_s: float) -> T:
        """The reply to a call. Raises TimeoutError if it takes too long for a bill."""

        def made(over: threading.Event) -> T:
            api = Databricks(self._api.workspace, self._api.clock, over)
            return api.patient(lambda: call(api), patience_s)

        return promptly(made, self._api.stop)


def nodes_of(at: float, cluster: Mapping[str, Any]) -> tuple[Nodes, ...]:
    """The nodes that clusters/get shows, at a moment in seconds since the epoch; none if it shows
    none."""
    driver, workers = cluster.get("driver"), tuple(cluster.get("executors") or ())
    return (Nodes(at, driver or None, workers),) if driver or workers else ()


@dataclass(frozen=True)
class _Found:
    cluster: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...] | None
    untold: str = ""
    pool: Mapping[str, Any] | None = None
    driver_pool: Mapping[str, Any] | None = None


def _asked(api: Databricks, cluster_id: str, run: Mapping[str, Any], now: float) -> _Found:
    cluster = api.cluster(cluster_id)
    events: tuple[Mapping[str, Any], ...] | None = None
    untold = ""
    try:
        since = None
        if task_of(run).get("existing_cluster_id"):
            since = float(run.get("start_time") or now * 1000)
        events = tuple(_events_since(api.cluster_events(cluster_id), since))[::-1]
    except DATABRICKS_FAULTS as raised:
        if fault_of(raised).transient:
            raise
        untold = fault_of(raised).words
    return _Found(
        cluster,
        events,
        untold,
        _pool(api, cluster.get("instance_pool_id")),
        _pool(api, cluster.get("driver_instance_pool_id")),
    )


def _events_since(
    newest_first: Iterator[Mapping[str, Any]], since_ms: float | None
) -> Iterator[Mapping[str, Any]]:
    """Events back to the last one before a time that says how many workers there were."""
    for one in newest_first:
        yield one
        told = "current_num_workers" in (one.get("details") or {})
        if since_ms is not None and told and float(one.get("timestamp") or 0) <= since_ms:
            return


def _pool(api: Databricks, pool_id: str | None) -> Mapping[str, Any] | None:
    """A pool; None if there is none, or it is not told."""
    if pool_id is None:
        return None
    try:
        return api.pool(pool_id)
    except DATABRICKS_FAULTS as raised:
        if fault_of(raised).transient:
            raise
        return None
