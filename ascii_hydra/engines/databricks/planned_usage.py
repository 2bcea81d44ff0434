"""What a request for Databricks would use, if it started up and executed for so long. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.usage import Disk, InstanceUse, Usage
from ascii_hydra.engines.databricks.databricks_request import (
    DRIVER_POOL,
    POOL,
    DatabricksRequest,
)
from ascii_hydra.step.choices import Engine

# "Databricks provisions EBS volumes for every worker node as follows: a 30 GB instance root volume
# [...] a 150 GB container root volume" (docs.databricks.com, "Default EBS volumes"). Of the type it
# says nothing: gp3 is the default of new workspaces.
_OWN_GIB, _OWN_TYPE = 30 + 150, "gp3"
_TYPES: Mapping[str, str] = {"GENERAL_PURPOSE_SSD": "gp3", "THROUGHPUT_OPTIMIZED_HDD": "st1"}
OWN_DISKS_ASSUMED = f"{_OWN_GIB} GiB of {_OWN_TYPE} that Databricks attaches to every instance"
_POOL_ASSUMED = "instances of the launch's pools do not wait for the next step"


@dataclass(frozen=True)
class Node:
    """A node as it is asked for.

    Attributes:
        instance_type: None if an existing pool decides it.
        spot: it may be on spot.
        disks: EBS storage, what Databricks attaches by itself among it.
    """

    instance_type: str | None
    spot: bool
    disks: tuple[Disk, ...]


@dataclass(frozen=True)
class AskedCluster:
    """The nodes of a job cluster as they are asked for.

    Attributes:
        driver: the driver; of a single-node cluster the only node.
        worker: each of the workers, by their market: on demand come first.
        on_demand, spot: how many workers of each at the start.
        highest: as many workers as autoscaling may make of them.
    """

    driver: Node
    worker: Node
    on_demand: int
    spot: int
    highest: int


def planned_usage(request: DatabricksRequest, startup_s: float, run_s: float) -> Usage:
    """What the step would use.

    EC2 and EBS are counted from the submission to the step's end: somewhat too long, since
    instances are there a little later. DBU are counted while the step executes: there are none
    before the cluster is running, and few between that and the step's first moment.

    Args:
        request: the step's request.
        startup_s: seconds from the submission to the step's first moment.
        run_s: seconds of its execution.
    """
    instances, assumed, not_counted = _instances(request, startup_s, run_s)
    return Usage(
        engine=Engine.databricks,
        region=request.place.region or "",
        instances=instances,
        startup_s=startup_s,
        run_s=run_s,
        sku=sku_of(request),
        photon=photon_of(request),
        not_counted=not_counted,
        assumed=(*assumed, _POOL_ASSUMED) if request.pools else assumed,
    )


def sku_of(request: DatabricksRequest) -> str:
    """What Databricks sells the step's compute as: jobs compute for clusters of their own,
    all-purpose compute for existing ones (docs.databricks.com, "SKU groups")."""
    if request.serverless:
        return "JOBS_SERVERLESS_COMPUTE"
    return "JOBS_COMPUTE" if request.cluster_id is None else "ALL_PURPOSE_COMPUTE"


def photon_of(request: DatabricksRequest) -> bool:
    """The cluster that is asked for runs Photon."""
    asked = request.task.get("new_cluster", {})
    return asked.get("runtime_engine") == "PHOTON" or "photon" in asked.get("spark_version", "")


def asked_cluster(request: DatabricksRequest) -> AskedCluster | None:
    """The job cluster; None if the step runs on something else."""
    asked: Mapping[str, Any] | None = request.task.get("new_cluster")
    return None if asked is None else cluster_as_asked(asked, request.pools)


def cluster_as_asked(
    asked: Mapping[str, Any], pools: Mapping[str, Mapping[str, Any]]
) -> AskedCluster:
    """The nodes of a cluster.

    Args:
        asked: the cluster, as it is asked for, or as clusters/get tells it.
        pools: the pools that it takes instances from, by placeholder, as they are asked for, or as
            instance-pools/get tells them; empty if they are not known.
    """
    scale = asked.get("autoscale")
    workers = scale["min_workers"] if scale else asked.get("num_workers", 0)
    workers = 0 if asked.get("is_single_node") else workers
    if "instance_pool_id" in asked:
        worker, driver = _pool_nodes(pools, asked)
        on_demand = 0 if worker.spot else workers
    else:
        aws = asked.get("aws_attributes", {})
        disks, spot = _disks(aws), aws.get("availability", "SPOT_WITH_FALLBACK") != "ON_DEMAND"
        kept = aws.get("first_on_demand", 0)  # "the driver in particular", if it is above 0
        own = asked.get("node_type_id")
        worker = Node(own, spot, disks)
        driver = Node(asked.get("driver_node_type_id", own), spot and kept < 1, disks)
        on_demand = min(max(kept - 1, 0), workers) if spot else workers
    return AskedCluster(
        driver=driver,
        worker=worker,
        on_demand=on_demand,
        spot=workers - on_demand,
        highest=max(workers, scale["max_workers"]) if scale else workers,
    )


def _instances(
    request: DatabricksRequest, startup_s: float, run_s: float
) -> tuple[tuple[InstanceUse, ...], tuple[str, ...], tuple[str, ...]]:
    """The instances, what is assumed of them, and what cannot be counted."""
    if request.serverless:
        return (), (), ("serverless compute: its DBU are metered, and not known before",)
    asked = asked_cluster(request)
    if asked is None:
        what = f"existing cluster {request.cluster_id}: its instances are not known"
        return (), (), (what,)
    uses: list[InstanceUse] = []
    lacking: dict[str, None] = {}
    for role, node, spot, count in (
        ("driver", asked.driver, asked.driver.spot, 1),
        ("worker", asked.worker, False, asked.on_demand),
        ("worker", asked.worker, True, asked.spot),
    ):
        if not count:
            continue
        if node.instance_type is None:
            pool = request.task["new_cluster"].get("instance_pool_id")
            lacking[f"existing pool {pool}: its instance types are not known"] = None
            continue
        uses.append(
            InstanceUse(
                role=role,
                instance_type=node.instance_type,
                market=Market.spot if spot else Market.on_demand,
                count=count,
                rented_s=startup_s + run_s,
                charged_s=run_s,
                worked_s=run_s,
                disks=node.disks,
            )
        )
    return tuple(uses), tuple(_assumed(asked)) if uses else (), tuple(lacking)


def _assumed(asked: AskedCluster) -> Iterator[str]:
    yield OWN_DISKS_ASSUMED
    workers = asked.on_demand + asked.spot
    if asked.highest > workers:
        yield f"{workers} workers, where autoscaling may grow to {asked.highest}"


def _pool_nodes(
    pools: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]
) -> tuple[Node, Node]:
    """A worker and the driver, of pools."""
    unknown = Node(None, spot=False, disks=())
    worker, driver = (
        pool_node(pools[one]) if one in pools else unknown for one in (POOL, DRIVER_POOL)
    )
    return worker, driver if "driver_instance_pool_id" in asked else worker


def pool_node(body: Mapping[str, Any]) -> Node:
    """An instance of a pool."""
    spec = body.get("disk_spec", {})
    disks = {
        "ebs_volume_type": spec.get("disk_type", {}).get("ebs_volume_type"),
        "ebs_volume_count": spec.get("disk_count", 0),
        "ebs_volume_size": spec.get("disk_size", 0),
    }
    spot = body.get("aws_attributes", {}).get("availability", "SPOT") != "ON_DEMAND"
    return Node(body["node_type_id"], spot, _disks(disks))


def _disks(aws: Mapping[str, Any]) -> tuple[Disk, ...]:
    gib = aws.get("ebs_volume_count", 0) * aws.get("ebs_volume_size", 0)
    if not gib:
        return (Disk(_OWN_TYPE, _OWN_GIB),)
    kind = _TYPES[aws.get("ebs_volume_type") or "GENERAL_PURPOSE_SSD"]
    if kind == _OWN_TYPE:
        return (Disk(kind, _OWN_GIB + gib),)
    return (Disk(_OWN_TYPE, _OWN_GIB), Disk(kind, gib))
