"""Waiting for the end of a step, within the limits that were set for it."""

from __future__ import annotations

from collections.abc import Callable

from ascii_hydra.engines.emr.api import ENDED, LEAVING, STARTED, STEP_ENDED, Emr, state_of
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.watcher import Look, watched_step
from ascii_hydra.engines.pipes_folder import FolderReader
from ascii_hydra.engines.watched import looks
from ascii_hydra.engines.wording import duration_words

# EMR tells the end of a cluster's steps some time after that of the cluster.
_AFTERMATH_S = 120.0


def waited(
    emr: Emr,
    job: Job,
    request: EmrRequest,
    reader: FolderReader,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> tuple[Look, str | None]:
    """The last look at a step: it has ended, or must be ended for the reason that is given, which
    is the end of a sentence.

    Args:
        emr: where.
        job: the step.
        request: its limits.
        reader: of its messages.
        say: is told of every change of a state.
        warn: is told of an outage.

    Raises:
        InterruptedError: stopped.
        WatchingFailedError: nobody knows what the step does.
        Whatever ended the reading of its messages.
    """
    assert job.cluster_id is not None
    assert job.step_id is not None
    last: Look | None = None
    with watched_step(
        emr, job.cluster_id, job.step_id, longest_s=request.poll_s, warn=warn
    ) as watched:
        for look in looks(watched, reader, emr.stop, request.step):
            _say_changes(job, last, look, say)
            last = look
            if state_of(look.step) in STEP_ENDED or _is_over(look):
                return look, None
            own = limit_passed(look, job, request)
            if own is not None:
                return look, own
            job.seek_doubles(look.at)
    raise AssertionError("looks end by raising alone")


def limit_passed(look: Look, job: Job, request: EmrRequest) -> str | None:  # noqa: PLR0911
    """Which limit a step or its cluster has passed, as the end of a sentence, or None."""
    timeline = look.step.get("Status", {}).get("Timeline", {})
    begun = timeline.get("StartDateTime")
    if begun is not None:
        if look.at - begun.timestamp() <= request.timeout_s:
            return None
        return (
            f"was stopped after its time limit of {duration_words(request.timeout_s)}: look at its"
            " log for what it was waiting for, or raise engine.timeout_minutes."
        )
    state = state_of(look.cluster)
    if request.cluster_id is not None:
        asked = timeline.get("CreationDateTime")
        since = job.submitted_at if asked is None else asked.timestamp()
        if state_of(look.step) != "PENDING" or look.at - since <= request.start_timeout_s:
            return None
        return (
            f"never began: it has waited {duration_words(request.start_timeout_s)} for its turn on"
            f" cluster {request.cluster_id}, and was cancelled: look at the steps before it, name"
            " another engine.cluster_id or none, or raise engine.start_timeout_minutes."
        )
    if state in (*STARTED, *LEAVING, ""):
        return None
    created = look.cluster.get("Status", {}).get("Timeline", {}).get("CreationDateTime")
    since = job.submitted_at if created is None else created.timestamp()
    if look.at - since <= request.start_timeout_s:
        return None
    return (
        f"never began: its cluster was still {state} after"
        f" {duration_words(request.start_timeout_s)}, most often because EC2 has no capacity: name"
        " more instance types (cluster.worker_instance_types, or cluster.filters) or more"
        " engine.subnets, or raise engine.start_timeout_minutes."
    )


def _is_over(look: Look) -> bool:
    """The cluster has ended, and its steps' ends should have been told by now."""
    if state_of(look.cluster) not in ENDED:
        return False
    ended = look.cluster.get("Status", {}).get("Timeline", {}).get("EndDateTime")
    return ended is not None and look.at - ended.timestamp() > _AFTERMATH_S


def _say_changes(job: Job, last: Look | None, look: Look, say: Callable[[str], None]) -> None:
    cluster = state_of(look.cluster)
    if cluster and (last is None or cluster != state_of(last.cluster)):
        say(f"cluster {job.cluster_id} is {cluster}")
    step = state_of(look.step)
    if step and (last is None or step != state_of(last.step)):
        say(f"step {job.step_id} is {step}")
