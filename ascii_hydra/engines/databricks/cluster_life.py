"""Which instances the cluster of a run had, and when: from what is told of it. Pure.

What counts, and by whose word:

* EC2 and EBS are paid from an instance's start to its end (https://aws.amazon.com/ec2/pricing/).
  The start is that of the first node that clusters/get has told (`start_timestamp`: "when the Spark
  node is launched"), or, if it told none, the cluster's creation. The end is `terminated_time`.
* DBU accrue on every instance, the driver's too, while the cluster runs: from its first RUNNING
  event to its TERMINATING event. ("Databricks does not charge DBUs while instances are idle in the
  pool", https://docs.databricks.com/clusters/instance-pools/; nor before a node runs Databricks.)
* The number of workers is that of the events RUNNING, RESIZING, UPSIZE_COMPLETED and NODES_LOST.
  Instances that a cluster grows by are paid from the RESIZING that asks for them, and bear DBU from
  the UPSIZE_COMPLETED. Those that it shrinks by count to the RESIZING.
* A worker is on spot if clusters/get says so (`is_spot`), as it did in the look nearest in time
  that shows as many workers; those that no look has shown are as asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.engines.databricks.cluster_account import Account, Nodes
from ascii_hydra.engines.databricks.planned_usage import AskedCluster
from ascii_hydra.engines.databricks.states import Stage, has_executed, task_of, work_of

# A cluster that was terminated so before it ran was given no instances (names of the SDK's
# TerminationReasonCode). Of any other, it is assumed that it was.
_NO_INSTANCES = {
    *("AWS_INSUFFICIENT_INSTANCE_CAPACITY_FAILURE", "AWS_MAX_SPOT_INSTANCE_COUNT_EXCEEDED_FAILURE"),
    *("AWS_INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET_FAILURE", "SUBNET_EXHAUSTED_FAILURE"),
    *("AWS_AUTHORIZATION_FAILURE", "AWS_REQUEST_LIMIT_EXCEEDED", "AWS_RESOURCE_QUOTA_EXCEEDED"),
    *("AWS_UNSUPPORTED_FAILURE", "UNSUPPORTED_INSTANCE_TYPE", "INVALID_AWS_PARAMETER"),
    *("CLOUD_PROVIDER_INSTANCE_NOT_LAUNCHED", "CLOUD_PROVIDER_LAUNCH_FAILURE"),
    *("CLOUD_PROVIDER_RESOURCE_STOCKOUT", "CLOUD_PROVIDER_RESOURCE_STOCKOUT_DUE_TO_MISCONFIG"),
    *("INSTANCE_POOL_MAX_CAPACITY_REACHED", "INSTANCE_POOL_NOT_FOUND"),
    *("INVALID_ARGUMENT", "INVALID_SPARK_IMAGE", "REQUEST_REJECTED", "REQUEST_THROTTLED"),
}


@dataclass(frozen=True)
class Times:
    """When a run did what, in seconds since the epoch by Databricks' clock.

    Attributes:
        submitted: it was submitted.
        asked: its cluster was asked for: it was queued no longer.
        begun: its step began to execute; None if it never did.
        worked: its step ended; None if it never began.
        ended: it ended, or was last seen.
    """

    submitted: float
    asked: float
    begun: float | None
    worked: float | None
    ended: float


@dataclass(frozen=True)
class Instance:
    """One place in a cluster, which one instance after the other may have had.

    Attributes:
        role: driver or worker.
        market: how it was rented.
        since, until: its first and last moment, in seconds since the epoch.
        rented_s, charged_s, worked_s: as `InstanceUse` has them.
    """

    role: str
    market: Market
    since: float
    until: float
    rented_s: float
    charged_s: float
    worked_s: float


@dataclass(frozen=True)
class ClusterLife:
    """The instances of a cluster as far as they were there for a run.

    Attributes:
        instances: each of them.
        assumed: what was taken as asked for: clauses for people.
    """

    instances: tuple[Instance, ...] = ()
    assumed: tuple[str, ...] = ()


def times_of(account: Account) -> Times:
    """When a run did what.

    The durations of its task lead back from its end, since a start_time may or may not have the
    queue behind it.
    """
    run, task = account.run, task_of(account.run)
    start = _seconds(task, "start_time") or _seconds(run, "start_time") or account.submitted_at
    queued = _seconds(task, "queue_duration") or _seconds(run, "queue_duration")
    setup, execution = (_duration(run, f"{one}_duration") for one in ("setup", "execution"))
    end = _seconds(task, "end_time") or _seconds(run, "end_time")
    ended = end or account.now
    begun = worked = None
    if execution and end:
        worked = ended - _duration(run, "cleanup_duration")
        begun = worked - execution
    elif setup and work_of(run).stage in (Stage.running, Stage.ending):
        begun = min(start + queued + setup, ended)
        worked = begun + execution if execution else ended
    return Times(start, min(start + queued, ended), begun, worked, ended)


def cluster_life(account: Account, asked: AskedCluster, times: Times) -> ClusterLife:
    """The instances of a job cluster, all of which is its run's."""
    cluster, events = account.cluster, account.events
    created = _seconds(cluster, "start_time") or times.asked
    up, down = _first(events, "RUNNING"), _first(events, "TERMINATING")
    gone = _seconds(cluster, "terminated_time") or times.ended
    if cluster and not _seconds(cluster, "terminated_time"):
        gone = max(gone, account.now)  # it is on its way out
    if not account.nodes and events is not None and up is None and _had_none(cluster):
        return ClusterLife()
    assumed = list(_untold(account, asked))
    starts = [_seconds(one, "start_timestamp") for one in _told(account.nodes)]
    known = [one for one in starts if one]
    launched = max(created, min(known)) if known and not _pooled(cluster) else created
    if not known:
        assumed.append("instances since their cluster was asked for")
    began = times.begun is not None or has_executed(account.run)
    if account.events is not None and up is None and began:
        assumed.append("DBU since the cluster was asked for, since no event tells when it ran")
    charged = _charged(account, launched, up, down, gone, began=began)
    working = (times.begun or gone, times.worked or gone)
    counts = _Counts(events or (), _workers(asked))
    return ClusterLife(
        tuple(_instances(account, asked, counts, (launched, gone), charged, working)),
        tuple(assumed),
    )


