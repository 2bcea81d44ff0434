"""Answers that are broken on their way: never believed, and nothing paid for is left for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from botocore.exceptions import ClientError

from ascii_hydra.engines.aws_errors import words
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.s3_store import S3Store
from tests.asset_runs import Ended
from tests.cloud_proxy import HTML, CloudProxy, Rule, Waits, body, cut, proxy_of, refusal
from tests.costs_emr.conftest import costed
from tests.emr.conftest import ROOT, Bench, Cloud, request
from tests.emr.test_submission import TOKEN, filled
from tests.rehearsal_cloud import GOOD, place_of
from tests.waiting import until

LATIN_1 = "<p>für später</p>".encode("latin-1")
# So that a call of a busy machine is not longer than the patience with it.
SLOW = 100.0
ODD = [b"null", b"[1, 2]", LATIN_1, HTML, b"{}", b""]
FLEET = {"InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}], "TargetOnDemandCapacity": 1}
FLEETS = {
    "InstanceFleets": [{**FLEET, "InstanceFleetType": kind} for kind in ("MASTER", "CORE")],
    "KeepJobFlowAliveWhenNoSteps": False,
    "TerminationProtected": False,
}


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[CloudProxy]:
    with proxy_of(cloud.url) as made:
        yield made


def ran(bench: Bench, proxy: CloudProxy, name: str, *rules: Rule, source: str = GOOD) -> Ended:
    """A step that is run through the proxy."""
    proxy.behave(*rules)
    return bench.run(request(place_of(proxy.url), name, source))


def emr_of(proxy: CloudProxy, clock: Waits | None = None) -> Emr:
    return Emr(place_of(proxy.url), clock or Waits(), threading.Event())


# --- 429 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ODD)
def test_too_many_requests_are_borne_with_whatever_the_body_is(
    proxy: CloudProxy, content: bytes
) -> None:
    clock = Waits()
    proxy.behave(refusal("ListClusters", 429, content, times=3))
    assert isinstance(emr_of(proxy, clock).clusters(), list)
    assert len(clock.s) == 3


def test_a_throttled_watch_is_no_reason_to_give_up_a_run(
    bench: Bench, cloud: Cloud, proxy: CloudProxy
) -> None:
    cloud.behave(speed=SLOW)
    throttled = refusal("ListSteps", 429, HTML, after=2, times=3)
    ended = ran(bench, proxy, "throttled", throttled)
    assert ended.green, ended.cause
    assert throttled.effects == 3
    (told,) = [line for line in ended.logged if "asking again" in line]
    assert "(HTTP 429 Too Many Requests, and AWS gives no reason)" in told


@pytest.mark.parametrize("content", [b"", HTML])
def test_stopping_through_a_throttling_gateway_leaves_nothing(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, content: bytes
) -> None:
    cloud.behave(provisioning_seconds=36_000, speed=SLOW)
    throttled = refusal("TerminateJobFlows", 429, content, times=3)
    proxy.behave(throttled)
    stop = threading.Event()

    def stop_later() -> None:
        until(lambda: any("is STARTING" in line for line in bench.told))
        stop.set()

    thread = threading.Thread(target=stop_later)
    thread.start()
    ended = bench.run(request(place_of(proxy.url), "stopped", GOOD), bench.client(stop=stop))
    thread.join()
    assert "stopped was stopped" in ended.cause
    assert throttled.effects == 3
    assert cloud.alive() == []
    assert not any("may still be running" in line for line in ended.logged)


def test_a_throttled_submission_is_made_once(bench: Bench, cloud: Cloud, proxy: CloudProxy) -> None:
    cloud.behave(speed=SLOW)
    ended = ran(bench, proxy, "queued", refusal("RunJobFlow", 429, HTML, times=2))
    assert ended.green, ended.cause
    assert cloud.calls("RunJobFlow") == 1
    assert cloud.calls("ListClusters") == 0  # certainly not carried out, so nothing is looked up


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # of the replies: Retry-After is held against it


def dated(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("20", 20), (dated(25), 25), ("3600", 60), ("Fri, 01 Jan 2100 00:00:00 GMT", 60)]
    + [(odd, None) for odd in ("-3", "0", "soon", "1e3", "²", dated(-100), "Mon, 99 Foo")],
)
def test_an_answer_says_how_long_to_wait(
    proxy: CloudProxy, header: str, wait_s: float | None
) -> None:
    """Within reason: nonsense is not heeded, and a cluster is not left alone for an hour."""
    clock, headers = Waits(), (("Retry-After", header), ("Date", dated(0)))
    proxy.behave(refusal("ListClusters", 429, HTML, *headers))
    emr_of(proxy, clock).clusters()
    (waited_s,) = clock.s
    assert waited_s == wait_s if wait_s else waited_s <= 1.0


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("content", [HTML, LATIN_1, b"<!DOCTYPE html><p>" + b"x" * 5000])
def test_a_page_of_a_gateway_is_told_in_a_sentence(
    proxy: CloudProxy, status: int, content: bytes
) -> None:
    emr, store = emr_of(proxy), S3Store(place_of(proxy.url))
    proxy.behave(refusal(".", status, content, times=99))
    for call in (
        lambda: emr.call("list_clusters"),
        lambda: store.read(f"{ROOT}/x"),
        lambda: store.names(ROOT),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert words(raised.value).startswith(f"HTTP {status} ")
        assert words(raised.value).endswith(", and AWS gives no reason")


# --- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("content", [*ODD, b'{"Clusters": {"a": 1}}', b'{"Clusters": [1]}'])
def test_what_is_no_answer_of_emr_is_asked_again(proxy: CloudProxy, content: bytes) -> None:
    clock = Waits()
    proxy.behave(body("ListClusters", content, times=2))
    assert isinstance(emr_of(proxy, clock).clusters(), list)
    assert len(clock.s) == 2


def test_nothing_is_not_believed_before_emr_says_so(cloud: Cloud, proxy: CloudProxy) -> None:
    """An empty list is an answer, and is sent as one."""
    cloud.behave(provisioning_seconds=36_000, speed=SLOW)
    emr = emr_of(proxy)
    made = cloud.emr.run_job_flow(**request(cloud.place, "bare", GOOD).run_job_flow)["JobFlowId"]
    try:
        assert emr.clusters(created_after=time.time() + 1e9) == []
        assert emr.all_steps(made, ["FAILED"]) == []
    finally:
        cloud.emr.terminate_job_flows(JobFlowIds=[made])


@pytest.mark.parametrize(
    ("operation", "after"),
    [(one, after) for one in ("DescribeCluster", "ListSteps") for after in (0, 1)]
    + [(one, 0) for one in ("ListInstances", "ListInstanceGroups", "ListInstanceFleets")],
)
def test_a_cut_answer_changes_neither_the_run_nor_its_bill(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, operation: str, after: int
) -> None:
    cloud.behave(speed=SLOW)
    broken = cut(operation, after=after)
    proxy.behave(broken)
    flow = {"Instances": FLEETS} if operation == "ListInstanceFleets" else None
    ended = costed(bench, request(place_of(proxy.url), "cut", GOOD, flow=flow))
    assert ended.result.success
    assert broken.effects == 1
    assert cloud.calls("RunJobFlow") == 1
    assert (ended.bill.usd or 0) > 0.02  # two m5.xlarge for some minutes
    assert not ended.bill.estimated


def test_instances_that_are_never_told_are_not_free(
    bench: Bench, cloud: Cloud, proxy: CloudProxy
) -> None:
    cloud.behave(speed=SLOW)
    proxy.behave(body("ListInstances", b"{}", times=10_000))
    ended = costed(bench, request(place_of(proxy.url), "untold", GOOD))
    assert ended.result.success
    assert ended.bill.usd != 0
    assert ended.bill.estimated or ended.bill.usd is None


def test_a_cut_list_of_clusters_is_no_reason_for_a_second_one(
    bench: Bench, cloud: Cloud, proxy: CloudProxy
) -> None:
    """In a re-execution, which looks for what an earlier attempt has left."""
    cloud.behave(provisioning_seconds=36_000, speed=SLOW)
    asked = request(place_of(proxy.url), "left_alone", GOOD)
    S3Store(cloud.place).write(f"{ROOT}/pipes/left_alone/context.json", b"{}")
    jobs = [Job(Emr(asked.place, cloud.clock, threading.Event()), "launch", print) for _ in "ab"]
    jobs[0].submit(filled(asked))
    broken = [cut("ListClusters", times=2), cut("ListSteps")]
    proxy.behave(*broken)
    assert jobs[1].adopt(TOKEN, asked) == f"{ROOT}/pipes/left_alone"
    assert [one.effects for one in broken] == [2, 1]
    assert jobs[1].cluster_id == jobs[0].cluster_id
    assert jobs[1].end() == ()


@pytest.mark.parametrize("content", [*ODD, None])
def test_a_submission_that_is_answered_with_nonsense_is_looked_up(
    bench: Bench, cloud: Cloud, proxy: CloudProxy, content: bytes | None
) -> None:
    broken = cut("RunJobFlow") if content is None else body("RunJobFlow", content)
    cloud.behave({"target": "cluster", "effect": "validation_error"}, speed=SLOW)  # no process
    ended = ran(bench, proxy, "answered", broken)
    assert "EMR refuses its cluster" in ended.cause
    assert broken.effects == 1
    assert cloud.calls("RunJobFlow") == 1


def test_an_answer_of_another_kind_while_a_cluster_is_ended(
    bench: Bench, cloud: Cloud, proxy: CloudProxy
) -> None:
    cloud.behave(provisioning_seconds=36_000, speed=SLOW)
    emr = Emr(place_of(proxy.url), cloud.clock, threading.Event())
    job = Job(emr, "launch", print)
    job.submit(filled(request(emr.place, "ending", GOOD)))
    proxy.behave(body("TerminateJobFlows", b"[1]"), cut("DescribeCluster"))
    assert job.end() == ()
    assert cloud.alive() == []


# --- S3 ------------------------------------------------------------------------------------------


def test_a_cut_message_is_read_again(bench: Bench, cloud: Cloud, proxy: CloudProxy) -> None:
    cloud.behave(speed=SLOW)
    chunks = cut(r"GET /.*/messages/\d+\.json", times=2)
    ended = ran(bench, proxy, "heard", chunks)
    assert ended.green, ended.cause
    assert chunks.effects == 2
    assert ended.materialized["me"] == "heard"


@pytest.mark.parametrize("how", ["read", "names"])
def test_a_cut_object_of_s3_is_an_error(cloud: Cloud, proxy: CloudProxy, how: str) -> None:
    S3Store(cloud.place).write(f"{ROOT}/pipes/cut/one", b"x" * 1000)
    store = S3Store(place_of(proxy.url))
    proxy.behave(cut("GET /", times=1))
    uri = f"{ROOT}/pipes/cut/one" if how == "read" else f"{ROOT}/pipes/cut"
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of several kinds
        getattr(store, how)(uri)
    fault = store.fault(raised.value)
    assert fault is not None
    assert fault.transient
    assert getattr(store, how)(uri) in (b"x" * 1000, ["one"])
