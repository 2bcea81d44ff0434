"""Pools of instances that the steps of a launch share.

runs/submit knows no cluster that several runs share, but a job cluster may take its instances from
a pool: the next step's cluster then starts on those that the last one has given back. There is one
pool for every kind of instance that the steps of a launch have. The first step that needs it makes
it. An instance that is idle for long is given back by Databricks, should this process be killed
before it can delete the pool: an empty pool costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from databricks.sdk.errors import NotFound

from ascii_hydra.costs.bill import Bill, bill
from ascii_hydra.costs.usage import Usage
from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.calls import pause_s
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.databricks.api import POOLS, Databricks
from ascii_hydra.engines.databricks.planned_usage import OWN_DISKS_ASSUMED
from ascii_hydra.engines.databricks.pool_idle import Lease, idle_seconds, idle_uses
from ascii_hydra.engines.databricks.submission import StoppedError
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.interrupts import deferred_interrupts
from ascii_hydra.engines.step_costs import unmade
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.step.choices import Engine

_TICK_S = 0.1
_PATIENCE_S = 10 * 60.0
_DELETING_S = 120.0


@dataclass
class _Pool:
    """One pool, once it is there, and whether a call without a clear answer may have made it; with
    what the clusters of each run have had of it, and whether others may have used it before."""

    api: Databricks
    body: Mapping[str, Any]
    costing: Costing
    lock: threading.Lock = field(default_factory=threading.Lock)
    pool_id: str | None = None
    doubted: bool = False
    leases: dict[int, tuple[Lease, ...]] = field(default_factory=dict)
    found: bool = False


_LOCK = threading.Lock()
_POOLS: dict[tuple[str, Workspace, str], _Pool] = {}


def pool_ids(
    api: Databricks,
    launch: str,
    pools: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
    costing: Costing,
) -> dict[str, str]:
    """Ids of a launch's pools by their placeholders; made if they are not there yet.

    Args:
        api: where.
        launch: names the launch.
        pools: bodies of instance-pools/create by placeholder, complete.
        say: is told of every pool that is made or used.
        costing: how instances that wait in them are priced.

    Raises:
        StoppedError, InterruptedError: stopped before, or while another step makes it.
        What a call raises: Databricks refuses a pool, or cannot be reached.
    """
    return {one: _pool_id(api, launch, body, say, costing) for one, body in pools.items()}


def leased(
    api: Databricks, launch: str, body: Mapping[str, Any], run_id: int, leases: Iterable[Lease]
) -> None:
    """The cluster of a run has had instances of a launch's pool: the last call for a run counts.

    Args:
        api: where.
        launch: names the launch.
        body: of the pool, complete.
        run_id: of the run.
        leases: each of the instances; until infinity, if the cluster has it still.
    """
    with _LOCK:
        entry = _POOLS.get((launch, api.workspace, _digest(body)))
        if entry is not None:
            entry.leases[run_id] = tuple(leases)


def idle_bill(api: Databricks, launch: str, body: Mapping[str, Any]) -> Bill:
    """What instances of a launch's pool have cost by now while they waited.

    Args:
        api: where.
        launch: names the launch.
        body: of the pool, complete.
    """
    with _LOCK:
        entry = _POOLS.get((launch, api.workspace, _digest(body)))
    return Bill() if entry is None else _idle_bill(entry, deleted=True)


def close_shared(
    launch_id: str | None = None, billed: Callable[[Bill], None] = lambda _bill: None
) -> tuple[StillRunning, ...]:
    """Delete the pools that this process has used for a launch, or for any; what may be left.

    Their idle instances end with them; a cluster that still has some keeps them until it ends.

    Args:
        launch_id: names the launch; None for any.
        billed: is given the bill of each pool that was there: what its instances cost while they
            waited.
    """
    # A second Ctrl-C while pools are deleted must not leave the others.
    with deferred_interrupts(threading.Event()):
        with _LOCK:
            keys = [key for key in _POOLS if launch_id in (None, key[0])]
            entries = [_POOLS.pop(key) for key in keys]
        # All of them before any bill: what cannot be told must not keep a pool.
        faults = [_deleted(entry) for entry in entries]
        for entry, fault in zip(entries, faults, strict=True):
            if entry.pool_id is not None:
                billed(_bill(entry, deleted=fault is None))
    return tuple(one for one in faults if one is not None)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _bill(entry: _Pool, *, deleted: bool) -> Bill:
    try:
        return _idle_bill(entry, deleted=deleted)
    except Exception as fault:  # noqa: BLE001 - it is named, and the other bills are wanted
        name = entry.body["instance_pool_name"]
        clause = f"instances that waited in pool {name}, {unmade(fault)}"
        usage = Usage(Engine.databricks, entry.costing.prices.region, not_counted=(clause,))
        return bill([usage], entry.costing.prices)


def _idle_bill(entry: _Pool, *, deleted: bool) -> Bill:
    """What a pool's instances have cost while no cluster had them; of one that could not be
    deleted, what they will have cost when they have been idle for too long."""
    body, costing = entry.body, entry.costing
    limit_s = 60.0 * body["idle_instance_autotermination_minutes"]
    end = entry.api.clock.now() if deleted else math.inf
    with _LOCK:
        leases = [one for each in entry.leases.values() for one in each]
    waits = idle_seconds(leases, limit_s=limit_s, deleted=end)
    assumed = [OWN_DISKS_ASSUMED, "instances waited in the pool from one cluster to the next"]
    if entry.found:
        assumed.append("the pool, which was there before, had no other instances")
    usage = Usage(
        Engine.databricks,
        costing.prices.region,
        idle_uses(body, waits),
        sku="JOBS_COMPUTE",
        assumed=tuple(assumed) if waits else (),
    )
    return bill([usage], costing.prices)


def _pool_id(
    api: Databricks,
    launch: str,
    body: Mapping[str, Any],
    say: Callable[[str], None],
    costing: Costing,
) -> str:
    key = (launch, api.workspace, _digest(body))
    with _LOCK:
        entry = _POOLS.setdefault(key, _Pool(api, body, costing))
    with _held(entry.lock, api.stop):
        name = body["instance_pool_name"]
        if entry.pool_id is None:
            entry.pool_id, new = _made(api, entry)
            entry.found = not new
            say(f"{'makes' if new else 'uses'} the launch's pool {entry.pool_id} ({name})")
        else:
            say(f"uses the launch's pool {entry.pool_id} ({name})")
        return entry.pool_id


def _made(api: Databricks, entry: _Pool) -> tuple[str, bool]:
    """Id of a pool, and whether it was made here: a killed process, or a call without an answer,
    may have made it before. There is no idempotency token; its name is the launch's alone."""
    deadline = api.clock.local.now() + _PATIENCE_S
    failures = 0
    while True:
        if api.stop.is_set():
            raise StoppedError
        try:
            found = _found(api, entry.body)
            if found is not None:
                # Of a call without a clear answer it was not there before.
                return found, entry.doubted
            reply = api.call("POST", f"{POOLS}/create", body=dict(entry.body))
            return str(reply["instance_pool_id"]), True
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            entry.doubted = entry.doubted or (fault.transient and not fault.undone)
            if not fault.transient or api.clock.local.now() > deadline:
                raise
            failures += 1
            wait_s = max(pause_s(failures), fault.retry_after_s or 0.0)
        api.clock.sleep(wait_s, api.stop)


