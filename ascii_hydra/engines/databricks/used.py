"""What a run of Databricks has used, from what the workspace tells of it afterwards. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.usage import Disk, InstanceUse, Usage
from ascii_hydra.engines.databricks.cluster_account import Account
from ascii_hydra.engines.databricks.cluster_life import (
    ClusterLife,
    Instance,
    Times,
    cluster_life,
    existing_cluster_life,
    times_of,
)
from ascii_hydra.engines.databricks.databricks_request import (
    DRIVER_POOL,
    POOL,
    DatabricksRequest,
)
from ascii_hydra.engines.databricks.planned_usage import (
    OWN_DISKS_ASSUMED,
    AskedCluster,
    Node,
    asked_cluster,
    cluster_as_asked,
    photon_of,
    sku_of,
)
from ascii_hydra.engines.databricks.states import cluster_id_of, has_executed
from ascii_hydra.step.choices import Engine

_GIB = 1024**3
# What disks grow by: Databricks does not say, so as its other volumes.
_ADDED_TYPE = "gp3"
_SERVERLESS = "serverless DBU, which only system.billing.usage tells"


@dataclass(frozen=True)
class Used:
    """What one run has used.

    Attributes:
        usage: for its bill.
        instances: of its own cluster, for the pools that they are from.
    """

    usage: Usage
    instances: tuple[Instance, ...] = ()


def used(request: DatabricksRequest, account: Account, *, wasted: bool) -> Used:
    """What one run has used.

    * A run's own cluster is the run's from its start to its end; see `cluster_life`.
    * Of an existing cluster, all of it counts while the step executes, as if nobody else used it;
      that it is idle, or was started, is not the step's.
    * The DBU of serverless compute are metered, and this API does not tell them: they are named as
      not counted, never 0.
    * A pool's instances are the run's while its cluster has them.
    * EBS volumes are those that were asked for, and those that Databricks attaches by itself.
    * If clusters are not told, the instances are as asked for, and paid from the end of the queue
      to the end of the clean-up: set-up, execution and clean-up together, which is an upper
      estimate. If nothing is told of the run, they are paid from the submission until now.

    Args:
        request: what was submitted.
        account: what is told of it.
        wasted: it has not made the asset.
    """
    times = times_of(account)
    life, asked, lacking = ClusterLife(), None, tuple[str, ...]()
    own = request.cluster_id is None and not request.serverless
    # A run that has executed had compute, though its cluster may not be told.
    untold = not account.run or times.begun is not None or has_executed(account.run)
    if request.serverless:
        lacking = (_SERVERLESS,) if untold else ()
    elif untold or cluster_id_of(account.run) is not None:
        asked, lacking = _asked(request, account, times)
        if asked is not None:
            life = (cluster_life if own else existing_cluster_life)(account, asked, times)
    shared = request.cluster_id is not None or bool(request.pools)
    added_gib, unknown = _added(account, life.instances)
    uses = tuple[InstanceUse, ...]()
    if asked is not None:
        uses = tuple(_uses(life.instances, asked, added_gib, share=shared))
    began = times.ended if times.begun is None else times.begun
    usage = Usage(
        engine=Engine.databricks,
        region=request.costing.prices.region,
        instances=uses,
        startup_s=max(0.0, began - times.submitted),
        run_s=0.0 if times.begun is None or times.worked is None else times.worked - times.begun,
        sku=sku_of(request),
        photon=photon_of(request) if request.cluster_id is None else _is_photon(account.cluster),
        wasted=wasted,
        fresh=own and "instance_pool_id" not in request.task["new_cluster"],
        not_counted=(*lacking, *unknown),
        assumed=(*_of_disks(added_gib), *life.assumed) if uses else (),
    )
    return Used(usage, life.instances if request.pools else ())


def _asked(
    request: DatabricksRequest, account: Account, times: Times
) -> tuple[AskedCluster | None, tuple[str, ...]]:
    """The cluster as it was asked for, with the instance types that are known; and which are not,
    and why."""
    told = {POOL: account.pool, DRIVER_POOL: account.driver_pool}
    pools = {key: one for key, one in told.items() if one is not None}
    if request.cluster_id is None:
        asked = asked_cluster(request)
        assert asked is not None
        if None in _types(asked):
            asked = cluster_as_asked(request.task["new_cluster"], {**request.pools, **pools})
    elif account.cluster:
        asked = cluster_as_asked(account.cluster, pools)
    else:
        asked = None
    kinds = (None, None) if asked is None else _types(asked)
    if None not in kinds:
        return asked, ()
    if request.cluster_id is not None and account.run and times.begun is None:
        return None, ()  # it has used nothing of it
    who = {(True, False): "driver", (False, True): "workers"}
    which = who.get((kinds[0] is None, kinds[1] is None), "instances")
    what = "existing pool" if request.cluster_id is None else f"cluster {request.cluster_id}"
    why = f" ({account.untold})" if account.untold else ""
    lacking = f"the {which} of the {what}, of a type that is not told{why}"
    return (None if which == "instances" else asked), (lacking,)


def _types(asked: AskedCluster) -> tuple[str | None, str | None]:
    """Of the driver and of a worker."""
    return asked.driver.instance_type, asked.worker.instance_type


def _uses(
    instances: tuple[Instance, ...], asked: AskedCluster, added_gib: float, *, share: bool
) -> Iterator[InstanceUse]:
    """Instances that were used alike, together; without those of an unknown type."""
    alike = Counter(
        (one.role, one.market, one.rented_s, one.charged_s, one.worked_s) for one in instances
    )
    added = (Disk(_ADDED_TYPE, added_gib),) if added_gib else ()
    nodes: Mapping[str, Node] = {"driver": asked.driver, "worker": asked.worker}
    for (role, market, rented_s, charged_s, worked_s), count in alike.items():
        kind = nodes[role].instance_type
        if kind is None:
            continue
        yield InstanceUse(
            role=role,
            instance_type=kind,
            market=Market(market),
            count=count,
            rented_s=rented_s,
            charged_s=charged_s,
            worked_s=worked_s,
            disks=(*nodes[role].disks, *added),
            share=share,
        )


def _added(account: Account, instances: tuple[Instance, ...]) -> tuple[float, tuple[str, ...]]:
    """Storage that Databricks has added to full disks (`enable_elastic_disk`), and what is not
    known of it.

    Returns:
        GiB for each instance and all of its time: what was added, and for how long, spread over all
        of them, for that comes to the same; and clauses.
    """
    grown = [one for one in account.events or () if one.get("type") == "EXPANDED_DISK"]
    rented_s = sum(one.rented_s for one in instances)
    if not rented_s:
        return 0.0, ()
    since, until = min(one.since for one in instances), max(one.until for one in instances)
    added, unknown = 0.0, 0
    for one in grown:
        details, at = one.get("details") or {}, float(one.get("timestamp") or 0) / 1000
        size, before = details.get("disk_size"), details.get("previous_disk_size")
        if since <= at <= until:
            if size is None or before is None:
                unknown += 1
            else:
                added += max(0.0, float(size) - float(before)) / _GIB * (until - at)
    lacking = (f"EBS volumes that Databricks added to full disks, {unknown} times",)
    return added / rented_s, lacking if unknown else ()


def _of_disks(added_gib: float) -> tuple[str, ...]:
    if not added_gib:
        return (OWN_DISKS_ASSUMED,)
    return OWN_DISKS_ASSUMED, f"what Databricks added to full disks is {_ADDED_TYPE}"


def _is_photon(cluster: Mapping[str, Any]) -> bool:
    runs = str(cluster.get("spark_version") or "")
    return cluster.get("runtime_engine") == "PHOTON" or "photon" in runs
