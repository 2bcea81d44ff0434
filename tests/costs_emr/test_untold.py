"""A cluster that has been running has had instances, whatever EMR lists of it: no $0.00."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dagster as dg
import pytest
from moto.server import ThreadedMotoServer

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.step_costs import StepCosts, bill_in
from ascii_hydra.step.choices import Engine
from tests.costs_emr.conftest import NODE, STARTUP_H, costed, for_bills, gp3
from tests.costs_emr.test_lost_bills import by_hand
from tests.emr.conftest import BUCKET, request
from tests.rehearsal_cloud import GOOD, place_of
from tests.waiting import until

FLEET = {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}]}
FLEETS = {
    "Instances": {
        "InstanceFleets": [
            {"InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1, **FLEET},
            {"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 2, **FLEET},
        ],
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
    }
}


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """moto, which lists no instances of fleets, and whose steps never end."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    place = place_of(url)
    aws_client("s3", place).create_bucket(Bucket=BUCKET)
    yield place
    server.stop()


def test_a_cluster_of_fleets_whose_instances_moto_does_not_list_is_billed_as_asked_for(moto):
    stop, told = threading.Event(), list[str]()
    client = EmrClient(stop=stop, tell=told.append)
    asked = request(moto, "fleets", GOOD, flow=FLEETS)

    @dg.asset(name="fleets")
    def made(context):
        return client.run(context=context, request=asked).get_results()

    def stop_later() -> None:
        until(lambda: any("is WAITING" in one or "is RUNNING" in one for one in told))
        stop.set()

    thread = threading.Thread(target=stop_later)
    thread.start()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
        records = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    thread.join()
    events = [one.dagster_event.engine_event_data.metadata for one in records if one.dagster_event]
    (bill,) = [one for one in map(bill_in, events) if one is not None]
    assert bill.usd is not None
    assert bill.usd > 0
    assert {one.what for one in bill.lines if "EMR" not in one.what and "GiB" not in one.what} == {
        "1 x m5.xlarge on demand (primary)",
        "2 x m5.xlarge on demand (core)",
    }
    assert "it lists no instances, though the cluster has been running" in bill.assumed[0]
    assert any("cost ~$" in one for one in told)


@pytest.mark.parametrize("listed", ["nothing", "no primary"])
def test_what_emr_does_not_list_is_billed_as_asked_for(bench, cloud, monkeypatch, listed):
    cloud.behave(step_minutes=60, speed=20_000)
    for_bills(monkeypatch, "instances", lambda every: [] if listed == "nothing" else every[1:])
    ended = costed(bench, bench.request("unlisted", timeout_s=40_000.0))
    assert ended.result.success
    hours = 1 + STARTUP_H
    assert ended.bill.usd == pytest.approx(2 * (NODE * hours + gp3(15, hours)), rel=1e-2)
    assert ended.bill.estimated


def test_a_shared_cluster_whose_instances_are_not_listed_is_no_cluster_for_nothing(
    bench, cloud, monkeypatch
):
    cloud.behave(step_minutes=60, speed=20_000)
    for_bills(monkeypatch, "instances", lambda _every: [])
    request = bench.request("sharing", shared=True, timeout_s=40_000.0)
    ended = costed(bench, request, bench.client(launch_id="unlisted"))
    assert ended.bill.usd == pytest.approx(2 * (NODE + gp3(15, 1)), rel=1e-2)
    assert ended.bill.estimated
    bills = []
    assert close_shared("unlisted", bills.append) == ()
    (rest,) = bills
    assert rest.usd is None
    assert "lists no instances, though the cluster has been running" in rest.unpriced[0]


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(Usage(Engine.emr, "us-east-1"), id="it has made the asset"),
        pytest.param(Usage(Engine.emr, "us-east-1", run_s=60.0, wasted=True), id="it has executed"),
    ],
)
def test_what_nobody_tells_of_a_step_that_has_executed_is_unknown(bench, usage):
    asked = bench.request("silent")

    @dg.asset(name="silent")
    def made(context):
        costs = StepCosts(context, asked.costing, "silent", Engine.emr, bench.told.append)
        costs.add(usage)
        costs.told()
        assert costs.bill.usd is None
        assert costs.bill.unpriced == (
            "silent, which has executed, and of which nobody tells what it has used",
        )

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([made], instance=instance).success
    assert bench.told[0].startswith("cost unpriced")


# --- clocks ---------------------------------------------------------------------------------------


class WrongClock:
    """A clock of this machine that is wrong by so many seconds."""

    def __init__(self, clock, ahead_s: float) -> None:
        self._clock, self._ahead_s = clock, ahead_s

    def now(self) -> float:
        return self._clock.now() + self._ahead_s

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        self._clock.sleep(seconds, stop)


@pytest.mark.parametrize("ahead_s", [-960.0, 960.0])
def test_a_clock_that_is_wrong_makes_no_bill_wrong(bench, cloud, ahead_s):
    """On a shared cluster, whose instances are still there when the step's bill is made."""
    cloud.behave(step_minutes=5, speed=1000.0)
    client = EmrClient(
        clock=WrongClock(cloud.clock, ahead_s), tell=bench.told.append, launch_id="skewed"
    )
    # It would be given up after ten minutes: by its own clock, they are over at once.
    request = bench.request("skewed", shared=True, start_timeout_s=600.0)
    ended = costed(bench, request, client)
    assert ended.result.success, ended.failed
    hours = 5 / 60
    assert ended.bill.usd == pytest.approx(2 * (NODE * hours + gp3(15, hours)), rel=0.02)
    assert not ended.bill.estimated
    bills = []
    (cluster_id,) = cloud.alive()
    close_shared("skewed", bills.append)
    until(cloud.ended)
    assert ended.bill.usd + bills[0].usd == pytest.approx(by_hand(cloud, cluster_id), rel=0.02)


def test_a_clock_that_is_right_is_left_alone(bench, cloud):
    cloud.behave(step_minutes=5, speed=20_000)
    ended = costed(bench, bench.request("right", timeout_s=40_000.0))
    hours = 5 / 60 + STARTUP_H
    assert ended.bill.usd == pytest.approx(2 * (NODE * hours + gp3(15, hours)), rel=1e-3)
