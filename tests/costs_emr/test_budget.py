"""`launch.budget_usd` while steps run."""

from __future__ import annotations

import re
import threading
import time

import pytest
from botocore.exceptions import EndpointConnectionError

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.engines import budget, cloud_client
from ascii_hydra.engines.step_costs import bill_in
from tests.costs_emr.conftest import NODE, costed, for_bills, gp3, in_thread, with_budget
from tests.waiting import until

# What the two nodes of these requests cost an hour.
HOUR_USD = 2 * (NODE + gp3(15, 1))


@pytest.fixture(autouse=True)
def nothing_spent():
    yield
    budget.spent_before(0.0)


def test_a_running_step_is_stopped_when_the_money_is_spent(bench, cloud):
    # Half an hour of virtual time is over in nine seconds.
    cloud.behave(speed=200.0, provisioning_seconds=36_000)
    limit = HOUR_USD / 2
    request = with_budget(bench.request("dear", start_timeout_s=40_000.0), limit)
    ended = costed(bench, request, bench.client(launch_id="spent"))
    told = ended.failed.description
    assert re.match(rf"launch.budget_usd={limit:g}: dear was stopped, \$0.2[4-6] were spent", told)
    # The clusters' instances were asked for a moment before, and left a moment after.
    assert ended.bill.usd == pytest.approx(limit, rel=0.1)
    assert ended.bill.usd >= limit * 0.999
    assert ended.failed.metadata["cost/usd"].value == ended.bill.usd
    assert cloud.alive() == []


def test_a_step_that_executes_is_stopped_too(bench, cloud):
    """A step that really runs takes real time; here it is five seconds of it."""
    cloud.behave(speed=100.0)
    limit = HOUR_USD * (210 + 5) / 3600
    request = with_budget(bench.request("long", "time.sleep(300)"), limit)
    ended = costed(bench, request, bench.client(launch_id="executing"))
    assert "launch.budget_usd" in ended.failed.description
    assert ended.bill.usd == pytest.approx(limit, rel=0.1)
    assert cloud.alive() == []


def test_the_next_step_of_the_launch_is_not_begun(bench, cloud):
    cloud.behave(speed=1000.0, provisioning_seconds=36_000)
    client = bench.client(launch_id="two")
    request = bench.request("first", start_timeout_s=40_000.0)
    first = costed(bench, with_budget(request, HOUR_USD / 4), client)
    assert "first was stopped" in first.failed.description
    second = costed(bench, with_budget(bench.request("second"), HOUR_USD / 4), client)
    assert "second was not begun" in second.failed.description
    assert second.told == []
    assert bill_in(second.failed.metadata) == Bill()  # it has cost nothing, and says so
    assert cloud.calls("RunJobFlow") == 1


def test_rows_before_this_one_count(bench, cloud):
    budget.spent_before(5.02)
    ended = costed(bench, with_budget(bench.request("late"), 5.0), bench.client(launch_id="row-3"))
    assert "launch.budget_usd=5: late was not begun, $5.02 were spent" in ended.failed.description
    assert cloud.calls("RunJobFlow") == 0


