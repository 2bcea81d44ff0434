"""What may still run on EMR, and the command of the AWS CLI that ends it."""

from __future__ import annotations

from ascii_hydra.aws.client import Place
from ascii_hydra.engines.still_running import StillRunning


def cluster_left(cluster_id: str, place: Place, why: str) -> StillRunning:
    """A cluster of our own that could not be ended."""
    command = f"terminate-clusters --cluster-ids {cluster_id}"
    return StillRunning(f"cluster {cluster_id}", why, _aws(command, place))


def step_left(cluster_id: str, step_id: str, place: Place, why: str) -> StillRunning:
    """A step that could not be ended, on a cluster that serves others too."""
    command = f"cancel-steps --cluster-id {cluster_id} --step-ids {step_id}"
    return StillRunning(f"step {step_id} of cluster {cluster_id}", why, _aws(command, place))


def perhaps_a_cluster(place: Place, why: str) -> StillRunning:
    """A cluster that a call without a clear answer may have made."""
    command = _aws("list-clusters --active", place)
    return StillRunning("a cluster that may have been made", why, command)


def perhaps_a_step(cluster_id: str, place: Place, why: str) -> StillRunning:
    """A step that a call without a clear answer may have added."""
    command = f"list-steps --cluster-id {cluster_id} --step-states PENDING RUNNING"
    what = f"a step of cluster {cluster_id} that may have been submitted"
    return StillRunning(what, why, _aws(command, place))


def _aws(command: str, place: Place) -> str:
    at = f" --region {place.region}" if place.region else ""
    # What a rehearsal has left is not ended in the user's real account.
    return f"aws emr {command}{at}" + (f" --endpoint-url {place.url}" if place.url else "")
