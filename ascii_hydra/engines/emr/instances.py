"""The instances of a cluster: which types, how many of each role, with which disks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ascii_hydra.catalogue import InstanceType, matching
from ascii_hydra.catalogue.prices import PriceList
from ascii_hydra.config.choices import Architecture, InstanceCollection
from ascii_hydra.config.cluster_schema import EmrCluster, InstanceFilters
from ascii_hydra.config.engine_schema import EmrEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.promise import TOLERANCE

_GB_PER_GIB = 1024**3 / 1000**3
_NAMES = {"MASTER": "primary", "CORE": "core", "TASK": "task"}


@dataclass(frozen=True)
class Workers:
    """How many workers there are of each role.

    Attributes:
        core: on demand, at least one: they hold HDFS and the driver.
        spot: task nodes that the cloud may take away.
        on_demand_tasks: task nodes on demand.
    """

    core: int
    spot: int
    on_demand_tasks: int = 0


def workers_of(cluster: EmrCluster) -> Workers:
    """The roles of a cluster's workers.

    A cluster that may grow has a task node from the start, since EMR grows what is there.
    """
    total = cluster.workers or cluster.promise.workers
    spot = min(int(total * cluster.spot_share + 0.5), total - 1)
    growing = cluster.max_workers is not None and cluster.max_workers > total
    on_demand_tasks = 1 if growing and spot == 0 and total > 1 else 0
    return Workers(core=total - spot - on_demand_tasks, spot=spot, on_demand_tasks=on_demand_tasks)


def worker_types(
    cluster: EmrCluster, release: str, instances: Mapping[str, InstanceType], prices: PriceList
) -> tuple[str, ...]:
    """The instance types of the workers: as named, or as `filters` choose them.

    Where the filters say nothing of vCPUs and memory, the promise does. All that are taken have as
    many vCPUs as the cheapest, and the primary's architecture if the filters name none.

    Raises:
        ConfigError: no instance type passes the filters.
    """
    if cluster.filters == InstanceFilters():
        return cluster.worker_instance_types
    filters = _completed(cluster, cluster.filters, instances)
    try:
        found = matching(filters, instances.values(), release, prices)
    except ValueError:
        problem = Problem(
            "cluster.filters.size_at_most",
            f"{filters.size_at_most} is no size; write large, xlarge, 2xlarge, 4xlarge, ...",
        )
        raise ConfigError([problem]) from None
    if not found:
        taken = filters.architecture is not cluster.filters.architecture
        like_primary = " (as cluster.primary_instance_types)" if taken else ""
        problem = Problem(
            "cluster.filters",
            f"no instance type of {release} has {_told(filters)}{like_primary}. Ask for less, or"
            " leave cluster.filters out and name types in cluster.worker_instance_types.",
        )
        raise ConfigError([problem])
    like = found[0]
    alike = [
        one for one in found if (one.vcpus, one.architecture) == (like.vcpus, like.architecture)
    ]
    count = 1 if cluster.instance_collection is InstanceCollection.groups else filters.types
    return tuple(one.name for one in alike[:count])


def _completed(
    cluster: EmrCluster, filters: InstanceFilters, instances: Mapping[str, InstanceType]
) -> InstanceFilters:
    promise = cluster.promise
    primary = instances.get(next(iter(cluster.primary_instance_types), ""))
    return replace(
        filters,
        vcpus=filters.vcpus or promise.vcpus_per_worker,
        memory_gib=filters.memory_gib or promise.memory_gib_per_worker * (1 - TOLERANCE),
        architecture=filters.architecture or (primary.architecture if primary else None),
    )


def _told(filters: InstanceFilters) -> str:
    words = [f"{filters.vcpus} vCPUs or more"]
    if filters.vcpus_at_most is not None:
        words += [f"{filters.vcpus_at_most} at most"]
    words += [f"{filters.memory_gib:g} GiB or more"]
    if filters.memory_gib_at_most is not None:
        words += [f"{filters.memory_gib_at_most:g} GiB at most"]
    if filters.storage_gb:
        words += [f"{filters.storage_gb:g} GB of local disks"]
    if filters.families:
        words += [f"of {'/'.join(filters.families)}"]
    if filters.size_at_most is not None:
        words += [f"up to {filters.size_at_most}"]
    if filters.architecture is not None:
        words += [filters.architecture.value]
    return ", ".join(words)


def architecture_of(names: Sequence[str], instances: Mapping[str, InstanceType]) -> Architecture:
    """The architecture of the first of these types that is known; x86_64 if none is."""
    known = (instances[name].architecture for name in names if name in instances)
    return next(known, Architecture.x86_64)


def disk_gib(name: str, cluster: EmrCluster, instances: Mapping[str, InstanceType]) -> float:
    """The disk that a worker of this type has besides its root volume: local and EBS."""
    local = instances[name].local_storage_gb / _GB_PER_GIB if name in instances else 0.0
    return local + sum(count * size for count, size in [_volumes(name, cluster, instances)])


def _volumes(
    name: str, cluster: EmrCluster, instances: Mapping[str, InstanceType], *, worker: bool = True
) -> tuple[int, int]:
    """How many EBS volumes of how many GiB an instance gets.

    A type without local disks gets one even if none is asked for, of the promised size: EMR would
    otherwise choose for itself.
    """
    ebs = cluster.ebs
    if ebs.volumes or (name in instances and instances[name].local_storage_gb):
        return ebs.volumes, ebs.size_gib
    return 1, max(cluster.promise.disk_gib_per_worker, ebs.size_gib) if worker else ebs.size_gib


def rendered_instances(
    engine: EmrEngine,
    cluster: EmrCluster,
    workers: Sequence[str],
    instances: Mapping[str, InstanceType],
    *,
    kept_alive: bool,
) -> dict[str, Any]:
    """`Instances` of RunJobFlow.

    Args:
        engine, cluster: the configuration.
        workers: instance types of the workers.
        instances: what is known of instance types.
        kept_alive: the cluster stays when it has no step.
    """
    roles = workers_of(cluster)
    fleets = cluster.instance_collection is InstanceCollection.fleets
    made: dict[str, Any] = {}
    if fleets:
        made["InstanceFleets"] = _fleets(cluster, roles, workers, instances)
        if engine.subnets:
            made["Ec2SubnetIds"] = list(engine.subnets)
    else:
        made["InstanceGroups"] = _groups(cluster, roles, workers, instances)
        if engine.subnets:
            made["Ec2SubnetId"] = engine.subnets[0]
    named = {
        "Ec2KeyName": engine.key_name,
        "EmrManagedMasterSecurityGroup": engine.primary_security_group,
        "EmrManagedSlaveSecurityGroup": engine.worker_security_group,
        "ServiceAccessSecurityGroup": engine.service_security_group,
    }
    made |= {name: value for name, value in named.items() if value is not None}
    made["KeepJobFlowAliveWhenNoSteps"] = kept_alive
    made["TerminationProtected"] = False
    return made


def scaling_policy(cluster: EmrCluster) -> dict[str, Any] | None:
    """`ManagedScalingPolicy` of RunJobFlow: the cluster grows by task nodes alone, on spot by as
    much as `spot_share` says; None for a fixed size."""
    if cluster.max_workers is None:
        return None
    roles = workers_of(cluster)
    total = roles.core + roles.spot + roles.on_demand_tasks
    highest = cluster.max_workers
    on_demand = highest - int(highest * cluster.spot_share + 0.5)
    fleets = cluster.instance_collection is InstanceCollection.fleets
    return {
        "ComputeLimits": {
            "UnitType": "InstanceFleetUnits" if fleets else "Instances",
            "MinimumCapacityUnits": total,
            "MaximumCapacityUnits": highest,
            "MaximumOnDemandCapacityUnits": max(on_demand, total - roles.spot),
            "MaximumCoreCapacityUnits": roles.core,
        }
    }


def _fleets(
    cluster: EmrCluster,
    roles: Workers,
    workers: Sequence[str],
    instances: Mapping[str, InstanceType],
) -> list[dict[str, Any]]:
    def fleet(role: str, types: Sequence[str], on_demand: int, spot: int) -> dict[str, Any]:
        made: dict[str, Any] = {"Name": _NAMES[role], "InstanceFleetType": role}
        if on_demand:
            made["TargetOnDemandCapacity"] = on_demand
        if spot:
            made["TargetSpotCapacity"] = spot
        made["InstanceTypeConfigs"] = [
            {
                "InstanceType": name,
                "WeightedCapacity": 1,
                **_ebs(name, cluster, instances, worker=role != "MASTER"),
            }
            for name in types
        ]
        # A growing fleet may take either.
        launch: dict[str, Any] = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}
        if role == "TASK":
            launch["SpotSpecification"] = {
                "TimeoutDurationMinutes": cluster.spot_timeout_minutes,
                "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                "AllocationStrategy": cluster.allocation_strategy.value.replace("_", "-"),
            }
        made["LaunchSpecifications"] = launch
        return made

    made = [
        fleet("MASTER", cluster.primary_instance_types, 1, 0),
        fleet("CORE", workers, roles.core, 0),
    ]
    if roles.spot or roles.on_demand_tasks:
        made.append(fleet("TASK", workers, roles.on_demand_tasks, roles.spot))
    return made


def _groups(
    cluster: EmrCluster,
    roles: Workers,
    workers: Sequence[str],
    instances: Mapping[str, InstanceType],
) -> list[dict[str, Any]]:
    def group(role: str, types: Sequence[str], count: int, market: str) -> dict[str, Any]:
        # Without BidPrice, spot costs the on-demand price at most.
        name = next(iter(types), "")
        return {
            "Name": _NAMES[role],
            "InstanceRole": role,
            "Market": market,
            "InstanceType": name,
            "InstanceCount": count,
            **_ebs(name, cluster, instances, worker=role != "MASTER"),
        }

    made = [
        group("MASTER", cluster.primary_instance_types, 1, "ON_DEMAND"),
        group("CORE", workers, roles.core, "ON_DEMAND"),
    ]
    if roles.on_demand_tasks:
        made.append(group("TASK", workers, roles.on_demand_tasks, "ON_DEMAND"))
    if roles.spot:
        made.append(group("TASK", workers, roles.spot, "SPOT"))
    return made


def _ebs(
    name: str, cluster: EmrCluster, instances: Mapping[str, InstanceType], *, worker: bool
) -> dict[str, Any]:
    count, size_gib = _volumes(name, cluster, instances, worker=worker)
    if not count:
        return {}
    volume = {"VolumeType": cluster.ebs.volume_type, "SizeInGB": size_gib}
    return {
        "EbsConfiguration": {
            "EbsBlockDeviceConfigs": [{"VolumeSpecification": volume, "VolumesPerInstance": count}],
            "EbsOptimized": True,
        }
    }
