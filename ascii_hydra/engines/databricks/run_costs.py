"""What a run of a step on Databricks costs, attempt by attempt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ascii_hydra.costs.bill import Bill, bill
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines import budget
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.cluster_account import ClusterRecord
from ascii_hydra.engines.databricks.databricks_request import (
    DRIVER_POOL,
    POOL,
    DatabricksRequest,
)
from ascii_hydra.engines.databricks.job import Job
from ascii_hydra.engines.databricks.pool_idle import Lease
from ascii_hydra.engines.databricks.pools import idle_bill, leased
from ascii_hydra.engines.databricks.used import Used, used
from ascii_hydra.engines.databricks.watcher import Look
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.step_costs import StepCosts, unmade
from ascii_hydra.step.choices import Engine


class RunCosts:
    """Counts what every attempt of a run of a step has used.

    Args:
        api: where.
        request: the step, with its placeholders.
        identity: of the run of the step.
        job: what runs.
        costs: adds it up.
    """

    def __init__(
        self,
        api: Databricks,
        request: DatabricksRequest,
        identity: Identity,
        job: Job,
        costs: StepCosts,
    ) -> None:
        self._api = api
        self._request = request
        self._identity = identity
        self._job = job
        self._costs = costs
        self._record = ClusterRecord(api)
        self._counted: set[int] = set()
        budget.measure_by(self._spent)
        for body in request.of(identity).pools.values():
            measure = partial(idle_bill, api, identity.launch, body)
            budget.measure_besides(f"pool {body}", measure)

    def begin(self) -> None:
        """Another attempt begins."""
        self._record = ClusterRecord(self._api)

    def see(self, look: Look) -> None:
        """A look at the attempt's run."""
        self._record.see(look)

    def count(
        self,
        job: Job,
        run: Mapping[str, Any] | None = None,
        *,
        wasted: bool = True,
        unclear: bool = False,
    ) -> None:
        """The attempt has ended.

        Args:
            job: the attempt.
            run: what runs/get has said of it last; None if that is not at hand.
            wasted: it has not made the asset.
            unclear: nobody knows whether it was submitted.
        """
        while job.earlier:
            self._lost(f"run {job.earlier.pop()}, which an earlier attempt had left")
        for double in job.doubles:
            self._lost(f"run {double}, which a call without an answer had made")
        if job.run_id is None:
            if unclear:
                self._lost("a run that may have been made, though Databricks did not say so")
            return
        if job.run_id in self._counted:
            return  # a second attempt has not come as far as to submit anything
        self._counted.add(job.run_id)
        try:
            account = self._record.account(run or job.last, job.submitted_at)
            found = used(self._request, account, wasted=wasted)
        except Exception as fault:  # noqa: BLE001 - it is named, and no reason for a step to fail
            found = Used(self._lacking(f"run {job.run_id}, {unmade(fault)}", wasted=wasted))
        usage = found.usage
        until = tuple(one.unpriced for one in job.left)
        self._costs.add(replace(usage, not_counted=(*usage.not_counted, *until)))
        self._leased(found, job.run_id)

    def _spent(self) -> Bill:
        """What the running attempt has used by now. Raises UnmeasuredError."""
        job = self._job
        if job.run_id is None:
            return Bill()
        account = self._record.account(None, job.submitted_at)
        if account.passing or not account.run:
            raise budget.UnmeasuredError(f"run {job.run_id}: {account.untold}")
        if account.cluster.get("state") == "PENDING" and not account.nodes:
            return Bill()  # EC2 may not have given it anything yet
        found = used(self._request, account, wasted=False)
        if job.run_id not in self._counted:
            self._leased(found, job.run_id, now=account.now)
        return bill([found.usage], self._request.costing.prices)

    def _lost(self, what: str) -> None:
        self._costs.add(self._lacking(what, wasted=True))

    def _lacking(self, what: str, *, wasted: bool) -> Usage:
        region = self._request.costing.prices.region
        return Usage(Engine.databricks, region, wasted=wasted, not_counted=(what,))

    def _leased(self, found: Used, run_id: int, now: float = math.inf) -> None:
        """Tell the pools of the launch which of their instances the run has had; those that it had
        until `now` it has still."""
        wanted = self._request.of(self._identity).pools
        for placeholder, body in wanted.items():
            roles = {POOL: {"worker"}, DRIVER_POOL: {"driver"}}[placeholder]
            if DRIVER_POOL not in wanted:
                roles = {"worker", "driver"}
            leases = [
                Lease(one.since, math.inf if one.until >= now else one.until)
                for one in found.instances
                if one.role in roles
            ]
            leased(self._api, self._identity.launch, body, run_id, leases)
