"""What EMR tells of a rehearsed cluster."""

from __future__ import annotations

from typing import Any

from ascii_hydra.rehearsal.emr_cluster import Cluster
from ascii_hydra.rehearsal.emr_instances import normalized_hours, timeline

_NETWORK = (
    "Ec2KeyName",
    "EmrManagedMasterSecurityGroup",
    "EmrManagedSlaveSecurityGroup",
    "ServiceAccessSecurityGroup",
)
# What a cluster tells just as it was asked for.
_KEPT = (
    *("LogUri", "ReleaseLabel", "ServiceRole", "SecurityConfiguration", "AutoScalingRole"),
    *("ScaleDownBehavior", "CustomAmiId", "EbsRootVolumeSize", "EbsRootVolumeIops"),
    *("EbsRootVolumeThroughput", "OSReleaseLabel", "LogEncryptionKmsKeyId"),
)
# The states of a fleet or group that are named otherwise than the cluster's.
_COLLECTION_STATES = {
    "STARTING": "PROVISIONING",
    "WAITING": "RUNNING",
    "TERMINATED_WITH_ERRORS": "TERMINATED",
}


def status(cluster: Cluster) -> dict[str, Any]:
    """State, reason and times."""
    told: dict[str, Any] = {
        "State": cluster.state,
        "StateChangeReason": cluster.reason,
        "Timeline": timeline(cluster.created, cluster.ready, cluster.ended),
    }
    if cluster.error_details:
        told["ErrorDetails"] = cluster.error_details
    return told


def summary(cluster: Cluster, now: float) -> dict[str, Any]:
    """As ListClusters tells it, at a virtual time."""
    return {
        "Id": cluster.id,
        "Name": cluster.request["Name"],
        "Status": status(cluster),
        "NormalizedInstanceHours": normalized_hours(cluster.instances, cluster.ended or now),
        "ClusterArn": cluster.arn,
    }


def description(cluster: Cluster, now: float) -> dict[str, Any]:
    """As DescribeCluster tells it, at a virtual time."""
    request = cluster.request
    asked = request["Instances"]
    network = {
        "Ec2SubnetId": asked.get("Ec2SubnetId") or (asked.get("Ec2SubnetIds") or [""])[0],
        "RequestedEc2SubnetIds": asked.get("Ec2SubnetIds", []),
        "Ec2AvailabilityZone": f"{cluster.region}a",
        "RequestedEc2AvailabilityZones": [],
        "IamInstanceProfile": request.get("JobFlowRole", ""),
        "AdditionalMasterSecurityGroups": asked.get("AdditionalMasterSecurityGroups", []),
        "AdditionalSlaveSecurityGroups": asked.get("AdditionalSlaveSecurityGroups", []),
        **{name: asked[name] for name in _NETWORK if name in asked},
    }
    fleets = cluster.collections[0].is_fleet
    return {
        **summary(cluster, now),
        "Ec2InstanceAttributes": network,
        "InstanceCollectionType": "INSTANCE_FLEET" if fleets else "INSTANCE_GROUP",
        **{name: request[name] for name in _KEPT if name in request},
        "AutoTerminate": not cluster.keep_alive,
        "TerminationProtected": cluster.protected,
        "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
        "Applications": [{"Name": one["Name"]} for one in request.get("Applications", ())],
        "Tags": [{"Key": key, "Value": value} for key, value in cluster.tags.items()],
        "Configurations": request.get("Configurations", []),
        "StepConcurrencyLevel": cluster.concurrency,
        "PlacementGroups": request.get("PlacementGroupConfigs", []),
    }


def fleets_or_groups(cluster: Cluster) -> list[dict[str, Any]]:
    """As ListInstanceFleets or ListInstanceGroups tells them."""
    state = _COLLECTION_STATES.get(cluster.state, cluster.state)
    return [
        one.as_json(state, cluster.created, cluster.ready, cluster.ended)
        for one in cluster.collections
    ]
