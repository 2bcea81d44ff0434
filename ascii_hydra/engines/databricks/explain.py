"""Why a step on Databricks failed, in one sentence: what happened, what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ascii_hydra.engines.calls import CallFault
from ascii_hydra.engines.databricks.states import Result, RunState, state_of, task_of
from ascii_hydra.engines.wording import exception_words, lacked_memory, shortened, unreported

_OUT_OF_MEMORY = re.compile(
    r"java\.lang\.OutOfMemoryError|\bOOM\b|out of memory|exit code 137|SIGKILL|MemoryError"
)
_SAYS_MEMORY = re.compile(r"(?i)out ?of ?memory|\boom\b|memoryerror")
_DRIVER_LOST = re.compile(
    r"(?i)could not reach driver|driver is temporarily unavailable|driver has stopped unexpectedly"
    r"|driver is up but is not responsive|python process exited unexpectedly"
)
_SPOT_LOST = re.compile(
    r"SPOT_INSTANCE|DRIVER_EVICTION|NODES_LOST|(?i:spot .{0,40}(?:lost|terminat))"
)
_NO_CAPACITY = re.compile(
    r"INSUFFICIENT_INSTANCE_CAPACITY|STOCKOUT|INSTANCE_COUNT_EXCEEDED|INSUFFICIENT_FREE_ADDRESSES"
    r"|SUBNET_EXHAUSTED|RESOURCE_QUOTA_EXCEEDED|(?i:insufficient .{0,30}capacity|no capacity)"
)
# `pypi { package: "nope==1.0" }`, `whl: "/Volumes/..."`: as the service names a library.
_LIBRARY = re.compile(r"""(?:package|whl|jar|requirements)["']?\s*[:=]\s*["']?([^\s"'},]+)""")
# The last line of a Python traceback, or Java's exception.
_EXCEPTION = re.compile(
    r"^(?:Caused by: )?((?:[\w$]+\.)*\w*(?:Error|Exception|Interrupt|Failure|Exit|Iteration))"
    r"(?::\s(.*))?$"
)
# What argparse prints before it leaves by SystemExit.
_USAGE = re.compile(r"^\S+: error: .+$", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PLATFORM = ("CLOUD_FAILURE", "INTERNAL_ERROR")
# The request may be right: there were too many at once, or it is not known what has gone wrong.
_LATER = {
    "CLUSTER_ERROR",
    *("WORKSPACE_RUN_LIMIT_EXCEEDED", "CLUSTER_REQUEST_LIMIT_EXCEEDED"),
    *("MAX_CONCURRENT_RUNS_EXCEEDED", "MAX_JOB_QUEUE_SIZE_EXCEEDED"),
    *("MAX_SPARK_CONTEXTS_EXCEEDED", "CLUSTER_TERMINATED_BY_USER"),
}
_MORE_CAPACITY = (
    "choose other node types (cluster.driver_node_type, cluster.worker_node_type),"
    " cluster.zone=auto or fewer workers on spot (cluster.spot_share)"
)
_INIT_SCRIPTS = "look at its log, and mend or leave out engine.init_scripts, or the policy's"
_SPOT = "take fewer workers on spot (cluster.spot_share), or none"
# What each termination code means for who has asked for the run; `{}` is what Databricks says.
_CODES: Mapping[str, str] = {
    "CLUSTER_ERROR": "its cluster failed{}: start it again, unless that names what to change",
    "CLUSTER_TERMINATED_BY_USER": "its cluster was terminated or restarted by somebody else{}",
    "DRIVER_ERROR": "the driver of its cluster could not be reached{}: start it again, or choose a"
    " larger cluster=",
    "INVALID_CLUSTER_REQUEST": "Databricks refuses its cluster{}: change cluster.*,"
    " engine.spark_version, engine.policy_id or the step's databricks_cluster_config",
    "CLUSTER_REQUEST_LIMIT_EXCEEDED": "the workspace has asked for too many clusters at once{}:"
    " start it again later",
    "WORKSPACE_RUN_LIMIT_EXCEEDED": "the workspace runs as many runs as it may{}: start it again"
    " later",
    "MAX_SPARK_CONTEXTS_EXCEEDED": "the cluster has as many Spark contexts as it may{}: restart it,"
    " or name another engine.cluster_id or none",
    "STORAGE_ACCESS_ERROR": "it could not reach its storage{}: check engine.instance_profile, or"
    " Unity Catalog's external locations",
    "UNAUTHORIZED_ERROR": "it lacks a permission{}: grant it to who runs the step, or change what"
    " it uses",
    "RESOURCE_NOT_FOUND": "something that it needs is not there{}",
    "FEATURE_DISABLED": "the workspace does not have what it asks for{}",
    "INVALID_RUN_CONFIGURATION": "Databricks refuses its configuration{}",
    "BUDGET_POLICY_LIMIT_EXCEEDED": "its budget policy has no budget left{}: name another"
    " engine.budget_policy_id, or none",
    "REPOSITORY_CHECKOUT_FAILED": "Databricks could not check out a repository{}",
    "BREAKING_CHANGE": "Spark has changed under it{}: start it again",
}


@dataclass(frozen=True)
class Evidence:
    """What is known about a run that has ended, or of which no more can be known.

    Attributes:
        step: the step's name.
        run: the run as runs/get gives it.
        output: what runs/get-output says of its task; empty if unknown.
        cluster: its cluster as clusters/get gives it; empty if unknown.
        opened: its Pipes messages began.
        closed: they were read to their end.
        exception: name and message of the exception it reported, or None.
        own: our own reason to stop it, which Databricks calls a user's; or None.
    """

    step: str
    run: Mapping[str, Any]
    output: Mapping[str, Any] = field(default_factory=dict)
    cluster: Mapping[str, Any] = field(default_factory=dict)
    opened: bool = False
    closed: bool = False
    exception: tuple[str, str] | None = None
    own: str | None = None

    @property
    def state(self) -> RunState:
        """The run's; with the task's termination details if it has none itself."""
        whole, task = state_of(self.run), state_of(task_of(self.run))
        if whole.code or not task.code:
            return whole
        messages = tuple(dict.fromkeys((*whole.messages, *task.messages)))
        return RunState(whole.stage, whole.result, whole.told, task.code, task.kind, messages)

    @property
    def begun(self) -> bool:
        """The step began to run."""
        return self.opened or bool(task_of(self.run).get("execution_duration"))

    @property
    def reason(self) -> Mapping[str, Any]:
        """Why its cluster has ended: code, type, parameters."""
        found: Mapping[str, Any] = self.cluster.get("termination_reason") or {}
        return found

    @property
    def error(self) -> str:
        """The error of the task's output."""
        return _plain(self.output.get("error"))

    @property
    def trace(self) -> str:
        """The stack trace of the task's output."""
        return _plain(self.output.get("error_trace"))

    @property
    def said(self) -> str:
        """What Databricks says about its end, in a few words."""
        state = self.state
        told = [*(state.messages or ()), *([] if self.begun else [self.error])]
        told += [str(one) for one in (self.reason.get("parameters") or {}).values()]
        if self.reason.get("code"):
            told.append(str(self.reason["code"]))
        words = [" ".join(one.split()).rstrip(".") for one in told if one.strip()]
        kept: list[str] = []
        for one in words:
            if not any(one in other for other in kept):
                kept.append(one)
        return shortened("; ".join(kept))


