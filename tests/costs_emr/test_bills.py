"""Bills of steps that have run, against sums made by hand from list prices and EMR's times."""

from __future__ import annotations

import threading
from typing import Any

import dagster as dg
import pytest

from ascii_hydra.costs.bill import Bill, Part, together
from ascii_hydra.engines.emr.shared import close_shared
from tests.costs_emr.conftest import (
    EMR_M5_XLARGE,
    M5_XLARGE,
    M5_XLARGE_SPOT,
    NODE,
    STARTUP_H,
    costed,
    gp3,
    in_thread,
)
from tests.waiting import until

FAST = 100_000.0
SINGLE = {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}


def groups(*each):
    alive = {"KeepJobFlowAliveWhenNoSteps": False, "TerminationProtected": False}
    return {"Instances": {"InstanceGroups": list(each), **alive}}


def near(usd: float, share: float = 1e-4):
    return pytest.approx(usd, rel=share)


@pytest.mark.parametrize("hours", [0.35, 9.99, 0.27, 0.43, 10.49, 0.94, 0.23])
def test_the_durations_of_the_paper_cost_what_they_do_by_hand(bench, cloud, hours):
    """The EMR rows of arXiv 2408.11635's table of costs, on a primary and a core node."""
    whole_h, nodes = STARTUP_H + hours, 2
    # In three seconds each, of which other work on this machine may take some milliseconds.
    cloud.behave(step_minutes=hours * 60, speed=whole_h * 3600 / 3)
    ended = costed(bench, bench.request("paper", timeout_s=40_000.0, poll_s=300.0))

    def by_hand(hourly: float, hours: float) -> Any:
        return pytest.approx(nodes * hourly * hours, abs=0.01 * nodes * hourly * whole_h)

    assert ended.bill.usd == by_hand(NODE + gp3(15, 1), whole_h)
    assert ended.bill.of(Part.compute) == by_hand(M5_XLARGE, hours)
    assert ended.bill.of(Part.platform) == by_hand(EMR_M5_XLARGE, hours)
    assert ended.bill.of(Part.storage) == by_hand(gp3(15, 1), hours)
    assert ended.bill.of(Part.startup_idle) == by_hand(NODE + gp3(15, 1), STARTUP_H)
    assert ended.bill.instance_hours == by_hand(1.0, whole_h)


def test_the_smallest_cluster(bench, cloud):
    cloud.behave(step_minutes=60, speed=FAST)
    ended = costed(bench, bench.request("smallest", flow=groups(SINGLE), timeout_s=7200.0))
    whole_h = 1 + STARTUP_H
    assert ended.bill.usd == near(NODE * whole_h + gp3(15, whole_h))


def test_spot_task_nodes_and_volumes(bench, cloud):
    cloud.behave(step_minutes=60, speed=FAST)
    volume = {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 64}, "VolumesPerInstance": 2}
    disks = {"EbsConfiguration": {"EbsBlockDeviceConfigs": [volume]}}
    task = {**SINGLE, "InstanceRole": "TASK", "InstanceCount": 3, "Market": "SPOT", **disks}
    flow = groups(SINGLE, {**SINGLE, "InstanceRole": "CORE"}, task)
    request = bench.request("spotty", flow={**flow, "EbsRootVolumeSize": 20}, timeout_s=7200.0)
    ended = costed(bench, request)
    whole_h = 1 + STARTUP_H
    on_demand, spot = 2 * NODE * whole_h, 3 * (M5_XLARGE_SPOT + EMR_M5_XLARGE) * whole_h
    storage = gp3(5 * 20 + 3 * 2 * 64, whole_h)
    assert ended.bill.usd == near(on_demand + spot + storage)
    assert ended.bill.estimated  # the spot price is
    spots = [one for one in ended.bill.lines if "spot" in one.what]
    assert {one.what for one in spots} == {"3 x m5.xlarge spot (task)"}
    assert any("m5.xlarge spot (task) estimated" in line for line in bench.told)


