"""Submitting exactly once to an API that has no token for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ascii_hydra.engines.aws_errors import AWS_FAULTS, is_transient, is_undone, words
from ascii_hydra.engines.calls import pause_s
from ascii_hydra.engines.emr.api import ALIVE, STEP_LIVING, Emr, pipes_uri

LOOKS_S = (0.0, 1.0, 3.0, 6.0)
"""Pauses, in seconds, before each look for what is new: EMR shows it with some delay."""
_LOOK_PAUSE_S = 1.0
_UNCLEAR_ATTEMPTS = 3
_NO_ID = (KeyError, IndexError)  # of an answer that does not say what it has made
_PATIENCE_S = 10 * 60.0  # with throttling
_CLOCKS_DIFFER_S = 300.0


class StoppedError(InterruptedError):
    """The launch was stopped before anything was submitted."""


class UnclearError(Exception):
    """Nobody can tell whether something was submitted. The text is a sentence for people."""


def once(
    emr: Emr,
    submit: Callable[[], str],
    found: Callable[[], str | None],
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """What `submit` returns, or what it made though its reply was lost.

    Args:
        emr: whose clock and stop are used.
        submit: makes the call, once.
        found: looks for what the call has made.
        doubt: is told of every call that may have made something, or make it still.

    Raises:
        StoppedError: stopped, and nothing is submitted.
        UnclearError: no reply came several times, or once and then no other call could be made,
            and nothing is to be found.
        ClientError, BotoCoreError: the call was refused, or throttled for ten minutes.
    """
    deadline = emr.clock.now() + _PATIENCE_S
    failures, unclear = 0, list[str]()
    while True:
        if emr.stop.is_set():
            if unclear:
                raise UnclearError(f"{unclear[-1]}, and was not asked again, being stopped")
            raise StoppedError
        try:
            return submit()
        except (*AWS_FAULTS, *_NO_ID) as fault:
            failures += 1
            nameless = isinstance(fault, _NO_ID)
            if is_undone(fault) and emr.clock.now() <= deadline:
                pass
            elif nameless or (is_transient(fault) and not is_undone(fault)):
                said = "it does not name what it has made" if nameless else words(fault)
                unclear.append(f"EMR gave no clear answer ({said})")
                doubt()
                made = _looked_up(emr, found)
                if made is not None:
                    return made
                if len(unclear) >= _UNCLEAR_ATTEMPTS:
                    raise UnclearError(unclear[-1]) from fault
                continue
            elif unclear:
                raise UnclearError(f"{unclear[-1]}, and then {words(fault)}") from fault
            else:
                raise
        emr.clock.sleep(pause_s(failures), emr.stop)


def _looked_up(emr: Emr, found: Callable[[], str | None]) -> str | None:
    # Even if stopped meanwhile: what was made is wanted all the more, to be ended.
    for pause in LOOKS_S:
        emr.clock.sleep(pause, threading.Event())
        try:
            made = found()
        except AWS_FAULTS as fault:
            raise UnclearError(
                f"EMR gave no answer, and cannot be asked ({words(fault)})"
            ) from fault
        if made is not None:
            return made
    return None


def submitted_cluster(
    emr: Emr,
    flow: Mapping[str, Any],
    matches: Callable[[str], bool],
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """Id of the one cluster that RunJobFlow has made.

    Args:
        emr: where.
        flow: RunJobFlow's arguments; the name tells this cluster from others, with `matches`.
        matches: whether a cluster of that name, by its id, is the one; may ask EMR.
        doubt: see `once`.
    """
    begun = emr.clock.now()
    looking = emr.on_the_way_out()

    def submit() -> str:
        return str(emr.client.run_job_flow(**flow)["JobFlowId"])

    def found() -> str | None:
        # All states: it may have ended already, but it has been paid for.
        return next(clusters_made(looking, flow, matches, begun), None)

    return once(emr, submit, found, doubt)


def clusters_made(
    emr: Emr,
    flow: Mapping[str, Any],
    matches: Callable[[str], bool],
    since: float,
    states: Sequence[str] = (),
) -> Iterator[str]:
    """Ids of the clusters that calls of RunJobFlow with these arguments have made.

    Args:
        emr, flow, matches: as `submitted_cluster` has them.
        since: seconds since the epoch, before the first call.
        states: all if empty.
    """
    for one in emr.clusters(created_after=since - _CLOCKS_DIFFER_S, states=states):
        if one["Name"] == flow["Name"] and matches(one["Id"]):
            yield str(one["Id"])


def submitted_step(
    emr: Emr,
    cluster_id: str,
    step: Mapping[str, Any],
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """Id of the one step that AddJobFlowSteps has added."""

    def submit() -> str:
        reply = emr.client.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])
        return str(reply["StepIds"][0])

    looking = emr.on_the_way_out()
    return once(emr, submit, lambda: step_with(looking, cluster_id, pipes_uri(step)), doubt)


def step_with(emr: Emr, cluster_id: str, uri: str | None, *, within_s: float = 0.0) -> str | None:
    """Id of the step of a cluster whose messages go to this URI, which names one submission.

    Args:
        emr: where.
        cluster_id: the cluster.
        uri: see there.
        within_s: looked for so long, by the clock: EMR may show a new step with some delay.
    """
    deadline = emr.clock.now() + within_s
    while True:
        made = next(iter(steps_with(emr, cluster_id, uri)), None)
        if made is not None or emr.clock.now() >= deadline:
            return made
        emr.clock.sleep(_LOOK_PAUSE_S, emr.stop)


def steps_with(emr: Emr, cluster_id: str, uri: str | None, states: Sequence[str] = ()) -> list[str]:
    """Ids of all such steps: more than one if a call has been carried out twice."""
    if uri is None:
        return []
    return [str(o["Id"]) for o in emr.all_steps(cluster_id, states) if pipes_uri(o) == uri]


def config_of(name: str, token: str) -> str:
    """The configuration that a step was made from, as its name says behind its token."""
    return name.rpartition(token)[2].strip()


def living(
    emr: Emr, token: str, cluster_id: str | None = None
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Clusters and steps that earlier attempts at the same step have left running.

    Args:
        emr: where.
        token: the step's.
        cluster_id: the existing cluster that its steps go to, whatever it is called; None to look
            at all that this project has made.
    """
    clusters: Sequence[Mapping[str, Any]] = [{"Id": cluster_id, "Name": ""}]
    if cluster_id is None:
        made = emr.clusters(states=ALIVE)
        clusters = [one for one in made if one["Name"].startswith("ascii_hydra")]
    return [
        (cluster, step)
        for cluster in clusters
        for step in emr.all_steps(cluster["Id"], STEP_LIVING)
        if token in step["Name"] and pipes_uri(step) is not None
    ]
