"""Bills of which EMR does not tell all, or which Dagster's history does not take.

What is lacking is named, and no step fails for it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace

import dagster as dg
import pytest
from botocore.exceptions import EndpointConnectionError

from ascii_hydra.assets.runs import PlannedRun
from ascii_hydra.assets.step_outcomes import followed
from ascii_hydra.costs.bill import Bill, together
from ascii_hydra.engines import calls
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.outcome import Outcome
from ascii_hydra.report.progress import cost_lines
from ascii_hydra.step.choices import Engine
from tests.costs_emr.conftest import NODE, STARTUP_H, costed, gp3
from tests.request_asking import settled

FAST = 20_000.0
THROTTLED = {"target": "ListInstances", "effect": "throttled"}


def by_hand(cloud, cluster_id: str) -> float:
    """What a cluster of m5.xlarge has cost, by the times of its instances."""
    usd = 0.0
    for one in cloud.emr.list_instances(ClusterId=cluster_id)["Instances"]:
        times = one["Status"]["Timeline"]
        hours = (times["EndDateTime"] - times["CreationDateTime"]).total_seconds() / 3600
        usd += NODE * hours + gp3(15, hours)
    return usd


def for_a_bill(monkeypatch, name: str, instead):
    """Replace a method of Emr where bills are made, and nowhere else."""
    real = getattr(Emr, name)

    def method(self, *args, **kwargs):
        asked = threading.current_thread().name == "call-aside"
        return (instead if asked else real)(self, *args, **kwargs)

    monkeypatch.setattr(Emr, name, method)


def unanswered(_emr, *_args, **_kwargs):
    raise EndpointConnectionError(endpoint_url="https://emr")


# --- EMR -----------------------------------------------------------------------------------------


def test_a_step_on_a_shared_cluster_that_nobody_tells_of_is_unknown(bench, cloud, monkeypatch):
    cloud.behave(step_minutes=30, speed=3000.0)
    with monkeypatch.context() as meanwhile:
        for_a_bill(meanwhile, "all_steps", unanswered)
        ended = costed(bench, bench.request("sharer", shared=True), bench.client(launch_id="lost"))
    close_shared("lost")
    assert ended.result.success
    assert ended.bill.usd is None
    (clause,) = ended.bill.unpriced
    assert "of which EMR does not tell when it ran" in clause
    assert "EndpointConnectionError" in clause


def test_throttling_is_borne_with_for_a_bill(bench, cloud):
    cloud.behave({**THROTTLED, "times": 4}, speed=200.0)
    ended = costed(bench, bench.request("throttled"))
    assert not ended.bill.estimated
    assert ended.bill.usd > 2 * NODE * STARTUP_H


def test_a_reply_that_hangs_delays_nobody_for_long(bench, cloud, monkeypatch):
    cloud.behave(step_minutes=60, speed=FAST)
    monkeypatch.setattr(calls, "_PROMPT_S", 0.5)
    hanging = threading.Event()
    for_a_bill(monkeypatch, "instances", lambda _emr, _cluster_id: hanging.wait(120) or [])
    begun = time.monotonic()
    ended = costed(bench, bench.request("hanging", timeout_s=40_000.0))
    assert time.monotonic() - begun < 60
    hanging.set()
    assert ended.result.success
    assert ended.bill.estimated
    assert "no answer in time" in ended.bill.assumed[0]
    hours = 1 + STARTUP_H
    assert ended.bill.usd == pytest.approx(2 * (NODE * hours + gp3(15, hours)), rel=1e-3)


def test_an_odd_reply_makes_a_named_gap_and_no_failure(bench, cloud, monkeypatch):
    cloud.behave(step_minutes=60, speed=FAST)
    real = Emr.instances

    def without_types(emr, cluster_id):
        told = real(emr, cluster_id)
        return [{key: one[key] for key in one if key != "InstanceType"} for one in told]

    for_a_bill(monkeypatch, "instances", without_types)
    ended = costed(bench, bench.request("odd", timeout_s=40_000.0))
    assert ended.result.success
    assert ended.bill.usd is None
    (clause,) = ended.bill.unpriced
    assert "whose bill could not be made (KeyError: 'InstanceType')" in clause


# --- clusters that steps share -------------------------------------------------------------------


def test_all_shared_clusters_are_ended_before_any_bill_that_cannot_be_made(
    bench, cloud, monkeypatch
):
    cloud.behave(speed=3000.0)
    client = bench.client(launch_id="two-shared")
    assert costed(bench, bench.request("one", shared=True), client).result.success
    other = bench.request("other", shared=True, flow={"EbsRootVolumeSize": 30})
    assert costed(bench, other, client).result.success
    assert len(cloud.alive()) == 2
    for_a_bill(monkeypatch, "instances", lambda _emr, _cluster_id: [{"Ec2InstanceId": "i-1"}])
    for_a_bill(monkeypatch, "cluster", lambda _emr, _cluster_id: {"EbsRootVolumeSize": "odd"})
    alive, bills = [], list[Bill]()

    def billed(one: Bill) -> None:
        alive.append(cloud.alive())
        bills.append(one)

    assert close_shared("two-shared", billed) == ()
    assert alive == [[], []]
    assert [one.usd for one in bills] == [None, None]
    assert "whose bill could not be made (ValueError" in bills[0].unpriced[0]


def test_a_second_cluster_of_an_unclear_call_is_billed_as_wasted(bench, cloud):
    cloud.behave({"target": "RunJobFlow", "effect": "server_error"}, speed=3000.0)
    request = bench.request("once", shared=True)
    ended = costed(bench, request, bench.client(launch_id="double"))
    (made,) = cloud.alive()
    cluster = cloud.emr.describe_cluster(ClusterId=made)["Cluster"]
    again = {"Name": cluster["Name"], "Tags": cluster["Tags"]}
    cloud.emr.run_job_flow(**{**request.run_job_flow, **again})
    begun = cloud.clock.now()
    while cloud.clock.now() - begun < 600:
        time.sleep(0.05)
    shared: list[Bill] = []
    assert close_shared("double", shared.append) == ()
    assert cloud.alive() == []
    costs = {one["Id"]: by_hand(cloud, one["Id"]) for one in cloud.clusters("double")}
    assert len(costs) == 2
    whole = together([ended.bill, *shared])
    assert whole.usd == pytest.approx(sum(costs.values()), rel=1e-3)
    del costs[made]
    assert whole.wasted_usd == pytest.approx(sum(costs.values()), rel=1e-3)


def test_a_shared_cluster_that_no_step_has_executed_on_is_wasted(bench, cloud):
    cloud.behave({"target": "cluster", "effect": "start_failure", "times": 9}, speed=3000.0)
    ended = costed(bench, bench.request("idle", shared=True), bench.client(launch_id="idle"))
    shared: list[Bill] = []
    close_shared("idle", shared.append)
    assert not ended.result.success
    whole = together(shared)
    assert whole.usd is not None
    assert whole.wasted_usd == whole.usd > 0


# --- Dagster's history ---------------------------------------------------------------------------


def test_a_history_that_takes_no_bill_fails_no_step(bench, cloud, monkeypatch):
    cloud.behave(step_minutes=60, speed=FAST)
    real = dg.DagsterInstance.report_engine_event

    def report(self, message, *args, **kwargs):
        if " cost " in message:
            raise sqlite3.OperationalError("database is locked")
        return real(self, message, *args, **kwargs)

    monkeypatch.setattr(dg.DagsterInstance, "report_engine_event", report)
    ended = costed(bench, bench.request("unwritten", timeout_s=40_000.0))
    assert ended.result.success
    assert ended.told == []
    assert ended.made["cost/usd"].value > 2 * NODE
    assert any(line.startswith("unwritten: cost $0.") for line in bench.told)


def outcomes(engine: Engine, metadata, *, fails: bool):
    """How a step ends of which the history has no bill: told by its materialisation, its failure,
    or, if `metadata` is None, by nothing."""

    @dg.op(name="two_steps__step_1", out={})
    def step(context):
        if metadata is not None and not fails:
            context.log_event(dg.AssetMaterialization("made", metadata=metadata))
        if fails:
            raise dg.Failure("no", metadata=metadata)

    @dg.job
    def run():
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        ended = run.execute_in_process(instance=instance, raise_on_error=False)
        return list(
            followed(
                settled(engine.value),
                PlannedRun(("step_1",), {}),
                ended.all_events,
                instance,
                run_id=ended.run_id,
                started=lambda _step, _partition: None,
                stopped=lambda: False,
            )
        )


@pytest.mark.parametrize("fails", [True, False])
def test_a_step_that_has_started_and_has_no_bill_has_an_unknown_cost(fails):
    (ended,) = outcomes(Engine.emr, None, fails=fails)
    assert ended.bill is None
    outcome = Outcome(ended.ending, "emr", "full", "small", "two_steps", "0", (ended,))
    assert outcome.cost_usd is None
    assert list(cost_lines(outcome)) == ["cost not known: nothing is told of step_1"]
    whole = replace(outcome, shared=Bill()).bill
    assert whole is not None
    assert whole.usd is None
    assert whole.unpriced == ("the cost of step_1",)
    (ended,) = outcomes(Engine.pyspark, None, fails=fails)
    assert ended.bill == Bill()  # nothing is rented


@pytest.mark.parametrize("fails", [True, False])
def test_a_bill_that_only_the_asset_or_the_failure_tells_counts(fails):
    known = Bill(unpriced=("something",))
    metadata = {"cost/bill": dg.MetadataValue.json(known.as_json())}
    (ended,) = outcomes(Engine.emr, metadata, fails=fails)
    assert ended.bill == known
