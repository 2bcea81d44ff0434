"""The rehearsal tells of clusters what Databricks tells, in the SDK's own types."""

from __future__ import annotations

import pytest
from databricks.sdk.service.compute import (
    ClusterDetails,
    EventDetailsCause,
    EventType,
    GetEventsOrder,
)

from ascii_hydra.databricks.workspace import workspace_client
from tests.databricks.conftest import CLUSTER, NODE, fault
from tests.waiting import until

SPOT = {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 2, "zone_id": "auto"}


@pytest.fixture
def clusters(cloud):
    return workspace_client(cloud.workspace).clusters


@pytest.fixture
def made(cloud, clusters):
    """Makes clusters of their own and lets them start; they are gone after the test."""
    ids = []

    def make(**changes) -> ClusterDetails:
        spec = {**CLUSTER, "autotermination_minutes": 10_000, **changes}
        spec = {key: one for key, one in spec.items() if one is not None}
        reply = cloud.api.call("POST", "/api/2.1/clusters/create", body=spec)
        ids.append(reply["cluster_id"])
        until(lambda: clusters.get(ids[-1]).state.value == "RUNNING")
        return clusters.get(ids[-1])

    yield make
    for one in ids:
        clusters.permanent_delete(one)


def test_every_node_says_whether_it_is_on_spot(made):
    told = made(num_workers=3, aws_attributes=SPOT)
    assert told.driver.node_aws_attributes.is_spot is False
    assert [one.node_aws_attributes.is_spot for one in told.executors] == [False, True, True]
    assert {one.start_timestamp for one in (told.driver, *told.executors)} == {told.start_time}


def test_nodes_fall_back_to_on_demand(made, cloud):
    cloud.behave(fault("cluster", "no_capacity", code="SPOT"))
    told = made(num_workers=3, aws_attributes=SPOT)
    assert not any(one.node_aws_attributes.is_spot for one in told.executors)


def test_a_terminated_cluster_is_told_without_its_nodes(made, clusters):
    told = made()
    assert told.driver is not None
    clusters.delete(told.cluster_id)
    until(lambda: clusters.get(told.cluster_id).state.value == "TERMINATED")
    ended = clusters.get(told.cluster_id)
    assert ended.driver is None
    assert not ended.executors
    assert ended.terminated_time > ended.start_time
    assert ended.node_type_id == ended.driver_node_type_id == NODE


def test_events_come_in_pages_and_in_a_span_of_time(made, clusters):
    cluster_id = made().cluster_id
    ascending = list(clusters.events(cluster_id, order=GetEventsOrder.ASC, limit=1))
    assert [one.type for one in ascending] == [EventType.CREATING, EventType.RUNNING]
    assert ascending[1].details.current_num_workers == 1
    until_then = ascending[0].timestamp
    (first,) = clusters.events(cluster_id, end_time=until_then)
    assert first.type is EventType.CREATING
    descending = list(clusters.events(cluster_id, limit=1, end_time=until_then * 2))
    assert [one.type for one in descending] == [EventType.RUNNING, EventType.CREATING]


def test_a_cluster_with_autoscale_grows_while_a_step_executes_and_then_shrinks(
    made, cloud, clusters, till
):
    cloud.behave(speed=20_000, step_minutes=20)
    cluster_id = made(num_workers=None, autoscale={"min_workers": 1, "max_workers": 3}).cluster_id
    assert till.run(till.request("grows", task={"existing_cluster_id": cluster_id})).green
    until(lambda: clusters.get(cluster_id).num_workers == 1)
    told = list(clusters.events(cluster_id, order=GetEventsOrder.ASC))
    found = [
        (one.type, one.details.current_num_workers, one.details.target_num_workers)
        for one in told
        if one.details.current_num_workers is not None
    ]
    assert found == [
        (EventType.RUNNING, 1, 1),
        (EventType.RESIZING, 1, 3),
        (EventType.UPSIZE_COMPLETED, 3, 3),
        (EventType.RESIZING, 3, 1),
    ]
    (grows, _) = [one for one in told if one.type is EventType.RESIZING]
    assert grows.details.cause is EventDetailsCause.AUTOSCALE


def test_a_pool_gets_back_what_a_cluster_shrinks_by(made, cloud, till):
    cloud.behave(speed=20_000, step_minutes=20)
    pools = "/api/2.0/instance-pools"
    body = {
        "instance_pool_name": "shrinks",
        "node_type_id": NODE,
        "aws_attributes": {"availability": "ON_DEMAND"},
        "idle_instance_autotermination_minutes": 10_000,
    }
    pool = cloud.api.call("POST", f"{pools}/create", body=body)["instance_pool_id"]
    cluster_id = made(
        num_workers=None,
        autoscale={"min_workers": 1, "max_workers": 3},
        instance_pool_id=pool,
        node_type_id=None,
        aws_attributes=None,
    ).cluster_id
    assert till.run(till.request("shrinks", task={"existing_cluster_id": cluster_id})).green

    def stats():
        told = cloud.api.pool(pool)["stats"]
        return told["used_count"], told["idle_count"]

    until(lambda: stats() == (2, 2))
    cloud.api.call("POST", "/api/2.1/clusters/delete", body={"cluster_id": cluster_id})
    until(lambda: stats() == (0, 4))
    cloud.api.call("POST", f"{pools}/delete", body={"instance_pool_id": pool})
