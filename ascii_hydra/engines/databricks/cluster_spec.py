"""The job cluster of a step, and the instance pools that the steps of a launch share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue import InstanceType
from ascii_hydra.config.choices import DataSecurityMode, ReuseCluster
from ascii_hydra.config.cluster_schema import DatabricksCluster
from ascii_hydra.config.engine_schema import DatabricksEngine
from ascii_hydra.config.settle import StepSettings
from ascii_hydra.engines.databricks.databricks_request import DRIVER_POOL, POOL
from ascii_hydra.engines.databricks.staging import Staging, staging_of

# Databricks' own limits of one volume (docstrings of AwsAttributes).
SMALLEST_VOLUME_GIB, LARGEST_VOLUME_GIB = 100, 4096
SMALLEST_HDD_GIB = 500
TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 127, 255
"""Somewhat less than AWS allows a tag (128 and 256): Databricks publishes no limit of its own."""
# What a pool is called has 100 characters, of which a placeholder takes fewer than it becomes.
_POOL_NAME_LENGTH, _RESERVED_LENGTH = 100, 40
_GB_PER_GIB = 1024**3 / 1000**3
_MODES = {
    DataSecurityMode.single_user: {"data_security_mode": "SINGLE_USER"},
    DataSecurityMode.user_isolation: {"data_security_mode": "USER_ISOLATION"},
    DataSecurityMode.auto: {
        "data_security_mode": "DATA_SECURITY_MODE_AUTO",
        "kind": "CLASSIC_PREVIEW",
    },
}


@dataclass(frozen=True)
class Volumes:
    """EBS volumes of every instance of a cluster.

    Attributes:
        count: per instance.
        size_gib: of one.
    """

    count: int
    size_gib: int


def volumes_of(cluster: DatabricksCluster, known: Mapping[str, InstanceType]) -> Volumes:
    """The EBS volumes of every instance.

    Databricks starts no type without local disks unless it gets a volume, so such a one gets one of
    the promised size though none is asked for. It is every instance's: Databricks gives the driver
    and the workers alike.
    """
    ebs = cluster.ebs
    types = (cluster.driver_node_type, cluster.worker_node_type)
    diskless = any(name in known and not known[name].local_storage_gb for name in types)
    if ebs.volumes or not diskless:
        return Volumes(ebs.volumes, ebs.size_gib)
    size = max(cluster.promise.disk_gib_per_worker, ebs.size_gib)
    return Volumes(1, min(size, LARGEST_VOLUME_GIB))


def disk_gib(cluster: DatabricksCluster, known: Mapping[str, InstanceType]) -> float:
    """The disk that Spark has on a worker: EBS volumes if there are any, else the local disks."""
    volumes = volumes_of(cluster, known)
    if volumes.count:
        return volumes.count * volumes.size_gib
    worker = known.get(cluster.worker_node_type)
    return worker.local_storage_gb / _GB_PER_GIB if worker is not None else 0.0


def workers_of(cluster: DatabricksCluster) -> int:
    """How many workers there are at the start."""
    return cluster.workers or cluster.promise.workers


def spot_workers(cluster: DatabricksCluster) -> int:
    """How many of the workers at the start are on spot; what a cluster grows by is on spot too."""
    return min(int(workers_of(cluster) * cluster.spot_share + 0.5), workers_of(cluster))


def shares_pools(settings: StepSettings) -> bool:
    """The step's instances come from pools that are made for its launch."""
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    return (
        settings.launch.reuse_cluster is ReuseCluster.run
        and not engine.serverless
        and engine.cluster_id is None
        and cluster.pool_id is None
    )


def rendered_cluster(
    settings: StepSettings,
    tags: Mapping[str, str],
    pools: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, InstanceType],
) -> dict[str, Any]:
    """`new_cluster` of the step's task.

    Args:
        settings: the step.
        tags: `custom_tags`.
        pools: those that it takes instances from, if its launch has any.
        known: what is known of instance types.
    """
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    made: dict[str, Any] = {"spark_version": engine.spark_version}
    made["runtime_engine"] = "PHOTON" if cluster.photon else "STANDARD"
    made |= _MODES[cluster.data_security_mode]
    total = workers_of(cluster)
    if cluster.max_workers is not None and cluster.max_workers > total:
        made["autoscale"] = {"min_workers": total, "max_workers": cluster.max_workers}
    else:
        made["num_workers"] = total
    made |= _instances(engine, cluster, pools, known)
    if conf := _spark_conf(engine):
        made["spark_conf"] = conf
    if engine.init_scripts:
        made["init_scripts"] = [_init_script(one, engine.region) for one in engine.init_scripts]
    if engine.policy_id is not None:
        made["policy_id"] = engine.policy_id
        made["apply_policy_default_values"] = True
    made["custom_tags"] = dict(tags)
    return made


