"""What a run has used is known whatever the clock here shows, and a budget counts what is there."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from ascii_hydra.costs.bill import Bill
from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines import budget
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.client import DatabricksClient
from ascii_hydra.engines.databricks_errors import OddAnswerError
from tests.costs_databricks.conftest import EBS_USD_H, EC2, OWN_GIB, usd
from tests.costs_databricks.test_ends import pooled
from tests.costs_emr.test_untold import WrongClock
from tests.databricks.conftest import NODE, altered, fault
from tests.waiting import until

_TIMES = ("start_time", "end_time", "setup_duration", "execution_duration", "cleanup_duration")
_TIMES += ("run_duration", "queue_duration", "cluster_instance")


@pytest.fixture(autouse=True)
def nothing_spent():
    yield
    budget.spent_before(0.0)


def test_a_run_that_has_succeeded_without_a_word_of_times_is_billed_as_asked_for(till, cloud):
    cloud.behave(step_minutes=30, speed=20_000)

    def alter(path, reply):
        if not path.endswith("runs/get"):
            return reply
        tasks = [
            {key: one for key, one in task.items() if key not in _TIMES}
            for task in reply.get("tasks", ())
        ]
        return {**{key: one for key, one in reply.items() if key not in _TIMES}, "tasks": tasks}

    began = cloud.clock.now()
    with altered(cloud.url, alter) as url:
        billed = till.run(replace(till.on("wordless"), workspace=Workspace(url)))
    most_s = cloud.clock.now() - began
    assert billed.green
    assert billed.bill.usd is not None
    least = usd(NODE, count=2, rented_s=1800, charged_s=1800)
    assert least <= billed.bill.usd <= usd(NODE, count=2, rented_s=most_s, charged_s=most_s)
    assert any("Databricks does not tell its cluster" in one for one in billed.bill.assumed)


def test_a_run_without_a_running_event_has_dbu(till, cloud):
    cloud.behave(step_minutes=30, speed=20_000)

    def alter(path, reply):
        if not path.endswith("clusters/events"):
            return reply
        return {**reply, "events": [one for one in reply["events"] if one["type"] != "RUNNING"]}

    with altered(cloud.url, alter) as url:
        billed = till.run(replace(till.on("eventless"), workspace=Workspace(url)))
    assert billed.bill.dbu >= 2 * 0.69 / 2
    assert any("no event tells when it ran" in one for one in billed.bill.assumed)


@pytest.mark.parametrize("ahead_s", [-960.0, 960.0])
def test_a_clock_that_is_wrong_makes_no_bill_wrong(till, cloud, ahead_s):
    # RUNNING is less than those 16 min ago when the bill is made.
    cloud.behave(step_minutes=10, speed=200.0)
    client = DatabricksClient(clock=WrongClock(cloud.clock, ahead_s), tell=till.told.append)
    # It would be given up after ten minutes: by its own clock, they are over at once.
    billed = till.run(replace(till.on("skewed"), start_timeout_s=600.0), client)
    assert billed.green
    rented_s = billed.setup_s + 600 + 5
    expected = usd(NODE, count=2, rented_s=rented_s, charged_s=rented_s - 215)
    assert billed.bill.usd == pytest.approx(expected, rel=0.03)
    assert billed.bill.dbu > 0


@pytest.mark.parametrize("wrong", ["two days ahead", "Sat, 999999999999 Nov 2026 18:41:30 GMT"])
def test_one_reply_with_a_wrong_date_stops_no_healthy_run(till, cloud, wrong):
    cloud.behave(step_minutes=10, speed=400.0)
    dated = []

    def date(path, right):
        if not path.endswith("runs/get"):
            return right
        dated.append(path)
        if len(dated) != 2:
            return right
        ahead = parsedate_to_datetime(right) + timedelta(days=2)
        return format_datetime(ahead, usegmt=True) if wrong.startswith("two") else wrong

    with altered(cloud.url, lambda _path, reply: reply, date) as url:
        request = replace(till.on("dated"), workspace=Workspace(url), timeout_s=86_400.0)
        billed = till.run(request)
    assert len(dated) > 2
    assert billed.green, billed.metadata


def test_the_date_of_an_answer_that_is_none_of_databricks_corrects_nothing(cloud):
    path = "/api/2.2/jobs/runs/list"

    def alter(called, reply):
        return {"runs": 5} if called == path else reply

    def date(called, right):
        ahead = parsedate_to_datetime(right) + timedelta(days=2)
        return format_datetime(ahead, usegmt=True) if called == path else right

    with altered(cloud.url, alter, date) as url:
        api = Databricks(Workspace(url), cloud.clock, threading.Event())
        for _ in range(3):
            with pytest.raises(OddAnswerError):
                api.call("GET", path)
    assert api.clock.now() == pytest.approx(cloud.clock.now(), abs=3600)


# --- budget -------------------------------------------------------------------------------------


def with_budget(request, limit):
    return replace(request, costing=replace(request.costing, budget_usd=limit))


def test_a_run_that_waits_for_capacity_is_not_stopped_for_it(till, cloud):
    """An hour in the queue of the workspace was asked for, and nothing was rented meanwhile."""
    cloud.behave(fault("step", "queued", seconds=3600), step_minutes=10, speed=400.0)
    limit = usd(NODE, count=2, rented_s=40 * 60, charged_s=30 * 60)
    request = with_budget(replace(till.on("queued"), start_timeout_s=2 * 3600.0), limit)
    billed = till.run(request, till.client(launch_id="queued"))
    assert billed.green, billed.metadata
    rented_s = 215 + 600 + 5
    assert billed.bill.usd == pytest.approx(
        usd(NODE, count=2, rented_s=rented_s, charged_s=rented_s - 215), rel=0.1
    )


def test_spot_that_fell_back_is_stopped_for_what_it_costs(till, cloud):
    cloud.behave(fault("cluster", "no_capacity", code="SPOT"), step_minutes=60, speed=200.0)
    spot = {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1, "zone_id": "auto"}
    asked = till.on("fallen", num_workers=4, aws_attributes=spot)
    hour = {"rented_s": 65 * 60, "charged_s": 61 * 60}
    as_asked = usd(NODE, **hour) + usd(NODE, count=4, spot=True, **hour)
    really = usd(NODE, count=5, **hour)
    limit = (as_asked + really) / 2
    billed = till.run(with_budget(asked, limit), till.client(launch_id="fallen"))
    assert not billed.green
    assert 0.9 * limit <= billed.bill.usd < really


def test_instances_that_wait_in_a_pool_are_part_of_what_was_spent(till, cloud):
    cloud.behave(speed=1000.0, step_minutes=30)
    client = till.client(launch_id="pool-resting")
    limit = usd(NODE, count=2, rented_s=2400, charged_s=2400) + 1.0
    first = till.run(with_budget(pooled(till, "first"), limit), client)
    assert first.green
    assert first.bill.usd < limit
    cloud.behave(speed=20_000, step_minutes=30)
    begun = cloud.clock.now()
    # Two of them, until they have cost the rest.
    waited_s = 3600 * limit / (2 * (EC2[NODE] + OWN_GIB * EBS_USD_H))
    until(lambda: cloud.clock.now() - begun > waited_s)
    second = till.run(with_budget(pooled(till, "second"), limit), client)
    assert not second.green
    assert second.bill == Bill()
