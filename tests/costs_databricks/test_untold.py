"""What nobody tells, and what could not be ended, is named and never $0; and what is no start-up of
a cluster is not told as one."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from ascii_hydra.costs.expected import Assumed, Wanted, expected
from ascii_hydra.costs.ledger import samples
from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.databricks import pools
from ascii_hydra.engines.databricks.client import DatabricksClient
from ascii_hydra.engines.databricks.cluster_account import Account
from ascii_hydra.engines.databricks.pools import close_shared
from ascii_hydra.engines.databricks.used import used
from tests.costs_databricks.conftest import EBS_USD_H, OWN_GIB, usd
from tests.costs_databricks.test_ends import pooled
from tests.databricks.conftest import GOOD, NODE, Bench, altered, fault, request
from tests.waiting import until

DELETE = "databricks:instance-pools/delete"
IDLE_USD_H = 0.226 + OWN_GIB * EBS_USD_H
SHORT, LONG = ({"step_minutes": one, "speed": 20_000} for one in (600, 6000))


def ended(cloud, name):
    """End what a test has left on purpose."""
    cloud.behave(speed=100_000)
    for one in cloud.runs(f"tests/{name} "):
        cloud.api.cancel(int(one["run_id"]))
    until(lambda: cloud.alive() == [])


@pytest.mark.parametrize("effect", ["refused", "server_error"])
def test_a_run_that_is_never_told_is_billed_as_asked_for(till, cloud, effect):
    cloud.behave(fault("get", effect, times=9999), **LONG)
    began = cloud.clock.now()
    billed = till.stopped(till.on(effect), lambda: cloud.calls("get"))
    most_s = cloud.clock.now() - began
    ended(cloud, effect)
    (only,) = billed.history
    (run,) = cloud.runs(f"tests/{effect} ")
    assert only.usd is None
    assert only.unpriced == (f"what run {run['run_id']} costs until it ends",)
    assert any("Databricks tells nothing of the run" in one for one in only.assumed)
    # Since the submission, which is an upper estimate.
    assert 0 < only.known_usd <= usd(NODE, count=2, rented_s=most_s, charged_s=most_s)
    assert only.wasted_usd == only.known_usd


@pytest.mark.parametrize(
    ("task", "lacking"),
    [
        pytest.param({"environment_key": "step"}, "serverless DBU", id="serverless"),
        pytest.param({"existing_cluster_id": "c"}, "the instances of the cluster c", id="existing"),
    ],
)
def test_a_run_that_is_never_told_is_named(task, lacking):
    asked = request("http://localhost", "unseen", GOOD, task=task)
    account = Account(1000.0, 0.0, {}, {}, None, untold="Databricks tells nothing of the run")
    usage = used(asked, account, wasted=True).usage
    (named,) = usage.not_counted
    assert lacking in named
    assert usage.instances == ()


def test_an_odd_reply_is_no_reason_for_a_step_to_fail(till, cloud):
    cloud.behave(step_minutes=1)

    def alter(path, reply):
        return {**reply, "events": [["odd"]]} if path.endswith("clusters/events") else reply

    with altered(cloud.url, alter) as url:
        billed = till.run(replace(till.on("odd"), workspace=Workspace(url)))
    assert billed.green
    assert billed.bill.unpriced == ()
    assert billed.bill.usd > 0
    (assumed,) = [one for one in billed.bill.assumed if "it is not told" in one]
    assert "clusters/events" in assumed


def test_what_a_run_costs_that_could_not_be_ended_is_named(till, cloud):
    cloud.behave(fault("cancel", "refused", times=9999), **LONG)
    billed = till.stopped(till.on("stubborn"), lambda: till.said("is RUNNING"))
    (run,) = cloud.runs("tests/stubborn ")
    assert not billed.green
    (only,) = billed.history
    assert only.usd is None
    assert only.known_usd > 0
    assert only.unpriced == (f"what run {run['run_id']} costs until it ends",)
    ended(cloud, "stubborn")


class StoppedFirst:
    """Stops the first try as soon as its run executes, and lets it be retried; the run can be
    cancelled only then."""

    def __init__(self, till):
        self._till = till
        self._stop = threading.Event()

    def run(self, *, context, request):
        if context.retry_number:
            return self._till.client().run(context=context, request=request)
        client = DatabricksClient(clock=self._till.cloud.clock, stop=self._stop, tell=self._heard)
        try:
            return client.run(context=context, request=request)
        except DagsterExecutionInterruptedError:
            self._till.cloud.behave(**SHORT)
            raise dg.RetryRequested from None

    def _heard(self, line):
        if "is RUNNING" in line:
            self._stop.set()


def test_what_a_retry_finds_and_ends_is_named(till, cloud):
    """Nobody has looked at it since the attempt that had left it."""
    cloud.behave(fault("cancel", "refused", times=9999), **SHORT)
    billed = till.run(till.on("found"), StoppedFirst(till))
    assert billed.green
    _, first = (run["run_id"] for run in cloud.runs("tests/found "))
    left = f"what run {first} costs until it ends"
    assert till.said(f"ends run {first}, an earlier attempt's")
    assert [one.unpriced for one in billed.history] == [
        (left,),
        (left, f"run {first}, which an earlier attempt had left"),
    ]


def test_a_driver_whose_pool_is_not_told_is_no_worker():
    asked = request("http://localhost", "guest", GOOD, task={"existing_cluster_id": "c"})
    cluster = {"instance_pool_id": "p", "driver_instance_pool_id": "d", "num_workers": 2}
    task = {
        "start_time": 1,
        "setup_duration": 100_000,
        "execution_duration": 3_600_000,
        "end_time": 3_700_001,
        "cluster_instance": {"cluster_id": "c"},
        "existing_cluster_id": "c",
    }
    pool = {"node_type_id": NODE, "aws_attributes": {"availability": "ON_DEMAND"}}
    account = Account(4000.0, 0.0, {"tasks": [task]}, cluster, (), pool=pool)
    usage = used(asked, account, wasted=False).usage
    assert [(one.role, one.count) for one in usage.instances] == [("worker", 2)]
    assert usage.not_counted == ("the driver of the cluster c, of a type that is not told",)
    both = replace(account, driver_pool={**pool, "node_type_id": "m5d.2xlarge"})
    usage = used(asked, both, wasted=False).usage
    assert {one.role: one.instance_type for one in usage.instances} == {
        "driver": "m5d.2xlarge",
        "worker": NODE,
    }
    assert usage.not_counted == ()


# --- pools --------------------------------------------------------------------------------------


def test_a_bill_that_fails_keeps_no_pool(till, cloud, monkeypatch):
    cloud.behave(speed=20_000, step_minutes=30)
    client = till.client(launch_id="two")
    for name in ("one", "other"):
        asked = pooled(till, name)
        bodies = {key: {**one, "instance_pool_name": name} for key, one in asked.pools.items()}
        assert till.run(replace(asked, pools=bodies), client).green
    uses, alive = pools.idle_uses, []

    def odd(body, waits):
        alive.append(cloud.alive())
        if body["instance_pool_name"] == "one":
            raise KeyError("odd")
        return uses(body, waits)

    monkeypatch.setattr(pools, "idle_uses", odd)
    bills = []
    assert close_shared("two", bills.append) == ()
    assert alive == [[], []]
    broken, whole = bills
    assert broken.usd is None
    assert "pool one, whose bill could not be made (KeyError" in broken.unpriced[0]
    assert whole.usd > 0


def test_instances_of_a_pool_that_could_not_be_deleted_wait_until_they_are_idle_for_too_long(
    till, cloud
):
    cloud.behave(fault(DELETE, "refused", code="INVALID_STATE", message="No."), step_minutes=30)
    assert till.run(pooled(till, "kept"), till.client(launch_id="kept")).green
    (pool,) = cloud.api.pools()
    bills = []
    (told,) = close_shared("kept", bills.append)
    assert "could not be deleted" in told.reason
    cloud.behave()
    body = {"instance_pool_id": pool["instance_pool_id"]}
    cloud.api.call("POST", "/api/2.0/instance-pools/delete", body=body)
    (shared,) = bills
    assert shared.usd == pytest.approx(2 * 10_000 / 60 * IDLE_USD_H)


# --- start-ups ----------------------------------------------------------------------------------


def test_a_plan_learns_start_ups_from_clusters_that_a_step_has_started(cloud, host, tmp_path):
    cloud.behave(step_minutes=1)
    bench, startup = Bench(cloud), Assumed(270.0, "assumed")
    asked = {
        "serverless": bench.request("serverless", task={"environment_key": "step"}),
        "existing": bench.request("existing", task={"existing_cluster_id": host}),
        "pooled": pooled(bench, "pooled"),
    }
    wanted = Wanted("rehearsal", "tests", "own", "small_dev_sample_s3", "databricks", "small", 8.0)

    def learnt(requests):
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            for one in requests:
                assert bench.run(one, bench.client(launch_id="learns"), instance).green
            return samples(Path(instance.root_directory))

    without = learnt(asked.values())
    assert {one.step: one.startup_s for one in without} == dict.fromkeys(asked, 0.0)
    assert expected(without, wanted, startup).startup_s == 270.0
    after = learnt([bench.request("own")])
    made = expected(after, wanted, startup)
    assert made.startup_source == "the last run on databricks"
    assert made.startup_s > 210
    close_shared("learns")
