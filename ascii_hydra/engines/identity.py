"""What names one run of a step, so that what it has started is found again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import AssetExecutionContext, OpExecutionContext


@dataclass(frozen=True)
class Identity:
    """What names one run of a step.

    Attributes:
        run: Dagster's run id.
        launch: names the runs that share a cluster: a command of the command line, or a run.
        token: the same for each retry of the step, and for no other step: by it what was submitted
            is found again.
        deadline: when a cluster ends itself, ISO 8601 in UTC.
    """

    run: str
    launch: str
    token: str
    deadline: str


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


def is_retry(context: OpExecutionContext | AssetExecutionContext) -> bool:
    """An earlier attempt at this step has ended, and may have left something running."""
    if context.retry_number > 0:
        return True
    from dagster import DagsterRunStatus

    parent_id = context.run.parent_run_id
    if parent_id is None:
        return False
    parent = context.instance.get_run_by_id(parent_id)
    # A run that goes on still has its step to itself.
    return parent is not None and (
        parent.is_finished or parent.status is DagsterRunStatus.CANCELING
    )
