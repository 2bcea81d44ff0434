"""What EMR says that a step has used: its cluster's instances, from their start to their end.

AWS bills an instance, its volumes and EMR's fee from its start until it shuts down. EMR tells when
an instance was asked for and when it was gone; for one that is still there, the present counts, and
a cluster that is seen to leave is asked at that moment.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.usage import Disk, InstanceUse, Usage
from ascii_hydra.engines.aws_errors import AWS_FAULTS, words
from ascii_hydra.engines.calls import promptly
from ascii_hydra.engines.emr.api import STARTED, Emr, state_of
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.planned_usage import ROLES, ROOT_GIB, asked_disks, planned_usage
from ascii_hydra.step.choices import Engine

_MINIMUM_S = 60.0  # what AWS bills of an instance at least
_BILLED = {"ON_DEMAND": Market.on_demand, "SPOT": Market.spot}

_Span = tuple[float, float]


@dataclass(frozen=True)
class _Rented:
    """One instance: what it is, and from when to when it was there."""

    role: str
    instance_type: str
    market: Market
    disks: tuple[Disk, ...]
    span: _Span


@dataclass(frozen=True)
class ClusterAccount:
    """What EMR tells of a cluster at one moment.

    Attributes:
        now: that moment, in seconds since the epoch.
        cluster: as DescribeCluster gives it; empty if it does not.
        steps: all of its steps, as ListSteps gives them; empty if it does not.
        rented: every instance that has ever been there.
        fault: what kept EMR from telling all of this, or None.
        unreachable: why EMR was not asked at all: a clause; None if it was.
    """

    now: float
    cluster: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    rented: Sequence[_Rented] = ()
    fault: Exception | None = None
    unreachable: str | None = None

    @property
    def refused(self) -> str | None:
        """Why EMR tells nothing, or not all: a clause; None if it tells all."""
        if self.fault is None:
            return self.unreachable
        return words(self.fault) if isinstance(self.fault, AWS_FAULTS) else str(self.fault)

    @property
    def untold(self) -> str | None:
        """Why the instances are not known, or None if they are: a clause.

        A cluster runs as soon as its primary instance does, so one that has been running has had
        one at least, whatever ListInstances says.
        """
        if self.refused is not None:
            return self.refused
        began = any(_time(one, "StartDateTime") is not None for one in self.steps)
        ran = _time(self.cluster, "ReadyDateTime") is not None
        if not (began or ran or state_of(self.cluster) in STARTED):
            return None
        if not self.rented:
            return "it lists no instances, though the cluster has been running"
        if all(one.role in ("core", "task") for one in self.rented):
            return "it lists no primary instance, though the cluster has been running"
        return None


def cluster_account(emr: Emr, cluster_id: str) -> ClusterAccount:
    """What EMR tells of a cluster now, as far as it does in a time that a bill is worth."""
    told = ClusterAccount(emr.clock.now())

    def tell(over: threading.Event) -> None:
        nonlocal told
        out = emr.on_the_way_out(over)
        told = replace(told, steps=out.all_steps(cluster_id))
        cluster = out.patient(lambda: out.cluster(cluster_id))
        rented = tuple(_rented(out, cluster_id, cluster, told.now))
        told = replace(told, cluster=cluster, rented=rented)

    try:
        promptly(tell, emr.stop)
    except (*AWS_FAULTS, TimeoutError) as fault:
        return replace(told, fault=fault)
    return told


def used(
    request: EmrRequest,
    account: ClusterAccount,
    *,
    cluster_id: str,
    step_id: str | None,
    own: bool,
    submitted_at: float,
    wasted: bool,
) -> Usage:
    """What one attempt at a step has used.

    Of a cluster of its own, every instance as long as it was there. Of one that serves others too,
    the instances while the step executed; while several steps did, each has an equal share. If EMR
    does not tell when that was, nobody knows what it has used. If EMR does not tell the instances,
    those that were asked for count.

    Args:
        request: what was asked for: it counts if EMR does not tell more.
        account: of the cluster.
        cluster_id, step_id: what was submitted.
        own: the cluster is there for this step alone.
        submitted_at: seconds since the epoch, if EMR does not tell it.
        wasted: the attempt has not made the asset.
    """
    steps, now = account.steps, account.now
    step = next((one for one in steps if one["Id"] == step_id), {})
    asked_at = _time(step, "CreationDateTime") or submitted_at
    begun, ended = _time(step, "StartDateTime"), _time(step, "EndDateTime")
    executed = None if begun is None else (begun, max(begun, ended or now))
    run_s = 0.0 if executed is None else executed[1] - executed[0]
    startup_s = max(0.0, (now if begun is None else begun) - asked_at) if own else 0.0
    if not own and step_id is not None and not step:
        # What it has used of the cluster is its execution, and nothing else.
        what = f"step {step_id} of cluster {cluster_id}, of which EMR does not tell when it ran"
        why = f" ({account.refused})" if account.refused else ""
        region = request.place.region or ""
        return Usage(Engine.emr, region, wasted=wasted, not_counted=(what + why,))
    if account.untold is not None:
        why = f"{cluster_id}: {account.untold}"
        return _as_asked(request, startup_s, run_s, why, wasted=wasted)
    uses = []
    for one in account.rented:
        if own:
            rented_s, worked_s = _length(one.span), _overlap(one.span, executed)
        else:
            rented_s = worked_s = _share(one.span, executed, _executions(steps, now))
        uses.append((one, rented_s, worked_s))
    return Usage(
        engine=Engine.emr,
        region=request.place.region or "",
        instances=tuple(_together(uses, share=not own)),
        startup_s=startup_s,
        run_s=run_s,
        wasted=wasted,
    )


def cluster_used(request: EmrRequest, account: ClusterAccount) -> Usage:
    """What a cluster has used, whoever's steps were on it: its instances until now, or those that
    were asked for if EMR does not tell them."""
    if account.untold is not None:
        created = _time(account.cluster, "CreationDateTime") or account.now
        return planned_usage(request, account.now - created, 0.0)
    uses = [(one, max(_length(one.span), _MINIMUM_S), 0.0) for one in account.rented]
    return Usage(Engine.emr, request.place.region or "", tuple(_together(uses, share=True)))


def besides_its_steps(emr: Emr, cluster_id: str) -> Usage:
    """What a cluster that steps have shared has used besides what counts as theirs: its start, its
    idle time and its end. If none has executed on it, all of that is wasted.

    Raises ClientError, BotoCoreError, and TimeoutError if EMR does not answer in time.
    """
    told = cluster_account(emr, cluster_id)
    if told.fault is not None:
        raise told.fault
    region = emr.place.region or ""
    if told.untold is not None:
        what = f"what cluster {cluster_id} cost besides its steps: EMR does not tell it"
        return Usage(Engine.emr, region, not_counted=(f"{what} ({told.untold})",))
    executions = _executions(told.steps, told.now)
    uses = []
    for one in told.rented:
        served_s = sum(_overlap(one.span, busy) for busy, _ in _busy(executions))
        # AWS's minimum is the whole instance's.
        uses.append((one, max(_length(one.span), _MINIMUM_S) - served_s, 0.0))
    return Usage(
        engine=Engine.emr,
        region=region,
        instances=tuple(_together(uses, share=True)),
        wasted=not executions,
    )


def _as_asked(
    request: EmrRequest, startup_s: float, run_s: float, why: str, *, wasted: bool
) -> Usage:
    planned = planned_usage(request, startup_s, run_s)
    told = f"the instances that were asked for, since EMR does not tell those of {why}"
    return replace(planned, wasted=wasted, assumed=(told, *planned.assumed))


# --- instances ----------------------------------------------------------------------------------


def _rented(emr: Emr, cluster_id: str, cluster: Mapping[str, Any], now: float) -> Iterator[_Rented]:
    """Every instance that has ever been there."""
    fleets = cluster.get("InstanceCollectionType") == "INSTANCE_FLEET"
    root_gib = float(cluster.get("EbsRootVolumeSize") or ROOT_GIB)
    kind = "InstanceFleet" if fleets else "InstanceGroup"
    known = emr.collections(cluster_id, fleets=fleets)
    owners = {one["Id"]: one for one in known}
    for one in emr.instances(cluster_id):
        created = _time(one, "CreationDateTime")
        if not one.get("Ec2InstanceId") or created is None:
            continue  # EC2 has not given it
        owner = owners.get(one.get(f"{kind}Id", ""), {})
        market = one.get("Market") or owner.get("Market") or "ON_DEMAND"
        yield _Rented(
            role=ROLES.get(owner.get(f"{kind}Type", ""), "worker"),
            instance_type=one["InstanceType"],
            market=_BILLED.get(market, Market.on_demand),
            disks=_disks(owner, one["InstanceType"], root_gib),
            span=(created, max(created, _time(one, "EndDateTime") or now)),
        )


def _disks(owner: Mapping[str, Any], instance_type: str, root_gib: float) -> tuple[Disk, ...]:
    alternatives = owner.get("InstanceTypeSpecifications", (owner,))
    devices: Sequence[Mapping[str, Any]] = next(
        (
            one.get("EbsBlockDevices", ())
            for one in alternatives
            if one.get("InstanceType") == instance_type
        ),
        (),
    )
    return asked_disks({"EbsConfiguration": {"EbsBlockDeviceConfigs": devices}}, root_gib)


def _together(
    uses: Sequence[tuple[_Rented, float, float]], *, share: bool
) -> Iterator[InstanceUse]:
    """Instances of one kind as one, with the mean of their times: the sum is the same. Those of
    less than a minute, which cost a minute, are kept apart."""
    kinds: dict[tuple[Any, ...], list[tuple[_Rented, float, float]]] = {}
    for use in uses:
        one, rented_s, _ = use
        if rented_s > 0:
            short = rented_s < _MINIMUM_S
            key = (one.role, one.instance_type, one.market, one.disks, short)
            kinds.setdefault(key, []).append(use)
    for alike in kinds.values():
        one, count = alike[0][0], len(alike)
        rented_s = sum(each for _, each, _ in alike) / count
        yield InstanceUse(
            role=one.role,
            instance_type=one.instance_type,
            market=one.market,
            count=count,
            rented_s=rented_s,
            charged_s=rented_s,
            worked_s=sum(each for _, _, each in alike) / count,
            disks=one.disks,
            share=share,
        )


# --- times --------------------------------------------------------------------------------------


def _executions(steps: Sequence[Mapping[str, Any]], now: float) -> list[_Span]:
    """From when to when each step of a cluster has executed, whoever's it is."""
    found = []
    for one in steps:
        begun, ended = _time(one, "StartDateTime"), _time(one, "EndDateTime")
        if begun is not None:
            found.append((begun, max(begun, ended or now)))
    return found


def _busy(executions: Sequence[_Span]) -> Iterator[tuple[_Span, int]]:
    """The times in which steps executed, and how many did: none of them overlap."""
    moments = sorted({moment for span in executions for moment in span})
    for span in pairwise(moments):
        number = sum(begun <= span[0] and ended >= span[1] for begun, ended in executions)
        if number:
            yield span, number


def _share(rented: _Span, executed: _Span | None, executions: Sequence[_Span]) -> float:
    """Seconds of an instance that count as one step's."""
    if executed is None:
        return 0.0
    common = (max(rented[0], executed[0]), min(rented[1], executed[1]))
    return sum(_overlap(common, span) / number for span, number in _busy(executions))


def _overlap(one: _Span, other: _Span | None) -> float:
    return 0.0 if other is None else max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _length(span: _Span) -> float:
    return span[1] - span[0]


def _time(thing: Mapping[str, Any], name: str) -> float | None:
    found = thing.get("Status", {}).get("Timeline", {}).get(name)
    return None if found is None else float(found.timestamp())
