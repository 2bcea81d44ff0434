"""The steps of a launch share instances through pools, which end with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ascii_hydra.engines.databricks import pools
from ascii_hydra.engines.databricks.databricks_request import POOL
from ascii_hydra.engines.databricks.pools import close_shared
from tests.databricks.conftest import CLUSTER, NODE, REFUSED, cluster_of, fault

CREATE, DELETE = "databricks:instance-pools/create", "databricks:instance-pools/delete"


def pooled(bench, name):
    """A request whose cluster takes its instances from its launch's pool."""
    instances = ("node_type_id", "aws_attributes")
    spec = {key: one for key, one in CLUSTER.items() if key not in instances}
    pool = {
        "instance_pool_name": "ascii_hydra tests <launch>",
        "node_type_id": NODE,
        "min_idle_instances": 0,
        "idle_instance_autotermination_minutes": 10_000,
        "aws_attributes": {"availability": "ON_DEMAND"},
    }
    task = {"new_cluster": {**spec, "instance_pool_id": POOL}}
    return bench.request(name, task=task, pools={POOL: pool})


def test_the_steps_of_a_launch_share_a_pool(bench, cloud):
    cloud.behave(speed=100)  # 100 s are a second of a busy machine
    client = bench.client(launch_id="together")
    took = []
    for name in ("first", "second"):
        ended = bench.run(pooled(bench, name), client)
        assert ended.green, ended.cause
        (run,) = cloud.runs(f"tests/{name} ")
        took.append(run["tasks"][0]["setup_duration"])
        assert cluster_of(run)
    assert cloud.calls(CREATE) == 1
    assert took[1] < took[0] - 100_000
    assert bench.said("first: makes the launch's pool")
    assert bench.said("second: uses the launch's pool")
    (pool,) = cloud.alive()
    assert close_shared("elsewhere") == ()
    assert cloud.alive() == [pool]
    assert close_shared("together") == ()
    assert cloud.alive() == []


def test_one_pool_for_two_steps_at_once(bench, cloud):
    cloud.behave(REFUSED)
    client = bench.client(launch_id="at once")
    wanted = [pooled(bench, "left"), pooled(bench, "right")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: bench.run(one, client), wanted))
    assert cloud.calls(CREATE) == 1


@pytest.mark.parametrize("effect", ["reply_lost", "server_error", "throttled"])
def test_a_pool_is_made_once_whatever_the_network_does(bench, cloud, effect):
    cloud.behave(fault(CREATE, effect), REFUSED)
    ended = bench.run(pooled(bench, "lost"), bench.client(launch_id=effect))
    assert "Databricks refuses its cluster" in ended.cause
    assert len(cloud.api.pools()) == 1


def test_a_pool_that_a_killed_process_has_left_is_used(bench, cloud):
    cloud.behave(REFUSED)
    bench.run(pooled(bench, "before"), bench.client(launch_id="same"))
    forgotten = dict(pools._POOLS)
    pools._POOLS.clear()
    try:
        bench.run(pooled(bench, "after"), bench.client(launch_id="same"))
        assert cloud.calls(CREATE) == 1
    finally:
        pools._POOLS.update(forgotten)


def test_a_pool_that_is_refused_is_the_cause(bench, cloud):
    cloud.behave(fault(CREATE, "refused", message="You may not create pools."))
    ended = bench.run(pooled(bench, "denied"))
    assert "denied could not be run: PERMISSION_DENIED: You may not create pools" in ended.cause
    assert cloud.calls("submit") == 0


def test_a_pool_that_cannot_be_deleted_is_told(bench, cloud):
    cloud.behave(fault(DELETE, "refused", code="INVALID_STATE", message="No."), REFUSED)
    bench.run(pooled(bench, "stuck"), bench.client(launch_id="stuck"))
    (pool,) = cloud.api.pools()
    (told,) = close_shared("stuck")
    assert told.command == f"databricks instance-pools delete {pool['instance_pool_id']}"
    assert "given back after" in told.reason
    cloud.api.call(
        "POST",
        "/api/2.0/instance-pools/delete",
        body={"instance_pool_id": pool["instance_pool_id"]},
    )