def test_all_steps_of_a_launch_are_stopped_together(bench, cloud):
    cloud.behave(speed=200.0, provisioning_seconds=36_000)
    requests = [
        with_budget(bench.request(one, start_timeout_s=40_000.0), HOUR_USD)
        for one in ("left", "right")
    ]
    client = bench.client(launch_id="both")
    ended = {}

    def run(request) -> None:
        ended[request.step] = costed(bench, request, client)

    threads = [threading.Thread(target=run, args=(one,)) for one in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("was stopped" in one.failed.description for one in ended.values())
    assert sum(one.bill.usd for one in ended.values()) == pytest.approx(HOUR_USD, rel=0.1)
    assert cloud.alive() == []


def test_a_shared_cluster_is_metered_while_no_step_runs_on_it(bench, cloud):
    cloud.behave(speed=3000.0)
    client = bench.client(launch_id="resting")
    limit = HOUR_USD * 0.75
    first = costed(bench, with_budget(bench.request("one", shared=True), limit), client)
    assert first.result.success, first.failed
    begun = cloud.clock.now()
    until(lambda: cloud.clock.now() - begun > 3600)
    second = costed(bench, with_budget(bench.request("two", shared=True), limit), client)
    assert "two was not begun" in second.failed.description


def test_what_cannot_be_watched_is_said_once(bench, cloud):
    flow = bench.request("host", shared=True).run_job_flow
    cluster_id = cloud.emr.run_job_flow(**flow)["JobFlowId"]
    client = bench.client(launch_id="unknown")
    for name in ("one", "two"):
        request = bench.request(name, cluster_id=cluster_id, run_job_flow=None)
        assert costed(bench, with_budget(request, 5.0), client).result.success
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    (notice,) = [one for one in bench.told if "cannot watch" in one]
    assert notice.startswith("launch.budget_usd=5 cannot watch all of it")
    assert cluster_id in notice


def test_an_interrupt_stays_an_interrupt(bench, cloud):
    cloud.behave(provisioning_seconds=36_000, speed=10.0)
    request = with_budget(bench.request("stopped", start_timeout_s=40_000.0), 100.0)
    with in_thread(bench, request, launch_id="ctrl-c") as (stop, ended):
        until(lambda: any("is STARTING" in line for line in bench.told))
        stop.set()
    (event,) = [one for one in ended[0].result.all_events if one.is_step_failure]
    assert event.step_failure_data.user_failure_data is None
    assert cloud.alive() == []


class SlowClock:
    """Real time, that the watch learns late, as over HTTP: once `asked` is set, it is asking."""

    def __init__(self) -> None:
        self.slow, self.asked = threading.Event(), threading.Event()

    def now(self) -> float:
        if self.slow.is_set() and threading.current_thread().name == "budget":
            self.asked.set()
            time.sleep(0.2)
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(min(seconds, 0.05))


def test_an_attempt_that_ends_while_the_watch_looks_does_not_end_the_watch():
    def planned(elapsed_s: float) -> Bill:
        return Bill((BillLine(Part.compute, "x", elapsed_s, "s", 10.0, "a source", "2026"),))

    clock, stop = SlowClock(), threading.Event()
    with budget.watched(
        "raced", "step", 6.0, planned=planned, clock=clock, stop=stop, say=print
    ) as watch:
        budget.begun()
        until(lambda: clock.slow.set() or clock.asked.is_set())
        budget.settled(1.0)
        time.sleep(0.3)
        clock.slow.clear()
        assert not watch.stop.is_set()
        budget.begun()  # on a second cluster
        until(watch.stop.is_set, 5)
        assert watch.reached
    budget.forget("raced")


def test_a_step_whose_money_cannot_be_watched_any_more_is_stopped(bench, cloud, monkeypatch):
    cloud.behave(speed=200.0, provisioning_seconds=1800)
    real = cloud_client.planned_usage

    def odd(request, startup_s, run_s):
        if bench.told:  # it has been submitted
            raise KeyError("m5.xlarge")
        return real(request, startup_s, run_s)

    monkeypatch.setattr(cloud_client, "planned_usage", odd)
    request = with_budget(bench.request("blind", start_timeout_s=40_000.0), 5.0)
    ended = costed(bench, request, bench.client(launch_id="blind"))
    assert not ended.result.success
    told = ended.failed.description
    assert told.startswith("launch.budget_usd=5: blind was stopped, because what it costs cannot")
    assert "KeyError: 'm5.xlarge'" in told
    assert cloud.alive() == []


# --- what is really there, and not what was asked for ---------------------------------------------


def node_minutes(minutes: float) -> float:
    """What so many minutes of one node cost."""
    return minutes / 60 * HOUR_USD / 2


def waiting_for_spot():
    """A cluster of a primary, a core node, and two task nodes on spot that are switched to on
    demand after an hour."""
    types = {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}]}
    spot = {"TimeoutDurationMinutes": 60, "TimeoutAction": "SWITCH_TO_ON_DEMAND"}
    task = {"LaunchSpecifications": {"SpotSpecification": spot}, "TargetSpotCapacity": 2}
    fleets = [
        {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, **types},
        {"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 1, **types},
        {"InstanceFleetType": "TASK", **task, **types},
    ]
    alive = {"KeepJobFlowAliveWhenNoSteps": False, "TerminationProtected": False}
    return {"Instances": {"InstanceFleets": fleets, **alive}}


def test_a_step_that_waits_for_spot_is_not_stopped_for_what_it_was_not_given(bench, cloud):
    lacking = {"target": "cluster", "effect": "no_capacity", "code": "SPOT"}
    cloud.behave(lacking, step_minutes=10, speed=400.0)
    # Two nodes for 73.5 min, and two more for 13.5; asked for were all four for 73.5, two of them
    # on spot, at 47 % of a node's price: 216.
    there = 2 * (60 + 3.5 + 10) + 2 * (3.5 + 10)
    limit = node_minutes(195)
    asked = bench.request(
        "patient", flow=waiting_for_spot(), timeout_s=7200.0, start_timeout_s=7200.0
    )
    ended = costed(bench, with_budget(asked, limit), bench.client(launch_id="patient"))
    assert ended.result.success, ended.failed
    assert ended.bill.usd == pytest.approx(node_minutes(there), rel=0.05)


def test_a_cluster_that_grows_is_stopped_for_what_it_has_grown_to(bench, cloud):
    cloud.behave(step_minutes=60, speed=200.0)
    limits = {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 1,
        "MaximumCapacityUnits": 5,
        "MaximumCoreCapacityUnits": 1,
        "MaximumOnDemandCapacityUnits": 5,
    }
    flow = {"ManagedScalingPolicy": {"ComputeLimits": limits}}
    # Two nodes for 63.5 min were asked for, 127; four more come when the step begins: 367.
    limit = node_minutes(200)
    request = with_budget(bench.request("growing", flow=flow, timeout_s=7200.0), limit)
    ended = costed(bench, request, bench.client(launch_id="growing"))
    assert "growing was stopped" in ended.failed.description
    assert limit <= ended.bill.usd < 1.4 * limit  # 1.8 if it is not stopped
    assert cloud.alive() == []


def test_a_cloud_that_does_not_answer_stops_nobody_and_is_asked_again(bench, cloud, monkeypatch):
    """For the first minutes: later, the plan counts."""
    cloud.behave(step_minutes=60, speed=200.0)
    asked, silent = [], threading.Event()

    def alter(told):
        asked.append(silent.is_set())
        if silent.is_set():
            raise EndpointConnectionError(endpoint_url="https://emr")
        return told

    for_bills(monkeypatch, "instances", alter)
    limit = node_minutes(2 * 40)
    request = with_budget(bench.request("silent", timeout_s=7200.0), limit)
    silent.set()
    with in_thread(bench, request, launch_id="silent") as (_, ended):
        until(lambda: len(asked) > 2)
        assert not ended
        silent.clear()
    assert "silent was stopped" in ended[0].failed.description
    assert 0.9 * limit <= ended[0].bill.usd < 1.4 * limit  # 1.6 if it is not stopped
