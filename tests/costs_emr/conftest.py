"""Steps on the rehearsal cloud, run by real Dagster assets, with their bills."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.step_costs import bill_in
from tests.emr.conftest import Bench, bench, cloud, running_cloud

__all__ = ["bench", "cloud", "running_cloud"]

# What a step is charged for start-up here: provisioning alone, there are no bootstrap actions.
STARTUP_H = 210 / 3600
# List prices in USD an hour, us-east-1: EC2 by AWS's price list of 2026-07, spot as the average
# saving of 66 % that AWS's Spot Advisor tells, EMR's fee by its price page; gp3 a GB-month.
M5_XLARGE, M5_XLARGE_SPOT, EMR_M5_XLARGE, GP3 = 0.192, 0.192 * 0.34, 0.048, 0.08
NODE = M5_XLARGE + EMR_M5_XLARGE
HOURS_A_MONTH = 720


def gp3(gib: float, hours: float) -> float:
    return gib * hours / HOURS_A_MONTH * GP3


@dataclass
class Costed:
    """One run's end, as Dagster recorded it, with the metadata of every bill in its history."""

    result: dg.ExecuteInProcessResult
    asset: str
    told: list[dict[str, dg.MetadataValue[Any]]]

    @property
    def made(self) -> dict[str, dg.MetadataValue[Any]]:
        """The metadata of the one materialisation."""
        (made,) = self.result.asset_materializations_for_node(self.asset)
        return dict(made.metadata)

    @property
    def failed(self) -> Any:
        (event,) = [one for one in self.result.all_events if one.is_step_failure]
        return event.step_failure_data.user_failure_data

    @property
    def bill(self) -> Bill:
        """The last one in its history."""
        found = bill_in(self.told[-1])
        assert found is not None
        return found


def costed(bench: Bench, request: EmrRequest, client: Any = None, **asset: Any) -> Costed:
    """Run a request as an asset of its step's name."""
    client = client or bench.client()

    @dg.asset(name=request.step, **asset)
    def made(context):
        return client.run(context=context, request=request).get_results()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
        records = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    events = [one.dagster_event.engine_event_data.metadata for one in records if one.dagster_event]
    return Costed(result, request.step, [dict(one) for one in events if "cost/bill" in one])


@contextmanager
def in_thread(
    bench: Bench, request: EmrRequest, **settings: Any
) -> Iterator[tuple[threading.Event, list[Costed]]]:
    """A request that runs in a thread; at the end of the block, it has ended."""
    stop, ended = threading.Event(), list[Costed]()
    client = bench.client(stop=stop, **settings)
    thread = threading.Thread(target=lambda: ended.append(costed(bench, request, client)))
    thread.start()
    try:
        yield stop, ended
    finally:
        thread.join(90)
        assert not thread.is_alive()


def for_bills(monkeypatch: Any, name: str, alter: Callable[[Any], Any]) -> None:
    """Alter what a method of Emr returns where bills are made, and nowhere else."""
    real = getattr(Emr, name)

    def method(self: Emr, *args: Any, **kwargs: Any) -> Any:
        told = real(self, *args, **kwargs)
        return alter(told) if threading.current_thread().name == "call-aside" else told

    monkeypatch.setattr(Emr, name, method)


def with_budget(request: EmrRequest, usd: float) -> EmrRequest:
    return replace(request, costing=replace(request.costing, budget_usd=usd))
