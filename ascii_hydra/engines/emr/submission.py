"""Submitting exactly once to an API that has no token for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ascii_hydra.engines.aws_errors import (
    AWS_FAULTS,
    IncompleteAnswerError,
    is_transient,
    is_undone,
    retry_after_of,
    words,
)
from ascii_hydra.engines.calls import pause_s
from ascii_hydra.engines.emr.api import ALIVE, STEP_LIVING, Emr, pipes_uri, submission_of

LOOKS_S = (0.0, 1.0, 3.0, 6.0)
"""Pauses, in seconds, before each look for what is new: EMR shows it with some delay."""
_LOOK_PAUSE_S = 1.0
WORKING_S = 5 * 60.0
"""How long, in seconds, EMR is asked for a submission that it does not show though its driver
works."""
WORKING_PAUSE_S = 10.0
"""Pause between two such looks, in seconds."""
_UNCLEAR_ATTEMPTS = 3
_NO_ID = (IncompleteAnswerError, IndexError)  # of an answer that does not say what it has made
_PATIENCE_S = 10 * 60.0  # with throttling
_CLOCKS_DIFFER_S = 300.0


class StoppedError(InterruptedError):
    """The launch was stopped before anything was submitted."""


class UnclearError(Exception):
    """Nobody can tell whether something was submitted. The text is a sentence for people."""


def once(
    emr: Emr,
    submit: Callable[[int], str],
    find: Callable[[int], str | None],
    *,
    revoke: Callable[[int], bool] = lambda _number: True,
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """What `submit` returns, or what it made though its reply was lost.

    A submission is numbered, from 1. Its number is not used again once its call may have been
    carried out, now or later: it is revoked before there is another one.

    Args:
        emr: whose clock and stop are used.
        submit: makes the call of the submission with this number, once.
        find: looks for what the call with this number has made.
        revoke: makes a submission without effect; False if it works already. By default what is
            submitted does no work of its own, and nothing needs to be revoked.
        doubt: is told of every call that may have made something, or make it still.

    Raises:
        StoppedError: stopped, and nothing is submitted.
        UnclearError: no clear reply came several times, or once and then no other call could be
            made, and nothing is to be found.
        ClientError, BotoCoreError: the call was refused, or throttled for ten minutes.
    """
    deadline = emr.clock.local.now() + _PATIENCE_S
    failures, unclear = 0, list[str]()
    while True:
        number = len(unclear) + 1
        if emr.stop.is_set():
            if unclear:
                raise UnclearError(f"{unclear[-1]}, and was not asked again, being stopped")
            raise StoppedError
        try:
            return submit(number)
        # Whatever is wrong with a reply, it is one: something may have been made.
        except Exception as fault:
            failures += 1
            known = isinstance(fault, AWS_FAULTS)
            if known and is_undone(fault) and emr.clock.local.now() <= deadline:
                wait_s = retry_after_of(fault) or 0.0
            elif not known or (is_transient(fault) and not is_undone(fault)):
                unclear.append(f"EMR gave no clear answer ({_unclear_words(fault)})")
                doubt()
                made = _looked_up(emr, partial(find, number), unclear[-1])
                if made is None and not revoke(number):
                    made = _working(emr, partial(find, number), unclear[-1])
                if made is not None:
                    return made
                if len(unclear) >= _UNCLEAR_ATTEMPTS:
                    raise UnclearError(unclear[-1]) from fault
                continue
            elif unclear:
                raise UnclearError(f"{unclear[-1]}, and then {words(fault)}") from fault
            else:
                raise
        emr.clock.sleep(max(pause_s(failures), wait_s), emr.stop)


def _unclear_words(fault: Exception) -> str:
    if isinstance(fault, _NO_ID):
        return "it does not name what it has made"
    return words(fault)


def _looked_up(emr: Emr, find: Callable[[], str | None], unclear: str) -> str | None:
    # Even if stopped meanwhile: what was made is wanted all the more, to be ended.
    for pause in LOOKS_S:
        emr.clock.sleep(pause, threading.Event())
        made = _look(find, unclear)
        if made is not None:
            return made
    return None


def _working(emr: Emr, find: Callable[[], str | None], unclear: str) -> str:
    """What works already, as soon as EMR shows it; one more look if stopped."""
    deadline = emr.clock.local.now() + WORKING_S
    while True:
        made = _look(find, unclear)
        if made is not None:
            return made
        if emr.stop.is_set() or emr.clock.local.now() >= deadline:
            raise UnclearError(f"{unclear}, its driver works, and EMR does not show it")
        emr.clock.sleep(WORKING_PAUSE_S, emr.stop)


def _look(find: Callable[[], str | None], unclear: str) -> str | None:
    try:
        return find()
    except Exception as fault:
        raise UnclearError(f"{unclear}, and cannot be asked ({words(fault)})") from fault


def submitted_cluster(
    emr: Emr,
    flow: Callable[[int], Mapping[str, Any]],
    matches: Callable[[str, int], bool],
    *,
    revoke: Callable[[int], bool] = lambda _number: True,
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """Id of the one cluster that RunJobFlow has made.

    Args:
        emr: where.
        flow: RunJobFlow's arguments of the submission with this number; the name tells this cluster
            from others, with `matches`.
        matches: whether a cluster of that name, by its id, is that submission's; may ask EMR.
        revoke, doubt: see `once`.
    """
    begun = emr.clock.now()
    looking = emr.on_the_way_out()

    def submit(number: int) -> str:
        return str(emr.call("run_job_flow", **flow(number))["JobFlowId"])

    def find(number: int) -> str | None:
        # All states: it may have ended already, but it has been paid for.
        def ours(cluster_id: str) -> bool:
            return matches(cluster_id, number)

        return next(clusters_made(looking, flow(number), ours, begun), None)

    return once(emr, submit, find, revoke=revoke, doubt=doubt)


def clusters_made(
    emr: Emr,
    flow: Mapping[str, Any],
    matches: Callable[[str], bool],
    since: float,
    states: Sequence[str] = (),
) -> Iterator[str]:
    """Ids of the clusters that calls of RunJobFlow with these arguments have made.

    Args:
        emr: where.
        flow: RunJobFlow's arguments, of which the name counts.
        matches: whether a cluster of that name, by its id, is one; may ask EMR.
        since: seconds since the epoch, before the first call.
        states: all if empty.
    """
    for one in emr.clusters(created_after=since - _CLOCKS_DIFFER_S, states=states):
        if one["Name"] == flow["Name"] and matches(one["Id"]):
            yield str(one["Id"])


def submitted_step(
    emr: Emr,
    cluster_id: str,
    step: Callable[[int], Mapping[str, Any]],
    *,
    revoke: Callable[[int], bool] = lambda _number: True,
    doubt: Callable[[], None] = lambda: None,
) -> str:
    """Id of the one step that AddJobFlowSteps has added.

    Args:
        emr: where.
        cluster_id: the cluster.
        step: the step of the submission with this number.
        revoke, doubt: see `once`.
    """
    looking = emr.on_the_way_out()

    def submit(number: int) -> str:
        reply = emr.call("add_job_flow_steps", JobFlowId=cluster_id, Steps=[step(number)])
        return str(reply["StepIds"][0])

    def find(number: int) -> str | None:
        return step_with(looking, cluster_id, pipes_uri(step(number)), number)

    return once(emr, submit, find, revoke=revoke, doubt=doubt)


def step_with(
    emr: Emr,
    cluster_id: str,
    uri: str | None,
    number: int | None = None,
    *,
    within_s: float = 0.0,
) -> str | None:
    """Id of the step of a cluster whose messages go to this URI.

    Args:
        emr: where.
        cluster_id: the cluster.
        uri: see there.
        number: of the step's submission; None for any.
        within_s: looked for so long, by the clock: EMR may show a new step with some delay.
    """
    deadline = emr.clock.local.now() + within_s
    while True:
        made = next(iter(steps_with(emr, cluster_id, uri, number)), None)
        if made is not None or emr.clock.local.now() >= deadline:
            return made
        emr.clock.sleep(_LOOK_PAUSE_S, emr.stop)


def steps_with(
    emr: Emr,
    cluster_id: str,
    uri: str | None,
    number: int | None = None,
    *,
    states: Sequence[str] = (),
) -> list[str]:
    """Ids of all such steps: more than one if a call has been carried out late, or twice."""
    if uri is None:
        return []
    return [
        str(one["Id"])
        for one in emr.all_steps(cluster_id, states)
        if pipes_uri(one) == uri and (number is None or submission_of(one) == number)
    ]


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
