"""What clusters/get and clusters/events tell becomes instance time, to the second."""

from __future__ import annotations

from collections import Counter

import pytest

from ascii_hydra.engines.databricks.cluster_account import Account, Nodes
from ascii_hydra.engines.databricks.cluster_life import (
    cluster_life,
    existing_cluster_life,
    times_of,
)
from ascii_hydra.engines.databricks.planned_usage import cluster_as_asked
from ascii_hydra.engines.databricks.pool_idle import Lease, idle_seconds
from ascii_hydra.engines.databricks.used import used
from tests.databricks.conftest import CLUSTER, GOOD, request

SPEC = {
    "node_type_id": "m5d.xlarge",
    "num_workers": 2,
    "aws_attributes": {"availability": "ON_DEMAND"},
}
SPOT = {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1}


def run(*, start=0, setup=300, execution=3600, cleanup=10):
    """A run that has ended; in seconds."""
    task = {
        "start_time": start * 1000 + 1,
        "setup_duration": setup * 1000,
        "execution_duration": execution * 1000,
        "cleanup_duration": cleanup * 1000,
        "end_time": (start + setup + execution + cleanup) * 1000,
        "cluster_instance": {"cluster_id": "c"},
    }
    return {"start_time": task["start_time"], "tasks": [task]}


def event(at, kind, **details):
    return {"timestamp": at * 1000, "type": kind, "details": details}


def node(spot, start=0.001):
    return {"node_aws_attributes": {"is_spot": spot}, "start_timestamp": start * 1000}


def life(events, *, nodes=(), spec=SPEC, of=cluster_life, told=None):
    cluster = {**spec, "start_time": 1, "terminated_time": 3_910_000, **(told or {})}
    account = Account(4000.0, 0.0, run(), cluster, tuple(events), tuple(nodes))
    found = of(account, cluster_as_asked(spec, {}), times_of(account))
    alike = Counter(
        (one.role, one.market.value, *(round(s) for s in (one.rented_s, one.charged_s)))
        for one in found.instances
    )
    return dict(alike), found.assumed


USUAL = [
    event(0, "CREATING"),
    event(250, "RUNNING", current_num_workers=2),
    event(3900, "TERMINATING"),
]


@pytest.mark.parametrize(
    ("changes", "workers"),
    [
        pytest.param([], {(3910, 3650): 2}, id="fixed"),
        pytest.param(
            [
                event(1000, "RESIZING", current_num_workers=2, target_num_workers=4),
                event(1200, "UPSIZE_COMPLETED", current_num_workers=4),
            ],
            {(3910, 3650): 2, (2910, 2700): 2},
            id="grown",
        ),
        pytest.param(
            [
                event(1000, "RESIZING", current_num_workers=2, target_num_workers=4),
                event(1200, "UPSIZE_COMPLETED", current_num_workers=3),
            ],
            {(3910, 3650): 2, (2910, 2700): 1, (200, 0): 1},
            id="grown_by_less_than_was_asked_for",
        ),
        pytest.param(
            [event(1000, "RESIZING", current_num_workers=2, target_num_workers=1)],
            {(3910, 3650): 1, (1000, 750): 1},
            id="shrunk",
        ),
        pytest.param(
            [
                event(1000, "NODES_LOST", current_num_workers=0),
                event(1010, "RESIZING", current_num_workers=0, target_num_workers=2),
                event(1200, "UPSIZE_COMPLETED", current_num_workers=2),
            ],
            {(3900, 3450): 2},
            id="lost_and_replaced",
        ),
        pytest.param([event(1000, "RESIZING")], {(3910, 3650): 2}, id="says_nothing"),
    ],
)
def test_the_number_of_workers_is_that_of_the_events(changes, workers):
    found, _ = life([*USUAL[:2], *changes, USUAL[2]])
    driver = {("driver", "on demand", 3910, 3650): 1}
    expected = {("worker", "on demand", *times): count for times, count in workers.items()}
    assert found == driver | expected