def existing_cluster_life(account: Account, asked: AskedCluster, times: Times) -> ClusterLife:
    """The instances of a cluster that was there before, while the step executed."""
    if times.begun is None or times.worked is None:
        return ClusterLife()
    window = (times.begun, times.worked)
    counts = _Counts(account.events or (), _workers(asked))
    assumed = list(_untold(account, asked))
    if any(times.asked <= at < times.begun for at in _all(account.events, "STARTING")):
        assumed.append("the existing cluster was started for this run, which is not counted")
    return ClusterLife(
        tuple(_instances(account, asked, counts, window, window, window)), tuple(assumed)
    )


# --- what is told -------------------------------------------------------------------------------


class _Counts:
    """How many workers a cluster had, by its events.

    Args:
        events: the oldest first.
        first: how many were asked for.
    """

    def __init__(self, events: Sequence[Mapping[str, Any]], first: int) -> None:
        self.steps = list(_steps(events, first))
        self._first = first

    def at(self, moment: float) -> tuple[int, int]:
        """How many are part of the cluster, and how many are rented for it."""
        found = (self._first, self._first)
        for at, inside, rented in self.steps:
            if at > moment:
                break
            found = inside, rented
        return found


def _steps(events: Sequence[Mapping[str, Any]], first: int) -> Iterator[tuple[float, int, int]]:
    inside = rented = first
    for one in events:
        details, kind = one.get("details") or {}, one.get("type")
        current, target = details.get("current_num_workers"), details.get("target_num_workers")
        if target is None:
            target = (details.get("cluster_size") or {}).get("num_workers")
        if kind in ("CREATING", "STARTING", "RESTARTING"):
            inside = rented = first
        elif kind == "RESIZING" and target is not None:
            inside = min(inside if current is None else int(current), int(target))
            rented = int(target)
        elif current is not None:
            inside = rented = int(current)
        yield _moment(one), inside, rented