def test_spot_that_was_not_to_be_had_is_paid_as_on_demand(bench, cloud):
    lacking = {"target": "cluster", "effect": "no_capacity", "code": "SPOT"}
    cloud.behave(lacking, step_minutes=60, speed=FAST)
    types = {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}]}
    spot = {"TimeoutDurationMinutes": 10, "TimeoutAction": "SWITCH_TO_ON_DEMAND"}
    fleets = [
        {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, **types},
        {"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 1, **types},
        {
            "InstanceFleetType": "TASK",
            "TargetSpotCapacity": 2,
            "LaunchSpecifications": {"SpotSpecification": spot},
            **types,
        },
    ]
    alive = {"KeepJobFlowAliveWhenNoSteps": False, "TerminationProtected": False}
    flow = {"Instances": {"InstanceFleets": fleets, **alive}}
    ended = costed(bench, bench.request("dear", flow=flow, timeout_s=7200.0))
    # The two waited ten minutes for the task nodes, which cost nothing meanwhile.
    waiting_h, there_h = 1 + STARTUP_H + 10 / 60, 1 + STARTUP_H
    hours = 2 * waiting_h + 2 * there_h
    assert ended.bill.usd == near(NODE * hours + gp3(15, hours))
    assert not ended.bill.estimated


def test_nodes_of_managed_scaling_are_paid_from_when_they_come(bench, cloud):
    cloud.behave(step_minutes=60, speed=FAST)
    limits = {
        "UnitType": "Instances",
        "MinimumCapacityUnits": 1,
        "MaximumCapacityUnits": 3,
        "MaximumCoreCapacityUnits": 1,
        "MaximumOnDemandCapacityUnits": 3,
    }
    flow = {"ManagedScalingPolicy": {"ComputeLimits": limits}}
    ended = costed(bench, bench.request("growing", flow=flow, timeout_s=7200.0))
    # Two task nodes come when the step begins.
    hours = 2 * (1 + STARTUP_H) + 2 * 1
    assert ended.bill.usd == near(NODE * hours + gp3(15, hours), 1e-3)
    assert any(one.what.startswith("2 x m5.xlarge on demand (task)") for one in ended.bill.lines)


def test_a_first_cluster_that_failed_is_wasted(bench, cloud):
    cloud.behave({"target": "cluster", "effect": "start_failure"}, step_minutes=60, speed=FAST)
    ended = costed(bench, bench.request("lucky", timeout_s=7200.0))
    whole_h, first_h = 1 + STARTUP_H, STARTUP_H
    wasted = 2 * (NODE * first_h + gp3(15, first_h))
    assert ended.bill.wasted_usd == near(wasted)
    assert ended.bill.usd == near(2 * (NODE * whole_h + gp3(15, whole_h)) + wasted)
    assert ended.made["cost/wasted_usd"].value == near(wasted)


def test_what_was_never_there_costs_nothing(bench, cloud):
    cloud.behave({"target": "cluster", "effect": "no_capacity"})
    ended = costed(bench, bench.request("absent", start_timeout_s=600.0))
    assert "no capacity" in ended.failed.description
    assert ended.bill.usd == 0.0
    assert ended.failed.metadata["cost/usd"].value == 0.0


def test_a_failed_step_has_its_bill_and_it_is_wasted(bench, cloud):
    cloud.behave(step_minutes=30, speed=FAST)
    ended = costed(bench, bench.request("failing", "sys.exit(3)", log_wait_s=0.0))
    whole_h = 0.5 + STARTUP_H
    usd = 2 * (NODE * whole_h + gp3(15, whole_h))
    assert ended.failed.metadata["cost/usd"].value == near(usd)
    assert ended.bill.usd == ended.bill.wasted_usd == near(usd)


def test_every_try_of_dagster_is_paid_once(bench, cloud):
    cloud.behave(step_minutes=30, speed=FAST)
    source = """
    with opened() as context:
        if context.retry_number < 2:
            raise RuntimeError("not yet")
    """
    ended = costed(
        bench, bench.request("again", source), retry_policy=dg.RetryPolicy(max_retries=2)
    )
    whole_h = 0.5 + STARTUP_H
    one = 2 * (NODE * whole_h + gp3(15, whole_h))
    assert [each["cost/usd"].value for each in ended.told] == near([one, 2 * one, 3 * one])
    assert ended.bill.wasted_usd == near(2 * one)
    assert ended.made["cost/usd"].value == near(3 * one)


def test_a_cancelled_step_has_its_bill_in_the_history(bench, cloud):
    cloud.behave(speed=60.0)
    with in_thread(bench, bench.request("cancelled", "time.sleep(300)")) as (stop, ended):
        until(lambda: any("is RUNNING" in line and "step s-" in line for line in bench.told), 60)
        stop.set()
    (one,) = ended
    assert not one.result.success
    assert one.bill.usd == one.bill.wasted_usd > 2 * NODE * STARTUP_H
    assert cloud.alive() == []
    assert any(line.startswith("cancelled: cost $0.0") for line in bench.told)


def test_the_steps_of_a_shared_cluster_and_the_rest_are_the_whole(bench, cloud):
    """Two steps at a time: each pays half while both execute."""
    cloud.behave(step_minutes=30, speed=3000.0)
    shared: list[Bill] = []
    ended = {}

    def run(name: str) -> None:
        request = bench.request(name, shared=True, flow={"StepConcurrencyLevel": 2})
        ended[name] = costed(bench, request, bench.client(launch_id="bill-shared"))

    threads = [threading.Thread(target=run, args=(one,)) for one in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run("after")
    assert close_shared("bill-shared", shared.append) == ()
    (cluster,) = cloud.clusters("bill-shared")
    told = cloud.emr.list_instances(ClusterId=cluster["Id"])["Instances"]
    hours = 0.0
    for one in told:
        times = one["Status"]["Timeline"]
        hours += (times["EndDateTime"] - times["CreationDateTime"]).total_seconds() / 3600
    whole = together([*(one.bill for one in ended.values()), *shared])
    assert whole.usd == near(NODE * hours + gp3(15, hours))
    assert whole.instance_hours == near(hours)
    assert shared[0].usd == shared[0].of(Part.startup_idle) > 2 * NODE * STARTUP_H
    both = [ended["left"].bill, ended["right"].bill]
    # They executed for at least half an hour each, and together for less than an hour.
    alone = 2 * (NODE * 0.5 + gp3(15, 0.5))
    assert ended["after"].bill.usd == near(alone, 0.02)
    assert alone <= together(both).usd < 2 * alone
    assert all(one.of(Part.startup_idle) == 0 and one.startup_s == 0 for one in both)


def test_a_step_on_an_existing_cluster_pays_for_its_own_time(bench, cloud):
    cloud.behave(step_minutes=30, speed=FAST)
    flow = bench.request("host", shared=True).run_job_flow
    cluster_id = cloud.emr.run_job_flow(**flow)["JobFlowId"]
    request = bench.request("guest", cluster_id=cluster_id, run_job_flow=None)
    ended = costed(bench, request)
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    assert ended.bill.usd == near(2 * (NODE * 0.5 + gp3(15, 0.5)))
    assert ended.bill.of(Part.startup_idle) == 0


def test_who_may_not_see_instances_is_billed_what_was_asked_for(bench, cloud):
    refused = {"target": "ListInstances", "effect": "refused", "code": "AccessDeniedException"}
    cloud.behave({**refused, "times": 99}, step_minutes=60, speed=FAST)
    ended = costed(bench, bench.request("blind", timeout_s=7200.0))
    whole_h = 1 + STARTUP_H
    assert ended.result.success
    assert ended.bill.usd == near(2 * (NODE * whole_h + gp3(15, whole_h)))
    assert ended.bill.estimated
    (told,) = ended.bill.assumed
    assert "the instances that were asked for" in told
    assert "AccessDeniedException" in told
    assert ended.made["cost/is_estimate"].value is True


def test_what_has_no_price_is_named_and_not_zero(bench, cloud):
    cloud.behave(step_minutes=60, speed=FAST)
    volume = {"VolumeSpecification": {"VolumeType": "io2", "SizeInGB": 64, "Iops": 1000}}
    disks = {"EbsConfiguration": {"EbsBlockDeviceConfigs": [volume]}}
    flow = groups({**SINGLE, **disks})
    ended = costed(bench, bench.request("odd", flow=flow, timeout_s=7200.0))
    assert ended.bill.usd is None
    assert "cost/usd" not in ended.made
    assert ended.made["cost/known_usd"].value > NODE
    # Of its storage only the root volume has a price; no sum is told that lacks something.
    sums = {"cost/storage_usd", "cost/compute_usd", "cost/dbu", "cost/wasted_usd"}
    assert not sums & set(ended.made)
    assert "EBS io2" in ended.made["cost/unpriced"].value
    assert any("cost > $0.2" in line for line in bench.told)


def test_a_materialisation_is_plotted(bench, cloud):
    cloud.behave(step_minutes=6, speed=FAST)
    ended = costed(bench, bench.request("plotted"))
    plotted = {key for key, one in ended.made.items() if isinstance(one, dg.FloatMetadataValue)}
    assert plotted >= {
        *("cost/usd", "cost/compute_usd", "cost/platform_usd", "cost/storage_usd"),
        *("cost/startup_idle_usd", "cost/wasted_usd", "cost/instance_hours", "cost/dbu"),
        *("duration/startup_s", "duration/run_s"),
    }
    assert ended.made["cost/price_date"].value == "2019 to 2026-07-20"
    told = dict(ended.told[0])
    assert told == {key: one for key, one in ended.made.items() if key in told}