def test_the_market_of_each_worker_is_that_of_the_look_nearest_in_time():
    """One of two workers on spot was lost in between, and replaced by one on demand."""
    spec = {**SPEC, "aws_attributes": SPOT}
    nodes = [
        Nodes(1000.0, node(spot=False), (node(spot=True), node(spot=True))),
        Nodes(2000.0, node(spot=False), (node(spot=True), node(spot=False))),
    ]
    found, assumed = life(USUAL, nodes=nodes, spec=spec)
    assert found == {
        ("driver", "on demand", 3910, 3650): 1,
        ("worker", "spot", 3910, 3650): 1,
        ("worker", "spot", 1500, 1250): 1,
        ("worker", "on demand", 2410, 2400): 1,
    }
    assert assumed == ()


def test_workers_on_spot_that_nobody_has_seen_are_as_asked_for():
    spec = {**SPEC, "num_workers": 3, "aws_attributes": {**SPOT, "first_on_demand": 2}}
    events = [USUAL[0], event(250, "RUNNING", current_num_workers=3), USUAL[2]]
    found, assumed = life(events, spec=spec)
    assert found["worker", "spot", 3910, 3650] == 2
    assert found["worker", "on demand", 3910, 3650] == 1
    assert any("workers on spot as asked for" in one for one in assumed)


def test_instances_are_paid_from_their_nodes_start():
    """EC2 had no capacity for 100 s."""
    workers = (node(spot=False, start=101), node(spot=False, start=120))
    found, assumed = life(USUAL, nodes=[Nodes(300.0, node(spot=False, start=100), workers)])
    assert found == {
        ("driver", "on demand", 3810, 3650): 1,
        ("worker", "on demand", 3810, 3650): 2,
    }
    assert assumed == ()


def test_an_existing_cluster_of_a_size_that_changed_before():
    events = [
        event(-500, "RUNNING", current_num_workers=2),
        event(-400, "UPSIZE_COMPLETED", current_num_workers=5),
        event(1300, "RESIZING", current_num_workers=5, target_num_workers=2),
    ]
    found, _ = life(events, of=existing_cluster_life)
    assert found == {
        ("driver", "on demand", 3600, 3600): 1,
        ("worker", "on demand", 3600, 3600): 2,
        ("worker", "on demand", 1000, 1000): 3,
    }


def test_an_existing_cluster_that_the_run_started():
    events = [event(10, "STARTING"), event(250, "RUNNING", current_num_workers=2)]
    _, assumed = life(events, of=existing_cluster_life)
    assert any("was started for this run" in one for one in assumed)


@pytest.mark.parametrize(
    ("details", "gib_s", "lacking"),
    [
        pytest.param(
            {"disk_size": 250 * 1024**3, "previous_disk_size": 150 * 1024**3},
            100 * (3910 - 1000),
            0,
            id="told",
        ),
        pytest.param({}, 0, 1, id="not_told"),
    ],
)
def test_disks_that_grew(details, gib_s, lacking):
    events = [*USUAL[:2], event(1000, "EXPANDED_DISK", **details), USUAL[2]]
    cluster = {**SPEC, "start_time": 1, "terminated_time": 3_910_000}
    account = Account(4000.0, 0.0, run(), cluster, tuple(events))
    asked = request("http://localhost", "grew", GOOD, task={"new_cluster": {**CLUSTER, **SPEC}})
    usage = used(asked, account, wasted=False).usage
    own = sum(one.count * one.rented_s * 180 for one in usage.instances)
    every = sum(
        one.count * one.rented_s * sum(disk.gib for disk in one.disks) for one in usage.instances
    )
    assert every - own == pytest.approx(gib_s)
    assert len(usage.not_counted) == lacking


@pytest.mark.parametrize(
    ("leases", "waits"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(0, 100)], [400], id="until_the_pool_is_deleted"),
        pytest.param([(0, 100), (150, 300)], [50, 200], id="taken_again"),
        pytest.param([(0, 100), (50, 200)], [400, 300], id="two_at_once"),
        pytest.param([(0, 10), (450, 460)], [400, 40], id="given_up_and_made_again"),
        pytest.param([(0, 100), (0, 120), (200, 300)], [80, 400, 200], id="the_last_one_first"),
        pytest.param([(0, 500)], [], id="never"),
    ],
)
def test_how_long_instances_wait_in_a_pool(leases, waits):
    found = idle_seconds([Lease(*one) for one in leases], limit_s=400, deleted=500)
    assert sorted(found) == sorted(waits)
