"""Why a step on EMR failed, in one sentence: what happened, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.engines.aws_errors import code
from ascii_hydra.engines.emr.api import ENDED, state_of
from ascii_hydra.engines.wording import exception_words, lacked_memory, shortened, unreported

_OUT_OF_MEMORY = re.compile(
    r"java\.lang\.OutOfMemoryError|\bOOM\b|running beyond (?:physical|virtual) memory"
    r"|Exit code(?: is)?:? 137|exitCode: 137|exited with status 137|MemoryError"
)
_EXECUTOR_LOST = re.compile(r"ExecutorLostFailure|Lost executor|ExecutorLost|node.{0,40}\blost\b")
_NO_CAPACITY = re.compile(r"(?i)insufficient|capacity|InsufficientInstanceCapacity")
# The last line of a Python traceback, or Java's exception.
_EXCEPTION = re.compile(
    r"^(?:Caused by: )?(?:[\w$]+\.)*\w*(?:Error|Exception|Interrupt|Failure)\b(?::\s.*)?$"
)
# What EMR says when it does not know, and what spark-submit says of any failed driver.
_VAGUE = re.compile(r"(?i)^(?:unknown(?: error)?\.?|.*finished with failed status)?$")
_MORE_CAPACITY = (
    "name more instance types (cluster.worker_instance_types, or cluster.filters) or more"
    " engine.subnets, or take fewer on spot (cluster.spot_share)"
)
_SPOT = "take fewer workers on spot (cluster.spot_share), or none"


@dataclass(frozen=True)
class Evidence:
    """What is known about a step that has ended, or of which no more can be known.

    Attributes:
        step: its name.
        seen: the step as ListSteps gives it; empty if EMR does not know it.
        cluster: its cluster as DescribeCluster gives it.
        opened: its Pipes messages began.
        closed: they were read to their end.
        exception: name and message of the exception it reported, or None.
        own: our own reason to stop it, which EMR calls a user's request; or None.
        tail: last lines of its log.
        bootstrap_log: URI of the log of a failed bootstrap action, or None.
        overdue: the cluster has reached the end of its lifetime.
    """

    step: str
    seen: Mapping[str, Any]
    cluster: Mapping[str, Any]
    opened: bool = False
    closed: bool = False
    exception: tuple[str, str] | None = None
    own: str | None = None
    tail: tuple[str, ...] = ()
    bootstrap_log: str | None = None
    overdue: bool = False

    @property
    def state(self) -> str:
        """The step's."""
        return state_of(self.seen)

    @property
    def cluster_ended(self) -> bool:
        """The cluster is there no more."""
        return state_of(self.cluster) in ENDED

    @property
    def begun(self) -> bool:
        """The step began to run."""
        timeline = self.seen.get("Status", {}).get("Timeline", {})
        return self.opened or "StartDateTime" in timeline

    @property
    def reason(self) -> tuple[str, str]:
        """Code and message of the cluster's state."""
        reason = self.cluster.get("Status", {}).get("StateChangeReason", {})
        return str(reason.get("Code", "")), str(reason.get("Message", "")).strip()


def cause(seen: Evidence) -> str | None:  # noqa: PLR0911 - one line for each cause
    """One sentence on why the step failed, or None if it succeeded."""
    step = seen.step
    if seen.own is not None:
        return f"{step} {seen.own}"
    if seen.state == "COMPLETED":
        if seen.exception is not None:
            return f"{step} reported {exception_words(*seen.exception)}"
        return unreported(step, opened=seen.opened, closed=seen.closed)
    if seen.overdue:
        return (
            f"{step} was still there when its cluster reached the end of its lifetime: raise"
            " engine.max_lifetime_minutes."
        )
    lost = seen.state == "INTERRUPTED" or seen.reason[0] == "INSTANCE_FAILURE"
    if lost and seen.begun and seen.exception is None:
        # A driver that dies with its instance looks as if it had been killed for want of memory.
        said = shortened(seen.reason[1]).rstrip(".") if seen.state != "INTERRUPTED" else ""
        of_it = f" ({said})" if said else ""
        return f"{step} lost the instances that it ran on{of_it}: start it again, or {_SPOT}."
    text = "\n".join((*seen.tail, *(seen.exception or ()), *_details(seen)))
    if lacked_memory(seen.exception, text, _OUT_OF_MEMORY):
        return f"{step} ran out of memory: choose a larger cluster= or less data."
    if seen.exception is not None:
        return f"{step} raised {exception_words(*seen.exception)}"
    if not seen.begun or seen.state in {"", "PENDING"}:
        told = _cluster_cause(seen)
        if told is not None:
            return f"{step} never began: {told}"
    if _EXECUTOR_LOST.search("\n".join(seen.tail)):
        return (
            f"{step} lost its executors, to spot or for want of memory: {_SPOT}, or choose a"
            " larger cluster=."
        )
    if seen.state == "CANCELLED":
        told = _cluster_cause(seen)
        return f"{step} was cancelled{f': {told}' if told else ' by somebody else.'}"
    return f"{step} {_failed(seen)}"


