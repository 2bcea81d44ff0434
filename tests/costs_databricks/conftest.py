"""Steps on the rehearsal workspace, and the bills that Dagster has of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.step_costs import bill_in
from tests.databricks.conftest import (
    CLUSTER,
    GOOD,
    Bench,
    Cloud,
    cloud,
    host,
    running_cloud,
)

__all__ = ["cloud", "host", "running_cloud"]

# List prices of us-east-1, tier premium: USD an hour, DBU an hour, USD a DBU, USD a GB-month.
EC2 = {"m5d.xlarge": 0.226, "m5d.2xlarge": 0.452, "m5d.4xlarge": 0.904, "m5.xlarge": 0.192}
SPOT = {"m5d.xlarge": 0.226 * 0.47, "m5d.2xlarge": 0.452 * 0.54}
DBU = {"m5d.xlarge": 0.69, "m5d.2xlarge": 1.37, "m5d.4xlarge": 2.74, "m5.xlarge": 0.69}
JOBS, ALL_PURPOSE = 0.15, 0.55
EBS_USD_H = 0.08 / 720  # of one GiB of gp3
OWN_GIB = 180  # 30 GiB and 150 GiB on every instance


@dataclass
class Billed:
    """A step and its bill.

    Attributes:
        green: it has made its asset.
        metadata: of the materialisation or the failure, as plain values.
        bill: what they say it cost.
        setup_s, run_s: as Databricks tells them of its newest run.
        history: bills in Dagster's history, the oldest first.
    """

    green: bool
    metadata: Mapping[str, Any]
    bill: Bill
    setup_s: float
    run_s: float
    history: list[Bill]


class Till(Bench):
    """Runs steps, and looks at what they cost."""

    def request(self, name: str, source: str = GOOD, **changes: Any) -> Any:
        """As `Bench` makes it, with time enough for the steps here."""
        return super().request(name, source, **{"timeout_s": 100 * 3600.0, **changes})

    def on(self, name: str, *, source: str = GOOD, **changes: Any) -> Any:
        """A request on a job cluster that differs from the usual one by `changes`."""
        spec = {key: one for key, one in {**CLUSTER, **changes}.items() if one is not None}
        return self.request(name, source, task={"new_cluster": spec})

    def run(self, request: Any, client: Any = None, **asset: Any) -> Billed:  # type: ignore[override]
        """Run it as an asset of its step's name."""
        client = client or self.client()

        @dg.asset(name=request.step, **asset)
        def made(context):
            return client.run(context=context, request=request).get_results()

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([made], instance=instance, raise_on_error=False)
            events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        told = [one.dagster_event.engine_event_data.metadata for one in events if one.dagster_event]
        history = [bill for bill in map(bill_in, told) if bill is not None]
        metadata: Mapping[str, Any] = {}
        if result.success:
            (event,) = result.asset_materializations_for_node(request.step)
            metadata = event.metadata
        else:
            (failed,) = [one for one in result.all_events if one.is_step_failure]
            failure = failed.step_failure_data.user_failure_data
            metadata = {} if failure is None else failure.metadata
        newest = next(iter(self.cloud.runs(f"tests/{request.step} ")), {"tasks": [{}]})
        task = newest["tasks"][0]
        bill = bill_in(metadata)
        return Billed(
            green=result.success,
            metadata={key: one.value for key, one in metadata.items()},
            bill=history[-1] if bill is None else bill,
            setup_s=task.get("setup_duration", 0) / 1000,
            run_s=task.get("execution_duration", 0) / 1000,
            history=history,
        )


def usd(
    kind: str,
    *,
    rented_s: float,
    charged_s: float,
    count: int = 1,
    spot: bool = False,
    photon: bool = False,
    gib: float = OWN_GIB,
    dbu_usd: float = JOBS,
) -> float:
    """What instances cost by hand: EC2 and EBS for all of their time, DBU while the cluster ran."""
    ec2 = SPOT[kind] if spot else EC2[kind]
    dbus = DBU[kind] * (2.9 if photon else 1.0)
    an_hour_rented, an_hour_charged = ec2 + gib * EBS_USD_H, dbus * dbu_usd
    return count * (an_hour_rented * rented_s + an_hour_charged * charged_s) / 3600


@pytest.fixture
def till(cloud: Cloud) -> Till:
    return Till(cloud)
