"""What is wrong with the cluster of a step on Databricks: found before anything is asked of it.

Limits are those of the SDK's docstrings (AwsAttributes, ClusterSpec, InstancePoolsAPI.create).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.config.choices import Architecture, DataSecurityMode
from ascii_hydra.config.cluster_schema import DatabricksCluster
from ascii_hydra.config.engine_schema import DatabricksEngine
from ascii_hydra.config.problems import Problem, one_of
from ascii_hydra.config.settle import StepSettings
from ascii_hydra.engines.databricks.cluster_spec import (
    SMALLEST_HDD_GIB,
    disk_gib,
    shares_pools,
    workers_of,
)
from ascii_hydra.engines.databricks.staging import Staging, staging_of
from ascii_hydra.engines.promise import TOLERANCE

_VOLUME_TYPES = ("general_purpose_ssd", "throughput_optimized_hdd")
_ID = re.compile(r"[A-Za-z0-9-]+")
_OTHERWISE = "Choose another, or say cluster.keeps_promise=false: comparisons then tell it."


def cluster_problems(settings: StepSettings) -> Iterator[Problem]:
    """Everything wrong with `cluster`, and with what the engine makes of it."""
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    total = workers_of(cluster)
    if cluster.max_workers is not None and cluster.max_workers < total:
        yield Problem("cluster.max_workers", f"is less than cluster.workers={total}.")
    yield from _volume_problems(cluster)
    yield from _zone_problems(engine, cluster)
    yield from _mode_problems(engine, cluster)
    known = instance_types(engine.region)
    if cluster.pool_id is not None or cluster.driver_pool_id is not None:
        yield from _pool_problems(cluster)
        return
    if shares_pools(settings) and cluster.spot_share not in (0, 1):
        yield Problem(
            f"cluster.spot_share={cluster.spot_share:g}",
            "must be 0 or 1 with launch.reuse_cluster=run: all workers are of one pool, which is on"
            " spot or on demand.",
        )
    for key in ("driver", "worker"):
        where = f"cluster.{key}_node_type"
        yield from _type_problems(where, getattr(cluster, f"{key}_node_type"), known)
    yield from _architecture_problems(engine, cluster, known)
    if cluster.keeps_promise:
        yield from _promise_problems(cluster, known)


def named_type_problems(where: str, name: object, engine: DatabricksEngine) -> Iterator[Problem]:
    """What is wrong with a node type that a user names in `databricks_cluster_config`."""
    if isinstance(name, str):
        yield from _type_problems(where, name, instance_types(engine.region))


def _volume_problems(cluster: DatabricksCluster) -> Iterator[Problem]:
    ebs = cluster.ebs
    if ebs.volume_type not in _VOLUME_TYPES:
        yield Problem(
            f"cluster.ebs.volume_type={ebs.volume_type}", f"must be {one_of(_VOLUME_TYPES)}."
        )
    elif ebs.volume_type == _VOLUME_TYPES[1] and ebs.size_gib < SMALLEST_HDD_GIB:
        yield Problem(
            f"cluster.ebs.size_gib={ebs.size_gib}",
            f"must be {SMALLEST_HDD_GIB} or more for volumes of {ebs.volume_type}.",
        )


def _zone_problems(engine: DatabricksEngine, cluster: DatabricksCluster) -> Iterator[Problem]:
    if cluster.zone == "auto" or not engine.region:
        return
    if not re.fullmatch(rf"{re.escape(engine.region)}[a-z]", cluster.zone):
        yield Problem(
            f"cluster.zone={cluster.zone}",
            f"must be auto or a zone of engine.region={engine.region}, such as {engine.region}a.",
        )


def _mode_problems(engine: DatabricksEngine, cluster: DatabricksCluster) -> Iterator[Problem]:
    mode, staging = cluster.data_security_mode, staging_of(engine.staging_root)
    needy = {
        Staging.s3: "its messages pass through the JVM",
        Staging.dbfs: "its messages pass through /dbfs",
    }
    if mode is not DataSecurityMode.single_user and staging in needy:
        yield Problem(
            f"engine.staging_root={engine.staging_root}",
            f"needs cluster.data_security_mode=single_user: {needy[staging]}, which a step on a"
            f" cluster for several users (here {mode.value}) does not reach. Name a folder of a"
            " volume (/Volumes/...) or of the workspace (/Workspace/...).",
        )


def _pool_problems(cluster: DatabricksCluster) -> Iterator[Problem]:
    for key in ("pool_id", "driver_pool_id"):
        value = getattr(cluster, key)
        if value is not None and not _ID.fullmatch(value):
            yield Problem(f"cluster.{key}={value}", "write the pool's id as Databricks shows it.")
    if cluster.pool_id is None:
        yield Problem("cluster.driver_pool_id", "needs cluster.pool_id: the workers' pool.")
    if cluster.spot_share:
        yield Problem(
            f"cluster.spot_share={cluster.spot_share:g}",
            "has no effect with cluster.pool_id: whether instances are on spot is the pool's.",
        )
    if cluster.ebs.volumes:
        yield Problem(
            f"cluster.ebs.volumes={cluster.ebs.volumes}",
            "has no effect with cluster.pool_id: disks are the pool's.",
        )
    if cluster.zone != "auto":
        yield Problem(
            f"cluster.zone={cluster.zone}",
            "has no effect with cluster.pool_id: the zone is the pool's.",
        )


def _type_problems(where: str, name: str, known: Mapping[str, InstanceType]) -> Iterator[Problem]:
    one = known.get(name)
    if one is not None and one.databricks_listed:
        return
    listed = [one for one in known.values() if one.databricks_listed]
    family = [one for one in listed if one.family == name.partition(".")[0]]
    if family:
        smallest = min(family, key=lambda one: (one.vcpus, one.memory_gib)).name
        hint = f"the smallest {family[0].family} is {smallest}."
    else:
        near = get_close_matches(name, [one.name for one in listed], n=1)
        hint = f"did you mean {near[0]}?" if near else "write m5d.xlarge, ..."
    yield Problem(f"{where}={name}", f"is no instance type that Databricks lists; {hint}")


def _architecture_problems(
    engine: DatabricksEngine, cluster: DatabricksCluster, known: Mapping[str, InstanceType]
) -> Iterator[Problem]:
    driver, worker = known.get(cluster.driver_node_type), known.get(cluster.worker_node_type)
    if driver is None or worker is None:
        return
    if driver.architecture is not worker.architecture:
        yield Problem(
            f"cluster.driver_node_type={driver.name}",
            f"is of {driver.architecture}, and cluster.worker_node_type={worker.name} of"
            f" {worker.architecture}: a cluster has one architecture.",
        )
    elif "-aarch64-" in engine.spark_version and worker.architecture is not Architecture.arm64:
        yield Problem(
            f"engine.spark_version={engine.spark_version}",
            f"is for arm64, and cluster.worker_node_type={worker.name} is of"
            f" {worker.architecture}.",
        )


def _promise_problems(
    cluster: DatabricksCluster, known: Mapping[str, InstanceType]
) -> Iterator[Problem]:
    promise, total, least = cluster.promise, workers_of(cluster), 1 - TOLERANCE
    if total < promise.workers:
        yield Problem(
            "cluster.workers",
            f"{total} are fewer than the {promise.workers} of cluster={cluster.size}. {_OTHERWISE}",
        )
    one = known.get(cluster.worker_node_type)
    if one is None or not one.databricks_listed:
        return
    disk = disk_gib(cluster, known)
    if one.vcpus < promise.vcpus_per_worker:
        lack = f"{one.vcpus} vCPUs, and cluster={cluster.size} promises {promise.vcpus_per_worker}"
    elif one.memory_gib < promise.memory_gib_per_worker * least:
        lack = f"{one.memory_gib:g} GiB of memory, and cluster={cluster.size} promises"
        lack += f" {promise.memory_gib_per_worker:g}"
    elif disk < promise.disk_gib_per_worker * least:
        lack = f"{disk:.0f} GiB of disk, and cluster={cluster.size} promises"
        lack += f" {promise.disk_gib_per_worker} (see cluster.ebs)"
    else:
        return
    yield Problem("cluster.worker_node_type", f"{one.name} has {lack}. {_OTHERWISE}")