def may_pass(seen: Evidence) -> bool:
    """Whether a second cluster may fare better: the cloud failed before the step began."""
    return (
        seen.own is None
        and not seen.begun
        and seen.state != "COMPLETED"
        and seen.reason[0] in {"INTERNAL_ERROR", "BOOTSTRAP_FAILURE"}
    )


def is_in_vain(seen: Evidence) -> bool:
    """Whether a retry would end as this one: by our own limits, or for what the request is."""
    if seen.own is not None:
        return True
    code, message = seen.reason
    return not seen.begun and code == "VALIDATION_ERROR" and not _NO_CAPACITY.search(message)


def _failed(seen: Evidence) -> str:
    reason, message = _details(seen)
    words = [one.rstrip(".") for one in (reason, message) if not _VAGUE.match(one)]
    last = _last_words(seen.tail)
    if words:
        said = shortened(": ".join(dict.fromkeys(words)))
        return f"failed: {said}{f' ({shortened(last)})' if last and last not in said else ''}."
    if last:
        return f"failed; its last words: {shortened(last)}"
    if seen.state == "FAILED":
        return "failed, and neither EMR nor its log says why"
    if seen.state:
        return f"was {seen.state} when its cluster ended ({': '.join(filter(None, seen.reason))})"
    return "is unknown to EMR"


def _details(seen: Evidence) -> tuple[str, str]:
    details = seen.seen.get("Status", {}).get("FailureDetails", {})
    return str(details.get("Reason", "")).strip(), str(details.get("Message", "")).strip()


def _last_words(tail: tuple[str, ...]) -> str | None:
    lines = [line.strip() for line in tail if line.strip()]
    for line in reversed(lines):
        if _EXCEPTION.match(line):
            return line.removeprefix("Caused by: ")
    return lines[-1] if lines else None


def _cluster_cause(seen: Evidence) -> str | None:  # noqa: PLR0911 - one line for each code
    code, message = seen.reason
    errors = seen.cluster.get("Status", {}).get("ErrorDetails", ())
    told = [str(one.get("ErrorMessage", "")).strip() for one in errors]
    said = shortened("; ".join(dict.fromkeys(filter(None, (message, *told)))) or code).rstrip(".")
    match code:
        case "BOOTSTRAP_FAILURE":
            where = f"; its log: {seen.bootstrap_log}" if seen.bootstrap_log else ""
            return f"a bootstrap action of its cluster failed ({said}){where}"
        case "INSTANCE_FLEET_TIMEOUT":
            return f"EC2 had no capacity for its cluster ({said}): {_MORE_CAPACITY}."
        case "VALIDATION_ERROR" | "INSTANCE_FAILURE" if _NO_CAPACITY.search(said):
            return f"EC2 had no capacity for its cluster ({said}): {_MORE_CAPACITY}."
        case "VALIDATION_ERROR":
            return f"EMR refuses its cluster ({said})"
        case "INTERNAL_ERROR":
            return f"EMR could not start its cluster ({said}): start it again later"
        case "INSTANCE_FAILURE":
            return f"its cluster lost an instance that it needs ({said}): start it again"
        case "USER_REQUEST":
            return "its cluster was terminated by somebody else"
        case "STEP_FAILURE":
            return f"another step of its cluster failed ({said})"
    return f"its cluster ended ({said})" if seen.cluster_ended and said else None


def call_advice(fault: BaseException) -> str:
    """What to do about a call that EMR refused, as the end of a sentence; often nothing."""
    match code(fault):
        case "NoCredentialsError":
            return (
                ": set ASCII_AWS_ACCESS_KEY_ID and ASCII_AWS_SECRET_ACCESS_KEY, or log in as the"
                " AWS tools want it (aws configure, aws sso login)"
            )
        case "EndpointConnectionError" | "ConnectTimeoutError":
            return ": check the network, engine.region and endpoint.url"
    return ""
