"""What a request asks Databricks for: in words for people, and in figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascii_hydra.catalogue import instance_types
from ascii_hydra.engines.databricks.databricks_request import POOL, DatabricksRequest
from ascii_hydra.engines.databricks.planned_usage import asked_cluster, photon_of
from ascii_hydra.engines.promise import Capacity, Hardware

_GB_PER_GIB = 1024**3 / 1000**3


def describe(request: DatabricksRequest) -> str:
    """The instances of a request: `4 to 8 x m5d.2xlarge (2 spot) + m5d.xlarge, Photon`."""
    if request.serverless:
        return "serverless"
    asked = asked_cluster(request)
    if asked is None:
        return f"existing cluster {request.cluster_id}"
    cluster: Mapping[str, Any] = request.task["new_cluster"]
    total = asked.on_demand + asked.spot
    grown = f" to {asked.highest}" if asked.highest > total else ""
    photon = ", Photon" if photon_of(request) else ""
    if asked.worker.instance_type is None:
        pool = cluster["instance_pool_id"]
        driver = cluster.get("driver_instance_pool_id", pool)
        return f"{total}{grown} of pool {pool} + 1 of pool {driver}{photon}"
    spot = f" ({asked.spot} spot)" if asked.spot else ""
    workers = f"{total}{grown} x {asked.worker.instance_type}{spot} + " if total or grown else ""
    pools = ", shared pools" if request.pools else ""
    return f"{workers}{asked.driver.instance_type}{photon}{pools}"


def capacity(request: DatabricksRequest) -> Capacity | None:
    """What the workers of a request have; None where it names no instance types (serverless
    compute, existing clusters and pools), or one that is not known.

    The driver has an instance of its own, so executors get every vCPU of the workers: Databricks
    runs one executor on each (docs.databricks.com, "Compute configuration reference"). On a cluster
    without workers the driver's instance is the one that executes.
    """
    asked = asked_cluster(request)
    if asked is None:
        return None
    count = asked.on_demand + asked.spot
    node = asked.worker if count else asked.driver
    kind = instance_types(request.place.region).get(node.instance_type or "")
    if kind is None:
        return None
    ebs_gib = _ebs_gib(request)
    # With EBS volumes, Spark leaves the local disks alone.
    disk_gib = ebs_gib or kind.local_storage_gb / _GB_PER_GIB
    workers = max(count, 1)
    vcpus = float(workers * kind.vcpus)
    return Capacity(
        workers=workers,
        vcpus=vcpus,
        memory_gib=workers * kind.memory_gib,
        disk_gib=workers * disk_gib,
        least=Hardware(kind.vcpus, kind.memory_gib, disk_gib),
        executor_vcpus=vcpus,
    )


def _ebs_gib(request: DatabricksRequest) -> float:
    """The volumes that every instance is asked to have."""
    cluster: Mapping[str, Any] = request.task["new_cluster"]
    if "instance_pool_id" in cluster:
        spec = request.pools.get(POOL, {}).get("disk_spec", {})
        return float(spec.get("disk_count", 0) * spec.get("disk_size", 0))
    aws = cluster.get("aws_attributes", {})
    return float(aws.get("ebs_volume_count", 0) * aws.get("ebs_volume_size", 0))
