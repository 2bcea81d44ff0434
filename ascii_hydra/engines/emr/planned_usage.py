"""What a request for EMR would use, if it started up and executed for so long. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ascii_hydra.costs.usage import Disk, InstanceUse, Usage
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.nodes import ROLES, nodes_of
from ascii_hydra.step.choices import Engine

# RunJobFlow without EbsRootVolumeSize; EMR's AMIs have gp3 roots since 6.15 (AWS, "Customizing the
# Amazon EBS root device volume").
ROOT_GIB, _ROOT_TYPE = 15, "gp3"


def planned_usage(request: EmrRequest, startup_s: float, run_s: float) -> Usage:
    """What the step would use.

    Every instance is counted from the submission to the step's end: somewhat too long, since EMR
    starts it a little later and the primary leaves a little later. A shared cluster is counted as
    if the step had it to itself: give 0 for `startup_s` to all steps but the first.

    Args:
        request: the step's request.
        startup_s: seconds from the submission to the step's first moment.
        run_s: seconds of its execution.
    """
    flow, region = request.run_job_flow, request.place.region or ""
    if flow is None:
        return Usage(
            engine=Engine.emr,
            region=region,
            startup_s=startup_s,
            run_s=run_s,
            not_counted=(f"existing cluster {request.cluster_id}: its instances are not known",),
        )
    root = flow.get("EbsRootVolumeSize", ROOT_GIB)
    return Usage(
        engine=Engine.emr,
        region=region,
        instances=tuple(
            InstanceUse(
                role=one.role,
                instance_type=one.types[0],
                market=one.market,
                count=one.count,
                rented_s=startup_s + run_s,
                charged_s=startup_s + run_s,
                worked_s=run_s,
                disks=asked_disks(one.specs[0], root),
                share=request.shared,
            )
            for one in nodes_of(flow)
        ),
        startup_s=startup_s,
        run_s=run_s,
        assumed=tuple(_assumed(flow)),
    )


def asked_disks(spec: Mapping[str, Any], root_gib: float) -> tuple[Disk, ...]:
    """EBS storage of an instance, its root volume among it.

    Args:
        spec: an instance group, or one of a fleet's InstanceTypeConfigs.
        root_gib: EbsRootVolumeSize.
    """
    gib: Counter[str] = Counter({_ROOT_TYPE: root_gib})
    for device in spec.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", ()):
        volume = device["VolumeSpecification"]
        gib[volume["VolumeType"]] += volume["SizeInGB"] * device.get("VolumesPerInstance", 1)
    return tuple(Disk(kind, size) for kind, size in gib.items())


def _assumed(flow: Mapping[str, Any]) -> Iterator[str]:
    for fleet in flow["Instances"].get("InstanceFleets", ()):
        names = [one["InstanceType"] for one in fleet["InstanceTypeConfigs"]]
        if len(names) > 1:
            role = ROLES[fleet["InstanceFleetType"]]
            yield f"{names[0]} for the {role} fleet, where EMR may choose {', '.join(names[1:])}"
    limits = flow.get("ManagedScalingPolicy", {}).get("ComputeLimits", {})
    lowest, highest = limits.get("MinimumCapacityUnits"), limits.get("MaximumCapacityUnits")
    if highest is not None and lowest != highest:
        yield f"{lowest} workers, where managed scaling may grow to {highest}"
