"""EMR's API as the engine uses it: every call is tried once, reads are repeated with patience."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.aws_errors import LOG_IN_AGAIN, IncompleteAnswerError, aws_fault
from ascii_hydra.engines.calls import CallFault, repeated
from ascii_hydra.engines.clock import Clock, cloud_clock
from ascii_hydra.engines.pipes_arguments import folder_uri, own_arguments, submission_number

T = TypeVar("T")
ALIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
STARTED = ("RUNNING", "WAITING")
LEAVING = ("TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS")
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
STEP_ENDED = ("COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED")
STEP_WANTED = ("PENDING", "RUNNING")  # and nobody has asked to cancel it
STEP_LIVING = (*STEP_WANTED, "CANCEL_PENDING")
# Of ListSteps and CancelSteps: AWS's API reference.
_STEP_IDS_A_CALL = 10
_READ_PATIENCE_S = 5 * 60.0
# What an answer has, always: an empty list is sent as one (`{"Clusters":[]}` in boto/boto3#2615).
_PROMISED: Mapping[str, tuple[str, type]] = {
    "add_job_flow_steps": ("StepIds", list),
    "cancel_steps": ("CancelStepsInfoList", list),
    "describe_cluster": ("Cluster", dict),
    "list_clusters": ("Clusters", list),
    "list_instance_fleets": ("InstanceFleets", list),
    "list_instance_groups": ("InstanceGroups", list),
    "list_instances": ("Instances", list),
    "list_steps": ("Steps", list),
    "run_job_flow": ("JobFlowId", str),
}
_SENT = "ascii_hydra/sent"  # in botocore's context of one call


class Emr:
    """EMR at one place. May be shared by threads.

    Args:
        place: which AWS.
        clock: by which repeated calls wait; as an attribute, the time of AWS: see
            `CloudClock`.
        stop: once set, no call is made again.
        warn: is told to log in again.
    """

    def __init__(
        self,
        place: Place,
        clock: Clock,
        stop: threading.Event,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.place = place
        self.clock = cloud_clock(clock)
        self.stop = stop
        self.warn = warn
        self._bears_expiry = False

    @cached_property
    def client(self) -> Any:
        """boto3's client, without retries of its own: RunJobFlow must not be repeated blindly, and
        waiting is to follow the clock."""
        client = aws_client("emr", self.place, retried=False)
        client.meta.events.register("before-call.emr", self._sending)
        client.meta.events.register("after-call.emr", self._answered)
        return client

    def renew(self) -> None:
        """The credentials have expired: the next call looks for new ones."""
        self.__dict__.pop("client", None)

    def call(self, operation: str, **wanted: Any) -> Mapping[str, Any]:
        """EMR's answer to one call, with what its model promises.

        Args:
            operation: as boto3 names it: `list_steps`.
            wanted: its arguments.

        Raises:
            ClientError, BotoCoreError, ResponseParserError: what AWS_FAULTS has, among them
                IncompleteAnswerError for an answer without its content. Taken for an empty one, it
                would say that there is no cluster, no step, no cost.
        """
        answer: Mapping[str, Any] = getattr(self.client, operation)(**wanted)
        key, kind = _PROMISED.get(operation, ("ResponseMetadata", dict))
        if not isinstance(answer.get(key), kind):
            raise IncompleteAnswerError(f"EMR's answer to {operation} is without {key}")
        return answer

    def cluster(self, cluster_id: str) -> Mapping[str, Any]:
        """What DescribeCluster says, at the first attempt."""
        found: Mapping[str, Any] = self.call("describe_cluster", ClusterId=cluster_id)["Cluster"]
        return found

    def steps(self, cluster_id: str, step_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Steps by their ids, at the first attempt, in as few calls as EMR allows."""
        if len(step_ids) <= _STEP_IDS_A_CALL:
            reply = self.call("list_steps", ClusterId=cluster_id, StepIds=list(step_ids))
            return {one["Id"]: one for one in reply["Steps"]}
        wanted, found = set(step_ids), {}
        for one in self._pages("list_steps", "Steps", ClusterId=cluster_id):
            if one["Id"] in wanted:
                found[one["Id"]] = one
                if len(found) == len(wanted):
                    break
        return found

    def all_steps(self, cluster_id: str, states: Sequence[str] = ()) -> list[Mapping[str, Any]]:
        """Every step of a cluster, with patience."""
        wanted = {"StepStates": list(states)} if states else {}
        return self._all("list_steps", "Steps", ClusterId=cluster_id, **wanted)

    def instances(self, cluster_id: str) -> list[Mapping[str, Any]]:
        """Every instance that a cluster has ever had, with patience."""
        return self._all("list_instances", "Instances", ClusterId=cluster_id)

    def collections(self, cluster_id: str, *, fleets: bool) -> list[Mapping[str, Any]]:
        """The instance fleets of a cluster, or its instance groups, with patience."""
        kind = "fleets" if fleets else "groups"
        key = f"Instance{kind.capitalize()}"
        return self._all(f"list_instance_{kind}", key, ClusterId=cluster_id)

    def clusters(
        self, *, created_after: float | None = None, states: Sequence[str] = ()
    ) -> list[Mapping[str, Any]]:
        """Clusters, newest first, with patience.

        Args:
            created_after: seconds since the epoch.
            states: all if empty.
        """
        wanted: dict[str, Any] = {"ClusterStates": list(states)} if states else {}
        if created_after is not None:
            wanted["CreatedAfter"] = datetime.fromtimestamp(created_after, UTC)
        return self._all("list_clusters", "Clusters", **wanted)

    def on_the_way_out(self, stop: threading.Event | None = None) -> Emr:
        """The same, for what must be done though everything is being stopped, or the credentials
        that something was submitted with have expired.

        Args:
            stop: once set, no call is made again; None for never.
        """
        other = Emr(self.place, self.clock, stop or threading.Event(), self.warn)
        other.client = self.client
        other._bears_expiry = True
        return other

    def first_attempts(self) -> Emr:
        """The same without patience: each call is made once, for whoever must go on meanwhile and
        looks again later."""
        spent = threading.Event()
        spent.set()
        return self.on_the_way_out(spent)

    def patient(self, call: Callable[[], T], patience_s: float = _READ_PATIENCE_S) -> T:
        """The reply to a call that changes nothing, or that may be made twice."""
        told = False

        def expired(fault: CallFault) -> None:
            nonlocal told
            self.renew()
            if not told:
                self.warn(f"AWS accepts the credentials no more ({fault.words}): {LOG_IN_AGAIN}")
            told = True

        borne = expired if self._bears_expiry else None
        return repeated(
            call, aws_fault, self.clock.local, self.stop, patience_s=patience_s, expired=borne
        )

    def _sending(self, context: dict[str, Any], **_: Any) -> None:
        context[_SENT] = self.clock.last_reading

    def _answered(self, http_response: Any, context: dict[str, Any], **_: Any) -> None:
        if http_response.status_code == HTTPStatus.OK:  # else it may be a gateway's, and its date
            self.clock.hear(http_response.headers.get("Date"), context.get(_SENT))

    def _all(self, operation: str, key: str, **wanted: Any) -> list[Mapping[str, Any]]:
        return self.patient(lambda: list(self._pages(operation, key, **wanted)))

    def _pages(self, operation: str, key: str, **wanted: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            reply = self.call(operation, **wanted)
            yield from reply[key]
            if not reply.get("Marker"):
                return
            wanted["Marker"] = reply["Marker"]


def state_of(thing: Mapping[str, Any]) -> str:
    """State of a cluster or step, also one that is newer than this code."""
    return str(thing.get("Status", {}).get("State", ""))


def own_args(step: Mapping[str, Any]) -> list[str]:
    """The arguments of a step, submitted or to be, without those of Pipes."""
    return own_arguments(_args(step))


def pipes_uri(step: Mapping[str, Any]) -> str | None:
    """Where the Pipes messages of a submitted step go; None for a step that is not ours."""
    return folder_uri(_args(step))


def submission_of(step: Mapping[str, Any]) -> int | None:
    """Number of the submission that made a step; None for a step that has none."""
    return submission_number(_args(step))


def _args(step: Mapping[str, Any]) -> list[str]:
    return list(step.get("Config", step.get("HadoopJarStep", {})).get("Args", ()))
