"""What one run of a step has used on EMR, attempt by attempt."""

from __future__ import annotations

from dataclasses import replace

from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.used import used
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
            usage = used(
                self._emr,
                self._request,
                cluster_id=cluster_id,
                step_id=step_id,
                own=self._job.own,
                submitted_at=self._job.submitted_at,
                wasted=wasted,
                unreachable=self.left[0].reason if self.left else None,
            )
        except Exception as fault:  # noqa: BLE001 - it is named, and no reason for a step to fail
            usage = self._lacking(f"cluster {cluster_id}, {unmade(fault)}", wasted=wasted)
        if cluster_id == self._job.cluster_id:
            until = tuple(one.unpriced for one in self.left)
            usage = replace(usage, not_counted=(*usage.not_counted, *until))
        self._costs.add(usage)

    def _lacking(self, what: str, *, wasted: bool) -> Usage:
        region = self._request.place.region or ""
        return Usage(Engine.emr, region, wasted=wasted, not_counted=(what,))
