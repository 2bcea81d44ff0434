"""Clusters that serve all steps of a launch.

There is one for every specification that the steps of a launch have. The first step that needs it
makes it; EMR ends it when it has been idle, should this process be killed before it can.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ascii_hydra.aws.client import Place
from ascii_hydra.costs.bill import Bill, bill
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines.aws_errors import AWS_FAULTS, words
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.emr.api import ALIVE, STEP_WANTED, Emr
from ascii_hydra.engines.emr.doubles import Doubles
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.ending import ended_cluster
from ascii_hydra.engines.emr.leftovers import cluster_left, perhaps_a_cluster
from ascii_hydra.engines.emr.submission import clusters_made, submitted_cluster
from ascii_hydra.engines.emr.used import besides_its_steps
from ascii_hydra.engines.interrupts import deferred_interrupts
from ascii_hydra.engines.step_costs import unmade
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.step.choices import Engine

SPECIFICATION_TAG = "ascii_hydra/specification"
SUBMISSION_TAG = "ascii_hydra/submission"  # tells our clusters from another process's
_TICK_S = 0.1
# What may differ among the steps that share a cluster.
_OF_ONE_STEP = {"Name", "Tags", "Steps"}


@dataclass
class _Shared:
    """One cluster, once it is there; those before it that had to be replaced; and the steps that
    this process has submitted to them."""

    emr: Emr
    flow: Mapping[str, Any]
    costing: Costing
    lock: threading.Lock = field(default_factory=threading.Lock)
    cluster_id: str | None = None
    made: list[str] = field(default_factory=list)
    doubles: list[Doubles] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)


_LOCK = threading.Lock()
_SHARED: dict[tuple[str, Place, str], _Shared] = {}


def specification(flow: Mapping[str, Any]) -> str:
    """Digest of what a cluster is, whatever it is called."""
    spec = {name: value for name, value in flow.items() if name not in _OF_ONE_STEP}
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]


def shared_cluster(
    emr: Emr,
    launch: str,
    flow: Mapping[str, Any],
    say: Callable[[str], None],
    costing: Costing,
) -> str:
    """Id of the cluster of this launch and specification; made if it is not there yet.

    Two processes of one launch that begin at the same moment make one each.

    Args:
        emr: where.
        launch: names the launch.
        flow: RunJobFlow's arguments, without steps.
        say: is told whether a cluster is shared, and why not.
        costing: how what it costs besides its steps is priced.

    Raises InterruptedError if stopped while another step makes it, and as `submitted_cluster`.
    """
    digest = specification(flow)
    with _LOCK:
        entry = _SHARED.setdefault((launch, emr.place, digest), _Shared(emr, flow, costing))
        others = [
            one
            for (owner, place, _), one in _SHARED.items()
            if (owner, place) == (launch, emr.place) and one is not entry and one.made
        ]
    with _held(entry.lock, emr.stop):
        if entry.cluster_id is not None:
            say(f"uses the launch's cluster {entry.cluster_id}")
            return entry.cluster_id
        mark = _tag(SUBMISSION_TAG, secrets.token_hex(6))
        tags = (_tag(SPECIFICATION_TAG, digest), mark)
        tagged = {**flow, "Tags": [*flow.get("Tags", ()), *tags]}
        found = None if entry.made else _of_another_process(emr, tagged["Name"], digest)
        if found is not None:
            say(f"uses the launch's cluster {found}, which another process has made")
            entry.cluster_id = found
            return found
        if others:
            say(
                f"starts another cluster: {others[0].made[-1]} of this launch differs in"
                f" {', '.join(_differences(flow, others[0].flow))}"
            )
        doubles = _doubles(emr, tagged, mark)
        entry.doubles.append(doubles)
        entry.cluster_id = submitted_cluster(
            emr,
            lambda _number: tagged,
            lambda one, _number: _has(emr, one, mark),
            doubt=doubles.doubt,
        )
        entry.made.append(entry.cluster_id)
        return entry.cluster_id


def replaced(emr: Emr, launch: str, flow: Mapping[str, Any], cluster_id: str) -> None:
    """This cluster takes no more steps: the next one who asks gets a new one."""
    with _LOCK:
        entry = _SHARED.get((launch, emr.place, specification(flow)))
    if entry is not None and entry.cluster_id == cluster_id:
        entry.cluster_id = None


def seek_doubles(
    emr: Emr,
    launch: str,
    flow: Mapping[str, Any],
    now: float,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """While a step runs on the cluster of a launch and specification: end the other clusters that
    calls without a clear answer have made for it.

    Args:
        emr: where.
        launch: names the launch.
        flow: RunJobFlow's arguments, without steps.
        now: seconds since the epoch, by the clock.
        say, warn: see `Doubles.seek`.
    """
    with _LOCK:
        entry = _SHARED.get((launch, emr.place, specification(flow)))
    # Of several steps on the cluster, one looks; and none while a cluster is made.
    if entry is None or not entry.lock.acquire(blocking=False):
        return
    try:
        for doubles in entry.doubles:
            doubles.seek(entry.made, now, say=say, warn=warn)
    finally:
        entry.lock.release()


def served(emr: Emr, launch: str, flow: Mapping[str, Any], step_id: str) -> None:
    """This process has submitted this step to the cluster of a launch and specification."""
    with _LOCK:
        entry = _SHARED.get((launch, emr.place, specification(flow)))
        if entry is not None:
            entry.steps.add(step_id)


def shared_clusters(emr: Emr, launch: str, request: EmrRequest) -> tuple[str, ...]:
    """Ids of the clusters that serve, or have served, steps of a launch with this specification."""
    assert request.run_job_flow is not None
    with _LOCK:
        entry = _SHARED.get((launch, emr.place, specification(request.run_job_flow)))
    if entry is None:
        return ()
    found = dict.fromkeys(entry.made)
    if entry.cluster_id is not None:  # another process's, perhaps
        found[entry.cluster_id] = None
    return tuple(found)


def clusters_of(emr: Emr, launch: str, flow: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the clusters that this process has made for a launch and specification."""
    with _LOCK:
        entry = _SHARED.get((launch, emr.place, specification(flow)))
        return () if entry is None else tuple(entry.made)