def cause(seen: Evidence) -> str | None:
    """One sentence on why the step failed, or None if it succeeded."""
    step, state = seen.step, seen.state
    if seen.own is not None:
        return f"{step} {seen.own}"
    if state.result is Result.success:
        if seen.exception is not None:
            return f"{step} reported {exception_words(*seen.exception)}"
        return unreported(step, opened=seen.opened, closed=seen.closed)
    return f"{step} {_failed(seen, state)}"


def may_pass(seen: Evidence) -> bool:
    """Whether a second run may fare better: the cloud, or Databricks, failed before the step."""
    state = seen.state
    if seen.own is not None or seen.begun or state.result not in (Result.failed, Result.internal):
        return False
    if state.kind:
        return state.kind in _PLATFORM
    return state.result is Result.internal or seen.reason.get("type") in (
        "CLOUD_FAILURE",
        "SERVICE_FAULT",
    )


def is_in_vain(seen: Evidence) -> bool:
    """Whether a retry would end as this one: by our own limits, or for what the request is."""
    if seen.own is not None:
        return True
    state = seen.state
    return not seen.begun and state.kind == "CLIENT_ERROR" and state.code not in _LATER


def call_advice(fault: CallFault) -> str:
    """What to do about a call that Databricks refused, as the end of a sentence; often nothing."""
    if fault.denied:
        return (
            ": allow the service principal to create clusters (or name engine.policy_id, or"
            " engine.cluster_id with CAN RESTART), or use engine.serverless=true"
        )
    if fault.undone and fault.transient and fault.retry_after_s is None:
        return ": check the network and DATABRICKS_HOST"
    return ""