def _instances(
    account: Account,
    asked: AskedCluster,
    counts: _Counts,
    rented: tuple[float, float],
    charged: tuple[float, float],
    working: tuple[float, float],
) -> Iterator[Instance]:
    """Add up what every place of the cluster was, moment by moment.

    Args:
        rented, charged, working: from when to when the cluster was each of these.
    """
    since, until = rented
    looks = [one.at for one in account.nodes]
    # Halfway between two looks, the later one is the nearer.
    marks = {*rented, *charged, *working, *((one + next_) / 2 for one, next_ in pairwise(looks))}
    marks |= {at for at, _, _ in counts.steps}
    sums: dict[tuple[str, int, Market], list[float]] = {}
    for begin, end in pairwise(sorted({min(max(one, since), until) for one in marks})):
        middle = (begin + end) / 2
        inside, total = counts.at(middle)
        on_demand = _on_demand(account.nodes, asked, middle, total)
        places = [("driver", 0, _driver_market(account.nodes, asked, middle), True)]
        for place in range(total):
            market = Market.on_demand if place < on_demand else Market.spot
            places.append(("worker", place, market, place < inside))
        for role, place, market, part in places:
            found = sums.setdefault((role, place, market), [begin, end, 0.0, 0.0, 0.0])
            found[1] = end
            found[2] += end - begin
            if part and charged[0] <= middle < charged[1]:
                found[3] += end - begin
            if part and working[0] <= middle < working[1]:
                found[4] += end - begin
    for (role, _, market), (first, last, paid_s, charged_s, worked_s) in sums.items():
        yield Instance(role, market, first, last, paid_s, charged_s, worked_s)


def _on_demand(nodes: Sequence[Nodes], asked: AskedCluster, moment: float, total: int) -> int:
    """How many of so many workers were on demand. A cluster gives back what is on spot first."""
    look = _nearest([one for one in nodes if len(one.workers) >= total], moment)
    if look is None:
        if not asked.worker.spot:
            return total
        return min(asked.on_demand, total)
    told = [_is_spot(one) for one in look.workers]
    unknown = 0 if asked.worker.spot else told.count(None)
    return min(told.count(False) + unknown, total)


def _driver_market(nodes: Sequence[Nodes], asked: AskedCluster, moment: float) -> Market:
    look = _nearest([one for one in nodes if one.driver], moment)
    told = None if look is None or look.driver is None else _is_spot(look.driver)
    spot = asked.driver.spot if told is None else told
    return Market.spot if spot else Market.on_demand


def _is_spot(node: Mapping[str, Any]) -> bool | None:
    told = (node.get("node_aws_attributes") or {}).get("is_spot")
    return None if told is None else bool(told)


def _nearest(nodes: Sequence[Nodes], moment: float) -> Nodes | None:
    return min(nodes, key=lambda one: abs(one.at - moment), default=None)


def _told(nodes: Sequence[Nodes]) -> Iterator[Mapping[str, Any]]:
    for one in nodes:
        yield from (*(() if one.driver is None else (one.driver,)), *one.workers)


def _untold(account: Account, asked: AskedCluster) -> Iterator[str]:
    """What is taken as it was asked for."""
    if account.untold:
        yield f"how many workers there were, and when, since it is not told ({account.untold})"
    most = max((len(one.workers) for one in account.nodes), default=0)
    counts = [rented for _, _, rented in _steps(account.events or (), _workers(asked))]
    if asked.worker.spot and most < max(counts, default=_workers(asked)):
        yield "workers on spot as asked for, since no look at the cluster has shown them all"
    if asked.driver.spot and not any(one.driver for one in account.nodes):
        yield "the driver on spot as asked for, since no look at the cluster has shown it"


def _charged(
    account: Account,
    launched: float,
    up: float | None,
    down: float | None,
    gone: float,
    *,
    began: bool,
) -> tuple[float, float]:
    """From when to when DBU accrued; `began`: the step has executed, so the cluster was running."""
    if account.events is None or (up is None and began):  # an upper estimate
        return launched, gone
    if up is None:
        return gone, gone
    return up, gone if down is None else down


def _had_none(cluster: Mapping[str, Any]) -> bool:
    return str((cluster.get("termination_reason") or {}).get("code")) in _NO_INSTANCES


def _workers(asked: AskedCluster) -> int:
    return asked.on_demand + asked.spot


def _pooled(cluster: Mapping[str, Any]) -> bool:
    return "instance_pool_id" in cluster


def _first(events: Sequence[Mapping[str, Any]] | None, kind: str) -> float | None:
    return next(_all(events, kind), None)


def _all(events: Sequence[Mapping[str, Any]] | None, kind: str) -> Iterator[float]:
    return (_moment(one) for one in events or () if one.get("type") == kind)


def _moment(event: Mapping[str, Any]) -> float:
    return _seconds(event, "timestamp")


def _duration(run: Mapping[str, Any], name: str) -> float:
    """A duration of the run's task; of a run without tasks, its own."""
    return _seconds(task_of(run), name) or _seconds(run, name)


def _seconds(of: Mapping[str, Any], name: str) -> float:
    """What is told in milliseconds; 0 if it is not."""
    return float(of.get(name) or 0) / 1000
