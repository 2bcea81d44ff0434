"""What a request asks EMR for: in words for people, and in figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.catalogue.prices import Market
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.nodes import Nodes, most_workers, nodes_of, worker_nodes
from ascii_hydra.engines.emr.sizing import sizing
from ascii_hydra.engines.emr.submit_words import spark_conf_in
from ascii_hydra.engines.promise import Capacity, Hardware

_GB_PER_GIB = 1024**3 / 1000**3


def describe(request: EmrRequest) -> str:
    """The instances of a request: `4 to 8 x m5d.2xlarge (2 spot) + m5d.xlarge, shared`."""
    flow = request.run_job_flow
    if flow is None:
        return f"existing cluster {request.cluster_id}"
    alike: dict[tuple[str, ...], list[Nodes]] = {}
    for one in nodes_of(flow):
        if one.role != "primary":
            alike.setdefault(one.types, []).append(one)
    total = sum(one.count for group in alike.values() for one in group)
    first = instance_types(request.place.region).get(next(iter(alike), ("",))[0])
    # A cluster grows by task nodes: those of the last kind, if there is more than one.
    grown = most_workers(flow, 1 if first is None else first.vcpus) - total if alike else 0
    words = []
    for number, (types, group) in enumerate(alike.items(), 1):
        count = sum(one.count for one in group)
        more = f" to {count + grown}" if grown and number == len(alike) else ""
        spot = sum(one.count for one in group if one.market is Market.spot)
        words.append(f"{count}{more} x {'/'.join(types)}" + (f" ({spot} spot)" if spot else ""))
    words += [
        (f"{one.count} x " if one.count > 1 else "") + "/".join(one.types)
        for one in nodes_of(flow)
        if one.role == "primary"
    ]
    return " + ".join(words) + (", shared" if request.shared else "")


def capacity(request: EmrRequest) -> Capacity | None:
    """What the workers of a request have; None if it names no instances, or one that is not known.

    Where EMR may choose among several types, the first counts, as it does for the price.

    Raises:
        ConfigError: Spark's sizes of memory are not as Spark reads them, or do not fit.
    """
    flow = request.run_job_flow
    known = instance_types(request.place.region)
    workers = () if flow is None else worker_nodes(flow)
    every = [
        [_hardware(known[name], spec) for name, spec in zip(one.types, one.specs, strict=True)]
        for one in workers
        if all(name in known for name in one.types)
    ]
    if flow is None or not every or len(every) < len(workers):
        return None
    cores = sizing(flow, spark_conf_in(request.step_config), known).executor_vcpus
    firsts = [(one.count, kinds[0]) for one, kinds in zip(workers, every, strict=True)]
    kinds = [kind for one in every for kind in one]
    return Capacity(
        workers=sum(one.count for one in workers),
        vcpus=float(sum(count * one.vcpus for count, one in firsts)),
        memory_gib=sum(count * one.memory_gib for count, one in firsts),
        disk_gib=sum(count * one.disk_gib for count, one in firsts),
        least=Hardware(
            min(one.vcpus for one in kinds),
            min(one.memory_gib for one in kinds),
            min(one.disk_gib for one in kinds),
        ),
        executor_vcpus=cores or 0.0,
    )


def _hardware(kind: InstanceType, spec: Mapping[str, Any]) -> Hardware:
    devices = spec.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", ())
    ebs_gib = sum(
        one["VolumeSpecification"]["SizeInGB"] * one.get("VolumesPerInstance", 1) for one in devices
    )
    return Hardware(kind.vcpus, kind.memory_gib, kind.local_storage_gb / _GB_PER_GIB + ebs_gib)