def _failed(seen: Evidence, state: RunState) -> str:
    lost = _SPOT_LOST.search("\n".join((*state.messages, str(seen.reason.get("code", "")))))
    if lost and seen.begun and seen.exception is None:
        return f"lost the instances that it ran on{_of_it(seen)}: start it again, or {_SPOT}."
    if lacked_memory(seen.exception, _text(seen), _OUT_OF_MEMORY):
        how = "ran out of memory"
        if not _SAYS_MEMORY.search(_text(seen)):
            how = f"was killed{_of_it(seen)}, most often for want of memory"
        return f"{how}: choose a larger cluster= or less data."
    if seen.exception is not None:
        return f"raised {exception_words(*seen.exception)}"
    return _stopped(seen, state) or _broken(seen, state)


def _stopped(seen: Evidence, state: RunState) -> str | None:
    """How others than the step have ended it."""
    match state.result:
        case Result.timed_out:
            return (
                f"was stopped by Databricks after the time limit of its run{_of_it(seen)}: raise"
                " engine.timeout_minutes."
            )
        case Result.cancelled:
            who = "somebody else" if state.code in {"", "USER_CANCELED"} else "Databricks"
            return f"was cancelled by {who}{_of_it(seen)}."
        case Result.skipped:
            return f"was skipped by Databricks{_of_it(seen)}: start it again later."
        case Result.upstream:
            return f"was not run, because of a task before it{_of_it(seen)}."
    return None


def _broken(seen: Evidence, state: RunState) -> str:  # noqa: PLR0911 - a line for each cause
    """What has gone wrong in the step, or before it."""
    if state.code == "LIBRARY_INSTALLATION_ERROR":
        return _library(seen)
    never = "failed: " if seen.begun else "never began: "
    if seen.reason.get("code") == "INIT_SCRIPT_FAILURE":
        return f"{never}an init script failed{_of_it(seen)}: {_INIT_SCRIPTS}."
    if _NO_CAPACITY.search(_text(seen)) and not seen.begun:
        return f"{never}EC2 had no capacity for its cluster{_of_it(seen)}: {_MORE_CAPACITY}."
    raised = _raised(seen)
    if raised is not None:
        return f"raised {raised}"
    if _DRIVER_LOST.search(_text(seen)):
        told = "start it again; if that repeats, choose a larger cluster=."
        return f"lost its driver{_of_it(seen)}: {told}"
    if state.code in _CODES:
        return never + _CODES[state.code].format(_of_it(seen)) + "."
    if state.kind == "CLOUD_FAILURE":
        return f"{never}the cloud failed{_of_it(seen)}: start it again later."
    if state.kind == "INTERNAL_ERROR" or state.result is Result.internal:
        return f"{never}Databricks could not run it{_of_it(seen)}: start it again later."
    if seen.error:
        return f"failed: {shortened(' '.join(seen.error.split())).rstrip('.')}."
    return f"failed{_of_it(seen)}." if seen.said else "failed, and Databricks does not say why."


def _text(seen: Evidence) -> str:
    """All that is said about its end."""
    told = (*seen.state.messages, *(seen.exception or ()), seen.error, seen.trace, seen.said)
    return "\n".join(told)


def _library(seen: Evidence) -> str:
    found = _LIBRARY.search(seen.said)
    name = found[1].rpartition("/")[2] if found else ""
    which = f"the library {name}" if name else "a library"
    return (
        f"never began: {which} could not be installed{_of_it(seen)}: check the step's libraries,"
        " engine.libraries and the cluster's way to them."
    )


def _of_it(seen: Evidence) -> str:
    said = seen.said
    return f" ({said})" if said else ""


def _raised(seen: Evidence) -> str | None:
    """The exception that ended the script, by its trace or the run's error."""
    lines = [one.strip() for one in (*seen.error.splitlines(), *seen.trace.splitlines())]
    for line in reversed(lines):
        found = _EXCEPTION.match(line)
        if found:
            words = exception_words(found[1], found[2] or "")
            usage = _USAGE.findall(_plain(seen.output.get("logs")))
            if found[1] == "SystemExit" and usage:
                return f"{words}; its last words: {shortened(usage[-1])}"
            return words
    return None


def _plain(text: Any) -> str:
    return _ANSI.sub("", str(text or "")).strip()
