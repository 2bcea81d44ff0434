"""Every way out has its bill, soon, and whatever the workspace tells of it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.databricks.databricks_request import POOL
from ascii_hydra.engines.databricks.pools import close_shared
from tests.costs_databricks.conftest import EBS_USD_H, OWN_GIB, usd
from tests.databricks.conftest import CLUSTER, ENDLESS, GOOD, NODE, altered, fault

GET, EVENTS = "databricks:clusters/get", "databricks:clusters/events"


def test_a_cancelled_step_has_its_bill_in_the_history(till, cloud):
    request = till.on("cancelled", source=ENDLESS)
    billed = till.stopped(request, lambda: till.said("is RUNNING"))
    assert not billed.green
    (only,) = billed.history
    assert only.usd == only.wasted_usd
    rented_s = billed.setup_s + billed.run_s + 5
    expected = usd(NODE, count=2, rented_s=rented_s, charged_s=rented_s - 215)
    assert only.usd == pytest.approx(expected, rel=0.02)
    assert till.said("cancelled: cost ~$")


def test_a_bill_does_not_keep_anybody_who_stops(till, cloud):
    """The workspace does not answer what is asked for the bill alone."""
    over = threading.Event()

    def alter(path, reply):
        if path.endswith("clusters/events"):
            over.wait(60)
        return reply

    stopped_at: list[float] = []

    def running() -> bool:
        if till.said("is RUNNING"):
            stopped_at.append(time.monotonic())
        return bool(stopped_at)

    with altered(cloud.url, alter) as url:
        request = replace(till.on("impatient", source=ENDLESS), workspace=Workspace(url))
        billed = till.stopped(request, running)
        took_s = time.monotonic() - stopped_at[0]
        over.set()
    assert not billed.green
    assert took_s < 40
    (only,) = billed.history
    assert any("did not answer in time" in one for one in only.assumed)


def test_a_run_without_instances_costs_nothing(till, cloud):
    cloud.behave(fault("cluster", "no_capacity", times=99))
    billed = till.run(till.on("nowhere"))
    assert not billed.green
    assert billed.bill.usd == 0.0
    assert billed.bill.lines == ()
    assert billed.bill.assumed == ()
    assert billed.metadata["cost/usd"] == 0.0


def test_a_run_that_never_left_the_queue_costs_nothing(till, cloud):
    cloud.behave(fault("step", "skipped", times=99))
    billed = till.run(till.on("skipped"))
    assert billed.bill.usd == 0.0


def test_a_cluster_that_failed_while_it_started_had_instances(till, cloud):
    cloud.behave(fault("cluster", "bootstrap_failure", times=99))
    billed = till.run(till.on("scripts"))
    assert not billed.green
    assert billed.bill.dbu == 0
    assert billed.bill.usd > 0
    assert "instances since their cluster was asked for" in billed.bill.assumed


@pytest.mark.parametrize("refused", [[GET], [EVENTS], [GET, EVENTS]])
def test_who_may_not_see_clusters_has_a_bill_by_durations(till, cloud, refused):
    cloud.behave(
        *(fault(one, "refused", times=9999) for one in refused), speed=20_000, step_minutes=60
    )
    billed = till.run(till.on("blind", num_workers=2))
    assert billed.green
    rented_s = billed.setup_s + billed.run_s + 5
    # DBU of the start too: an upper estimate.
    expected = usd(NODE, count=3, rented_s=rented_s, charged_s=rented_s)
    assert billed.bill.usd == pytest.approx(expected, rel=1e-3)
    assert any("PERMISSION_DENIED" in one for one in billed.bill.assumed)
    assert billed.metadata["cost/is_estimate"] is True


def test_a_refused_request_costs_nothing(till, cloud):
    cloud.behave(fault("submit", "refused", times=99))
    billed = till.run(till.on("refused"))
    assert not billed.green
    assert billed.bill.usd == 0.0


def test_a_budget_ends_a_run(till, cloud):
    cloud.behave(speed=20_000, step_minutes=6000)
    request = till.on("dear", num_workers=4)
    billed = till.run(replace(request, costing=replace(request.costing, budget_usd=2.0)))
    assert not billed.green
    assert cloud.result("tests/dear ") == ["CANCELED"]
    assert 2.0 <= billed.bill.usd < 4.0


# --- pools --------------------------------------------------------------------------------------


def pooled(till, name):
    """A request whose cluster takes its instances from its launch's pool."""
    instances = ("node_type_id", "aws_attributes")
    spec = {key: one for key, one in CLUSTER.items() if key not in instances}
    pool = {
        "instance_pool_name": "ascii_hydra bills <launch>",
        "node_type_id": NODE,
        "min_idle_instances": 0,
        "idle_instance_autotermination_minutes": 10_000,
        "aws_attributes": {"availability": "ON_DEMAND"},
    }
    task = {"new_cluster": {**spec, "instance_pool_id": POOL}}
    return till.request(name, GOOD, task=task, pools={POOL: pool})


def test_steps_pay_a_pools_instances_while_they_have_them(till, cloud):
    cloud.behave(speed=20_000, step_minutes=30)
    client = till.client(launch_id="bills")
    for name in ("first", "second"):
        request = pooled(till, name)
        billed = till.run(request, client)
        assert billed.green
        rented_s = billed.setup_s + 1800 + 5
        charged_s = billed.setup_s - (210 if name == "first" else 60) + 1800
        expected = usd(NODE, count=2, rented_s=rented_s, charged_s=charged_s)
        assert billed.bill.usd == pytest.approx(expected, rel=2e-3)
    (earlier, later) = till.cloud.runs("tests/first ") + till.cloud.runs("tests/second ")
    between_s = (later["start_time"] - earlier["end_time"]) / 1000
    begun = till.cloud.clock.now()
    bills = []
    assert close_shared("bills", bills.append) == ()
    over = till.cloud.clock.now()
    (shared,) = bills
    # What waited between the two, and from the end of the second to that of the pool.
    waited_s = [between_s + one - later["end_time"] / 1000 for one in (begun, over)]
    low, high = (2 * one / 3600 * (0.226 + OWN_GIB * EBS_USD_H) for one in waited_s)
    assert low <= shared.usd <= high
    assert shared.dbu == 0


def test_a_pool_that_no_cluster_had_costs_nothing(till, cloud):
    cloud.behave(fault("cluster", "validation_error", times=99))
    till.run(pooled(till, "unused"), till.client(launch_id="unused"))
    bills = []
    close_shared("unused", bills.append)
    assert [one.usd for one in bills] == [0.0]
