"""What one run of a step has used on EMR, attempt by attempt."""

from __future__ import annotations

from dataclasses import replace

from ascii_hydra.costs.bill import Bill, bill
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines import budget
from ascii_hydra.engines.aws_errors import AWS_FAULTS, is_expired, is_transient
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.shared import shared_clusters
from ascii_hydra.engines.emr.used import ClusterAccount, cluster_account, cluster_used, used
from ascii_hydra.engines.step_costs import StepCosts, unmade
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.step.choices import Engine

_LOST = "a cluster that may have been made, though EMR did not say so"


class Account:
    """Adds what every attempt has used to the costs of the run.

    Args:
        emr: where.
        request: what was asked for.
        job: what runs.
        costs: of the run.

    Attributes:
        left: what may still run of the attempt. EMR, which does not end it, is not asked what it
            used, and what it costs until it ends has no price.
    """

    def __init__(self, emr: Emr, request: EmrRequest, job: Job, costs: StepCosts) -> None:
        self.left: tuple[StillRunning, ...] = ()
        self._emr = emr
        self._request = request
        self._job = job
        self._costs = costs
        self._counted: set[str] = set()
        budget.measure_by(self._spent)

    def count(self, *, wasted: bool = True, unclear: bool = False) -> None:
        """The attempt has ended: to be called as soon as what it had is seen to leave.

        Args:
            wasted: it has not made the asset.
            unclear: nobody knows whether it was submitted.
        """
        job = self._job
        for double in job.doubles:
            self._add(double, None, wasted=True)
        if job.cluster_id is not None:
            self._add(job.cluster_id, job.step_id, wasted=wasted)
        elif unclear:
            self._costs.add(self._lacking(_LOST, wasted=True))

    def _add(self, cluster_id: str, step_id: str | None, *, wasted: bool) -> None:
        name = f"{cluster_id} {step_id}"
        if name in self._counted:
            return  # a second attempt has not come as far as to submit anything
        self._counted.add(name)
        try:
            if self.left:
                told = ClusterAccount(self._emr.clock.now(), unreachable=self.left[0].reason)
            else:
                told = cluster_account(self._emr, cluster_id)
            usage = self._usage(told, cluster_id, step_id, wasted=wasted)
        except Exception as fault:  # noqa: BLE001 - it is named, and no reason for a step to fail
            usage = self._lacking(f"cluster {cluster_id}, {unmade(fault)}", wasted=wasted)
        if cluster_id == self._job.cluster_id:
            until = tuple(one.unpriced for one in self.left)
            usage = replace(usage, not_counted=(*usage.not_counted, *until))
        self._costs.add(usage)

    def _spent(self) -> Bill:
        """What the running attempt has used by now; of a cluster that the launch's steps share, all
        of it. Raises UnmeasuredError."""
        job, request = self._job, self._request
        if request.shared:
            told = [self._told(one) for one in shared_clusters(self._emr, job.launch, request)]
            return bill([cluster_used(request, one) for one in told], request.costing.prices)
        if job.cluster_id is None:
            return Bill()
        usage = self._usage(self._told(job.cluster_id), job.cluster_id, job.step_id, wasted=False)
        return bill([usage], request.costing.prices)

    def _told(self, cluster_id: str) -> ClusterAccount:
        told = cluster_account(self._emr, cluster_id)
        fault = told.fault
        if fault is None or (
            isinstance(fault, AWS_FAULTS) and not (is_transient(fault) or is_expired(fault))
        ):
            return told
        raise budget.UnmeasuredError(f"{cluster_id}: {told.refused}") from fault

    def _usage(
        self, told: ClusterAccount, cluster_id: str, step_id: str | None, *, wasted: bool
    ) -> Usage:
        return used(
            self._request,
            told,
            cluster_id=cluster_id,
            step_id=step_id,
            own=self._job.own,
            submitted_at=self._job.submitted_at,
            wasted=wasted,
        )

    def _lacking(self, what: str, *, wasted: bool) -> Usage:
        region = self._request.place.region or ""
        return Usage(Engine.emr, region, wasted=wasted, not_counted=(what,))