def close_shared(
    launch_id: str | None = None, billed: Callable[[Bill], None] = lambda _bill: None
) -> tuple[StillRunning | str, ...]:
    """Terminate the clusters that this process has made for a launch, or for any, and see them
    leave; but one that runs another process's step is left to its idle timeout.

    Args:
        launch_id: names the launch; None for any.
        billed: is given the bill of each cluster, of what it cost besides its steps: its start, its
            idle time and its end.

    Returns:
        What may still run though it was to end; and a sentence on each cluster that is left to
        another process.
    """
    # A second Ctrl-C while the clusters are ended must not leave the others.
    with deferred_interrupts(threading.Event()):
        with _LOCK:
            keys = [key for key in _SHARED if launch_id in (None, key[0])]
            entries = [_SHARED.pop(key) for key in keys]
        told = [tuple(_all_closed(entry)) for entry in entries]
        # After all have been ended: what cannot be told of one must not keep another.
        for entry in entries:
            doubled = [one for doubles in entry.doubles for one in doubles.found]
            for cluster_id in (*entry.made, *doubled):
                billed(_rest(entry, cluster_id))
        every = tuple(itertools.chain.from_iterable(told))
        if unpriced := [one.unpriced for one in every if isinstance(one, StillRunning)]:
            billed(Bill(unpriced=tuple(unpriced)))
    return every


def _all_closed(entry: _Shared) -> Iterator[StillRunning | str]:
    """End the clusters of one specification; what may still run, or was left to others."""
    for cluster_id in entry.made:
        if (left := _closed(entry, cluster_id)) is not None:
            yield left
    for doubles in entry.doubles:
        yield from doubles.end(entry.made)


def _closed(entry: _Shared, cluster_id: str) -> StillRunning | str | None:
    out, place = entry.emr.on_the_way_out(), entry.emr.place
    try:
        wanted = {one["Id"] for one in out.all_steps(cluster_id, STEP_WANTED)}
    except AWS_FAULTS as fault:
        why = f"it was not ended, since EMR does not tell whose steps are on it: {words(fault)}"
        return cluster_left(cluster_id, place, why)
    others = sorted(wanted - entry.steps)
    if others:
        return (
            f"cluster {cluster_id} is left to its idle timeout: another process's step"
            f" {', '.join(others)} is on it"
        )
    wrong = ended_cluster(out, cluster_id)
    return None if wrong is None else cluster_left(cluster_id, place, wrong)


def _rest(entry: _Shared, cluster_id: str) -> Bill:
    """What a cluster has cost by now besides its steps."""
    prices = entry.costing.prices
    try:
        return bill([besides_its_steps(entry.emr, cluster_id)], prices)
    except Exception as fault:  # noqa: BLE001 - it is named, and the other bills are wanted
        why = f"EMR does not tell ({words(fault)})" if isinstance(fault, AWS_FAULTS) else None
        what = f"what cluster {cluster_id} cost besides its steps: {why or unmade(fault)}"
        return bill([Usage(Engine.emr, prices.region, not_counted=(what,))], prices)


def _doubles(emr: Emr, flow: Mapping[str, Any], mark: dict[str, str]) -> Doubles:
    """What calls of RunJobFlow with these arguments may make late.

    Args:
        emr: where.
        flow: RunJobFlow's arguments.
        mark: tag that no other submission has.
    """
    since = emr.clock.now()

    def made(asked: Emr) -> Iterator[str]:
        for one in clusters_made(asked, flow, lambda one: _has(asked, one, mark), since, ALIVE):
            if not asked.all_steps(one, STEP_WANTED):  # else another process has taken it for its
                yield one

    def cancel(cluster_id: str) -> None:
        emr.call("terminate_job_flows", JobFlowIds=[cluster_id])

    return Doubles(
        emr,
        made=made,
        cancel=cancel,
        end=ended_cluster,
        left=lambda cluster_id, why: cluster_left(cluster_id, emr.place, why),
        perhaps=lambda why: perhaps_a_cluster(emr.place, why),
    )


def _of_another_process(emr: Emr, name: str, digest: str) -> str | None:
    for one in emr.clusters(states=ALIVE):
        if one["Name"] == name and _has(emr, one["Id"], _tag(SPECIFICATION_TAG, digest)):
            return str(one["Id"])
    return None


def _has(emr: Emr, cluster_id: str, tag: dict[str, str]) -> bool:
    out = emr.on_the_way_out()
    return tag in out.patient(lambda: out.cluster(cluster_id)).get("Tags", ())


def _tag(key: str, value: str) -> dict[str, str]:
    return {"Key": key, "Value": value}


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = sorted((set(one) | set(other)) - _OF_ONE_STEP)
    return [name for name in names if one.get(name) != other.get(name)]


@contextmanager
def _held(lock: threading.Lock, stop: threading.Event) -> Iterator[None]:
    while not lock.acquire(timeout=_TICK_S):
        if stop.is_set():
            raise InterruptedError("stopped while another step starts the cluster")
    try:
        yield
    finally:
        lock.release()