def rendered_pools(
    settings: StepSettings, tags: Mapping[str, str], known: Mapping[str, InstanceType]
) -> dict[str, dict[str, Any]]:
    """Bodies of the instance pools of a step's launch, by the placeholders of their ids; equal for
    all steps that ask for the same instances.

    Args:
        settings: the step.
        tags: `custom_tags`, the same for every step: a cluster uses instances whose tags it has.
        known: what is known of instance types.
    """
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    spot = cluster.spot_share > 0
    pools = {POOL: _pool(settings, engine, cluster, tags, known, spot=spot, driver=False)}
    if spot or cluster.driver_node_type != cluster.worker_node_type:
        pools[DRIVER_POOL] = _pool(settings, engine, cluster, tags, known, spot=False, driver=True)
    return pools


def _instances(
    engine: DatabricksEngine,
    cluster: DatabricksCluster,
    pools: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, InstanceType],
) -> dict[str, Any]:
    profile = (
        {} if engine.instance_profile is None else {"instance_profile_arn": engine.instance_profile}
    )
    if pools:  # all about an instance is its pool's
        made = {"instance_pool_id": POOL}
        return {**made, "driver_instance_pool_id": DRIVER_POOL} if DRIVER_POOL in pools else made
    if cluster.pool_id is not None:
        existing: dict[str, Any] = {"instance_pool_id": cluster.pool_id}
        if cluster.driver_pool_id is not None:
            existing["driver_instance_pool_id"] = cluster.driver_pool_id
        return {**existing, "aws_attributes": profile} if profile else existing
    spot = spot_workers(cluster)
    aws: dict[str, Any] = {"availability": "SPOT_WITH_FALLBACK" if spot else "ON_DEMAND"}
    if spot:
        # The driver is the first: with it, a step would be lost.
        aws["first_on_demand"] = 1 + workers_of(cluster) - spot
        aws["spot_bid_price_percent"] = cluster.spot_bid_price_pct
    aws |= {"zone_id": cluster.zone, **profile}
    volumes = volumes_of(cluster, known)
    if volumes.count:
        aws["ebs_volume_type"] = cluster.ebs.volume_type.upper()
        aws["ebs_volume_count"] = volumes.count
        aws["ebs_volume_size"] = volumes.size_gib
    return {
        "node_type_id": cluster.worker_node_type,
        "driver_node_type_id": cluster.driver_node_type,
        "aws_attributes": aws,
        "enable_elastic_disk": cluster.elastic_disk,
    }


def _spark_conf(engine: DatabricksEngine) -> dict[str, str]:
    ours = {}
    if staging_of(engine.staging_root) is Staging.dbfs:
        # From 15.1 on, libraries are installed from DBFS only if that is asked for.
        ours["spark.databricks.driver.dbfsLibraryInstallationAllowed"] = "true"
    return {**ours, **engine.spark_conf}


def _init_script(uri: str, region: str | None) -> dict[str, Any]:
    if uri.startswith("s3://"):
        return {"s3": {"destination": uri, "region": region}}
    return {"volumes" if uri.startswith("/Volumes/") else "workspace": {"destination": uri}}


def _pool(
    settings: StepSettings,
    engine: DatabricksEngine,
    cluster: DatabricksCluster,
    tags: Mapping[str, str],
    known: Mapping[str, InstanceType],
    *,
    spot: bool,
    driver: bool,
) -> dict[str, Any]:
    node_type = cluster.driver_node_type if driver else cluster.worker_node_type
    # The SDK says of a pool's availability that it may be spot with fallback, but its Enum has no
    # such value: what the service takes is not known.
    aws: dict[str, Any] = {"availability": "SPOT" if spot else "ON_DEMAND"}
    if spot:
        aws["spot_bid_price_percent"] = cluster.spot_bid_price_pct
    aws["zone_id"] = cluster.zone
    if engine.instance_profile is not None:
        aws["instance_profile_arn"] = engine.instance_profile
    made: dict[str, Any] = {
        "node_type_id": node_type,
        "min_idle_instances": 0,
        # Whatever happens to us, the last instance ends by itself.
        "idle_instance_autotermination_minutes": engine.idle_timeout_minutes,
        "aws_attributes": aws,
        "enable_elastic_disk": cluster.elastic_disk,
        "custom_tags": dict(tags),
    }
    volumes = volumes_of(cluster, known)
    if volumes.count:
        made["disk_spec"] = {
            "disk_type": {"ebs_volume_type": cluster.ebs.volume_type.upper()},
            "disk_count": volumes.count,
            "disk_size": volumes.size_gib,
        }
    if not cluster.photon:  # which image Photon has is not told to a pool
        made["preloaded_spark_versions"] = [engine.spark_version]
    return {"instance_pool_name": _pool_name(settings.pipeline, node_type, made), **made}


def _pool_name(pipeline: str, node_type: str, body: Mapping[str, Any]) -> str:
    """A name that no other pool has: of the launch, and of what the pool is."""
    what = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:6]
    rest = f"<launch> {node_type} {what}"
    room = _POOL_NAME_LENGTH - _RESERVED_LENGTH - len(f"ascii_hydra  {rest}")
    return f"ascii_hydra {pipeline[:room]} {rest}"