def _found(api: Databricks, body: Mapping[str, Any]) -> str | None:
    """Id of a living pool of this name and kind of instance."""
    for one in api.pools():
        same = all(
            one.get(key) == body[key]
            for key in ("instance_pool_name", "node_type_id")
            if key in body
        )
        if same and one.get("state", "ACTIVE") == "ACTIVE":
            return str(one["instance_pool_id"])
    return None


def _deleted(entry: _Pool) -> StillRunning | None:
    out, name = entry.api.on_the_way_out(), entry.body["instance_pool_name"]
    try:
        pool_id = entry.pool_id
        if pool_id is None and entry.doubted:
            pool_id = out.patient(lambda: _found(out, entry.body), _DELETING_S)
        if pool_id is not None:
            out.patient(lambda: _delete(out, pool_id), _DELETING_S)
    except DATABRICKS_FAULTS as raised:
        minutes = entry.body["idle_instance_autotermination_minutes"]
        why = (
            f"it could not be deleted: {fault_of(raised).words}; an instance of it that is idle is"
            f" given back after {minutes} min"
        )
        how = "list" if entry.pool_id is None else f"delete {entry.pool_id}"
        command = f"databricks instance-pools {how}"
        return StillRunning(f"pool {name}", why, command, may_write=False)
    return None


def _delete(api: Databricks, pool_id: str) -> None:
    try:
        api.call("POST", f"{POOLS}/delete", body={"instance_pool_id": pool_id})
    except NotFound:
        return


@contextmanager
def _held(lock: threading.Lock, stop: threading.Event) -> Iterator[None]:
    while not lock.acquire(timeout=_TICK_S):
        if stop.is_set():
            raise InterruptedError("stopped while another step makes the pool")
    try:
        yield
    finally:
        lock.release()
