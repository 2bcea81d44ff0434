"""The instances of a rehearsed cluster: what was asked for, and what is there over time."""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ALPHABET = string.ascii_uppercase + string.digits
ROLES = ("MASTER", "CORE", "TASK")


def new_id(prefix: str, size: int = 13) -> str:
    """`j-2AXXXXXXGAPLF`, as EMR makes them."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(size))


@dataclass
class Instance:
    """One EC2 instance of a cluster; times are virtual seconds since the epoch.

    Attributes:
        given: EC2 has given it; until then it has no name there, and costs nothing.
        added: by managed scaling.
    """

    role: str
    market: str
    instance_type: str
    units: int
    created: float
    state: str = "PROVISIONING"
    ready: float | None = None
    ended: float | None = None
    given: bool = True
    added: bool = False
    id: str = field(default_factory=lambda: new_id("ci", 12))
    ec2_id: str = field(default_factory=lambda: f"i-{secrets.token_hex(9)[:17]}")

    def as_json(self, owner: Mapping[str, str]) -> dict[str, Any]:
        """As ListInstances tells it. `owner` names the fleet or group."""
        number = int(self.ec2_id[2:10], 16)
        address = f"10.0.{number % 250}.{number // 250 % 250 + 4}"
        reason: dict[str, str] = {}
        if self.ended is not None:
            reason = {"Code": "CLUSTER_TERMINATED", "Message": "Cluster was terminated."}
            if self.added:
                reason = {"Message": "Instance was terminated by managed scaling."}
        return {
            "Id": self.id,
            **({"Ec2InstanceId": self.ec2_id} if self.given else {}),
            "PublicDnsName": "",
            "PublicIpAddress": "",
            "PrivateDnsName": f"ip-{address.replace('.', '-')}.ec2.internal",
            "PrivateIpAddress": address,
            "Status": {
                "State": self.state,
                "StateChangeReason": reason,
                "Timeline": timeline(self.created, self.ready, self.ended),
            },
            **owner,
            "Market": self.market,
            "InstanceType": self.instance_type,
            "EbsVolumes": [],
        }


@dataclass
class Collection:
    """One fleet or group: its request, its id and its instances.

    Attributes:
        kind: `InstanceFleet` or `InstanceGroup`.
        asked: as RunJobFlow had it.
    """

    kind: str
    role: str
    asked: Mapping[str, Any]
    id: str
    instances: list[Instance] = field(default_factory=list)

    def withhold(self, market: str | None = None) -> None:
        """EC2 does not give its instances, or those of one market."""
        for one in self.instances:
            if market in (None, one.market):
                one.given, one.state = False, "AWAITING_FULFILLMENT"

    @property
    def is_fleet(self) -> bool:
        """A fleet, rather than a group."""
        return self.kind == "InstanceFleet"

    @property
    def owner(self) -> dict[str, str]:
        """How an instance of it names it."""
        return {f"{self.kind}Id": self.id}

    def units(self, market: str | None = None) -> int:
        """Capacity of what is there, or is coming."""
        return sum(
            one.units
            for one in self.instances
            if one.ended is None and market in (None, one.market)
        )

    @property
    def types(self) -> list[Mapping[str, Any]]:
        """Its alternatives, as a fleet writes them."""
        if self.is_fleet:
            return list(self.asked.get("InstanceTypeConfigs", []))
        return [{"InstanceType": self.asked["InstanceType"]}]

    @property
    def strategy(self) -> str | None:
        """How spot types are chosen."""
        return self._spot_specification.get("AllocationStrategy")

    @property
    def spot_timeout_s(self) -> float:
        """How long EMR looks for spot capacity."""
        return 60.0 * float(self._spot_specification.get("TimeoutDurationMinutes", 60))

    @property
    def switches_to_on_demand(self) -> bool:
        """What happens when there is none."""
        return self._spot_specification.get("TimeoutAction") == "SWITCH_TO_ON_DEMAND"

    @property
    def _spot_specification(self) -> Mapping[str, Any]:
        found = self.asked.get("LaunchSpecifications", {}).get("SpotSpecification", {})
        return found if isinstance(found, Mapping) else {}

    def wanted(self) -> Iterator[tuple[str, int]]:
        """Market and capacity, as asked."""
        if self.is_fleet:
            yield "ON_DEMAND", int(self.asked.get("TargetOnDemandCapacity", 0))
            yield "SPOT", int(self.asked.get("TargetSpotCapacity", 0))
        else:
            yield self.asked.get("Market", "ON_DEMAND"), int(self.asked["InstanceCount"])

    def launch(self, market: str, units: int, now: float, *, added: bool = False) -> None:
        """Ask EC2 for instances: the first type, or all in turn if the strategy is to diversify."""
        types = self.types
        left, turn = units, 0
        while left > 0:
            chosen = types[turn % len(types)] if self._diversified(market) else types[0]
            weight = max(1, int(chosen.get("WeightedCapacity", 1)))
            self.instances.append(
                Instance(self.role, market, chosen["InstanceType"], weight, now, added=added)
            )
            left -= weight
            turn += 1

    def _diversified(self, market: str) -> bool:
        return market == "SPOT" and self.strategy == "diversified"

    def as_json(self, state: str, created: float, ready: float | None, ended: float | None) -> Any:
        """As ListInstanceFleets or ListInstanceGroups tells it."""
        status = {
            "State": state,
            "StateChangeReason": {},
            "Timeline": timeline(created, ready, ended),
        }
        name = self.asked.get("Name", self.role.capitalize())
        running = [one for one in self.instances if one.state == "RUNNING"]
        if not self.is_fleet:
            told = {
                "Id": self.id,
                "Name": name,
                "Market": self.asked.get("Market", "ON_DEMAND"),
                "InstanceGroupType": self.role,
                "InstanceType": self.asked["InstanceType"],
                "RequestedInstanceCount": self.units(),
                "RunningInstanceCount": len(running),
                "Status": status,
                "Configurations": self.asked.get("Configurations", []),
                "EbsBlockDevices": _volumes(self.asked),
                "ShrinkPolicy": {},
            }
            if "BidPrice" in self.asked:
                told["BidPrice"] = self.asked["BidPrice"]
            return told
        provisioned = {
            market: sum(one.units for one in running if one.market == market)
            for market in ("ON_DEMAND", "SPOT")
        }
        targets = dict(self.wanted())
        return {
            "Id": self.id,
            "Name": name,
            "Status": status,
            "InstanceFleetType": self.role,
            "TargetOnDemandCapacity": targets["ON_DEMAND"],
            "TargetSpotCapacity": targets["SPOT"],
            "ProvisionedOnDemandCapacity": provisioned["ON_DEMAND"],
            "ProvisionedSpotCapacity": provisioned["SPOT"],
            "InstanceTypeSpecifications": [
                {
                    **{k: v for k, v in one.items() if k not in ("EbsConfiguration",)},
                    "EbsBlockDevices": _volumes(one),
                }
                for one in self.types
            ],
            **{
                key: self.asked[key]
                for key in ("LaunchSpecifications", "ResizeSpecifications")
                if key in self.asked
            },
        }


def collections(instances: Mapping[str, Any]) -> list[Collection]:
    """The fleets or groups that a request asks for."""
    if "InstanceFleets" in instances:
        return [
            Collection("InstanceFleet", one["InstanceFleetType"], one, new_id("if", 13))
            for one in instances["InstanceFleets"]
        ]
    groups: Sequence[Mapping[str, Any]] = instances.get("InstanceGroups") or _from_count(instances)
    return [
        Collection("InstanceGroup", one["InstanceRole"], one, new_id("ig", 13)) for one in groups
    ]


def task_collection(core: Collection) -> Collection:
    """The task nodes that managed scaling adds to a cluster that has none: as the core nodes."""
    if core.is_fleet:
        asked = {k: v for k, v in core.asked.items() if k != "Name"}
        asked |= {"TargetOnDemandCapacity": 0, "TargetSpotCapacity": 0}
        return Collection("InstanceFleet", "TASK", asked, new_id("if", 13))
    asked = {**core.asked, "InstanceRole": "TASK", "InstanceCount": 0}
    return Collection("InstanceGroup", "TASK", asked, new_id("ig", 13))


def _from_count(instances: Mapping[str, Any]) -> list[dict[str, Any]]:
    # The oldest way of asking: one type for the master, one for the others.
    count = int(instances.get("InstanceCount", 1))
    first = {"InstanceRole": "MASTER", "InstanceType": instances["MasterInstanceType"]}
    groups = [{**first, "InstanceCount": 1}]
    if count > 1:
        others = instances.get("SlaveInstanceType", instances["MasterInstanceType"])
        rest = {"InstanceRole": "CORE", "InstanceType": others, "InstanceCount": count - 1}
        groups.append(rest)
    return groups


def timeline(created: float, ready: float | None, ended: float | None) -> dict[str, float]:
    """The three times that EMR tells of everything."""
    times = {"CreationDateTime": created, "ReadyDateTime": ready, "EndDateTime": ended}
    return {name: round(time, 3) for name, time in times.items() if time is not None}


def normalized_hours(instances: Sequence[Instance], now: float) -> int:
    """EMR's NormalizedInstanceHours: each begun hour, weighted by the size of the instance."""
    total = 0
    for one in instances:
        if one.ready is not None:
            hours = math.ceil(((one.ended or now) - one.ready) / 3600)
            total += hours * _weight(one.instance_type)
    return total


def _weight(instance_type: str) -> int:
    size = instance_type.rpartition(".")[2]
    small = {"small": 1, "medium": 2, "large": 4, "xlarge": 8}
    if size in small:
        return small[size]
    times = size.removesuffix("xlarge")
    return 8 * int(times) if times.isdigit() else 8


def _volumes(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = []
    for one in asked.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", []):
        for _ in range(int(one.get("VolumesPerInstance", 1))):
            letter = string.ascii_lowercase[1 + len(devices)]
            devices.append(
                {"VolumeSpecification": one["VolumeSpecification"], "Device": f"/dev/sd{letter}"}
            )
    return devices
