"""What names one run of a step, so that what it has started is found again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dagster import AssetExecutionContext, DagsterRunStatus, OpExecutionContext

from ascii_hydra.engines.emr.emr_request import EmrRequest, Identity
from ascii_hydra.engines.emr.rendered import LIFETIME_ACTION


def identity_of(
    context: OpExecutionContext | AssetExecutionContext,
    launch: str,
) -> Identity:
    """The identity of a run of a step, without a deadline as long as nothing is submitted.

    Args:
        context: Dagster's; a retry and an execution again of its run have the same token.
        launch: names the runs that share clusters.
    """
    run = context.run
    partition = context.partition_key if context.has_partition_key else ""
    step = context.get_step_execution_context().step.key
    parts = "\0".join((run.root_run_id or run.run_id, step, partition))
    return Identity(
        run=run.run_id,
        launch=launch,
        token=hashlib.sha256(parts.encode()).hexdigest()[:12],
        deadline="",
    )


def submitted_identity(identity: Identity, request: EmrRequest, now: float) -> Identity:
    """The identity with the end of the life of a cluster that is asked for now.

    Args:
        identity: of the run.
        request: says how long its cluster may live.
        now: seconds since the epoch.
    """
    lifetime_s = _lifetime_s(request.run_job_flow or {})
    if lifetime_s is None:
        return identity
    deadline = datetime.fromtimestamp(now + lifetime_s, UTC)
    return replace(identity, deadline=deadline.isoformat(timespec="seconds"))


def is_retry(context: OpExecutionContext | AssetExecutionContext) -> bool:
    """An earlier attempt at this step has ended, and may have left something running."""
    if context.retry_number > 0:
        return True
    parent_id = context.run.parent_run_id
    if parent_id is None:
        return False
    parent = context.instance.get_run_by_id(parent_id)
    # A run that goes on still has its step to itself.
    return parent is not None and (
        parent.is_finished or parent.status is DagsterRunStatus.CANCELING
    )


def _lifetime_s(flow: Mapping[str, Any]) -> float | None:
    for action in flow.get("BootstrapActions", ()):
        if action["Name"] == LIFETIME_ACTION:
            return float(action["ScriptBootstrapAction"]["Args"][-1])
    return None
