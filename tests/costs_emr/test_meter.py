"""The meter of `launch.budget_usd` while the cloud does not tell, or tells what nobody foresaw."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from botocore.exceptions import EndpointConnectionError

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.engines import budget
from tests.costs_emr.conftest import costed, for_bills, in_thread, with_budget
from tests.costs_emr.test_budget import node_minutes
from tests.waiting import until

HOUR_S, MINUTE_S = 3600.0, 60.0


class LeapingClock:
    """Time passes only while somebody sleeps, at once: from when it runs until `end_s`."""

    def __init__(self, end_s: float) -> None:
        self.now_s, self.end_s = 0.0, end_s
        self.running, self.ended = threading.Event(), threading.Event()

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        if not self.running.is_set():
            self.running.wait()
            return
        if stop.is_set():
            return
        self.now_s += seconds
        if self.now_s >= self.end_s:
            self.ended.set()
            stop.wait()


class Cloud:
    """Tells what is used, if it does, and keeps when it was asked.

    Args:
        clock: its time.
        silent: spans in seconds in which it raises `fault`.
        usd_h: what is used an hour; or, by the time in seconds, what is used until then.
        fault: what it raises.
    """

    def __init__(self, clock, *silent, usd_h=10.0, fault=None) -> None:
        self.clock, self.silent, self.asked_s = clock, silent, list[float]()
        self.used = usd_h if callable(usd_h) else lambda now_s: now_s / HOUR_S * usd_h
        self.fault = fault or budget.UnmeasuredError("j-1: ThrottlingException: Rate exceeded")

    def measure(self) -> Bill:
        now_s = self.clock.now()
        self.asked_s.append(now_s)
        if any(begin <= now_s < end for begin, end in self.silent):
            raise self.fault
        return bill(self.used(now_s))

    @property
    def pauses_s(self) -> list[float]:
        return [after - before for before, after in zip(self.asked_s, self.asked_s[1:])]  # noqa: B905


def bill(usd: float) -> Bill:
    return Bill((BillLine(Part.compute, "x", usd, "USD", 1.0, "a source", "2026"),))


@contextmanager
def metered(cloud: Cloud, limit_usd: float) -> Iterator[tuple[budget.Watch, list[str]]]:
    """A step that is planned to cost $10 an hour, once it was stopped, or the time is over."""
    said: list[str] = []
    clock = cloud.clock

    def planned(elapsed_s: float) -> Bill:
        return bill(10.0 * elapsed_s / HOUR_S)

    with budget.watched(
        "meter",
        "step",
        limit_usd,
        planned=planned,
        clock=clock,
        stop=threading.Event(),
        say=said.append,
    ) as watch:
        budget.measure_by(cloud.measure)
        budget.begun()
        clock.running.set()
        until(lambda: watch.stop.is_set() or clock.ended.is_set())
        yield watch, said
    budget.forget("meter")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (None, "the cloud does not tell what is used (j-1: ThrottlingException: Rate exceeded)"),
        (KeyError("InstanceType"), "what is used cannot be measured (KeyError: 'InstanceType')"),
    ],
)
def test_a_cloud_that_never_tells_leaves_no_budget_unwatched(fault, words):
    cloud = Cloud(LeapingClock(10 * HOUR_S), (0, 10 * HOUR_S), fault=fault)
    with metered(cloud, 1.0) as (watch, said):
        assert watch.reached
        assert watch.fault is None
        # $1 would be spent after 6 minutes, and is not taken as spent before 10.
        assert 10 * MINUTE_S <= cloud.clock.now() <= 12 * MINUTE_S
        assert said == [f"launch.budget_usd=1: {words}; the plan counts as long as this lasts"]
        assert "and as planned where it could not be measured" in watch.sentence("step was stopped")
    assert len(cloud.asked_s) <= 6
    assert min(cloud.pauses_s) >= MINUTE_S


def test_after_the_last_measured_figure_its_rate_counts():
    # $10 an hour, $5 by half past: it is told for 12 minutes only.
    cloud = Cloud(LeapingClock(10 * HOUR_S), (12 * MINUTE_S, 10 * HOUR_S))
    with metered(cloud, 5.0) as (watch, said):
        assert watch.reached
        assert cloud.clock.now() == pytest.approx(30 * MINUTE_S, abs=MINUTE_S)
        assert len(said) == 1


@pytest.mark.parametrize("fault", [None, KeyError("InstanceType")])
def test_a_cloud_that_fails_is_not_asked_more_often_for_it(fault):
    cloud = Cloud(LeapingClock(10 * HOUR_S), (1.0, 10 * HOUR_S), fault=fault)
    with metered(cloud, 1000.0) as (watch, said):
        assert not watch.stop.is_set()
        assert len(said) == 1
    failures_s = cloud.pauses_s[1:]
    assert min(failures_s) >= MINUTE_S
    assert 14 * MINUTE_S <= max(failures_s) <= 16 * MINUTE_S
    assert len(failures_s) < 50


def test_an_occasional_failure_stops_nothing_and_is_not_said():
    """Nine minutes of silence in every twenty; planned was ten times as much as is used."""
    silent = [(begin * MINUTE_S, (begin + 9) * MINUTE_S) for begin in range(1, 180, 20)]
    cloud = Cloud(LeapingClock(3 * HOUR_S), *silent, usd_h=1.0)
    with metered(cloud, 4.0) as (watch, said):
        assert not watch.stop.is_set()
        assert said == []


def test_what_is_measured_counts_again_once_the_cloud_tells():
    """Planned were $10 an hour, of which $0.10 are used."""
    silent = [(0.0, 20 * MINUTE_S), (60 * MINUTE_S, 80 * MINUTE_S)]
    cloud = Cloud(LeapingClock(5 * HOUR_S), *silent, usd_h=0.1)
    with metered(cloud, 6.0) as (watch, said):
        assert not watch.stop.is_set()
        assert len(said) == 1


def test_before_the_plan_stops_a_step_the_cloud_is_asked_once_more():
    # By the plan the money is spent after 16 minutes. Until then it was asked at 10 last, and
    # would be asked at 25 next.
    cloud = Cloud(LeapingClock(HOUR_S), (0.0, 14 * MINUTE_S), usd_h=0.1)
    with metered(cloud, 10.0 * 16 / 60) as (watch, said):
        assert not watch.stop.is_set()
        assert len(said) == 1


def test_a_cluster_that_grows_between_two_looks_is_seen_within_a_minute():
    """Two workers of $5 an hour, with money for two hours; after 61 s they are fifty."""

    def used(now_s: float) -> float:
        return (10.0 * now_s + 240.0 * max(0.0, now_s - 61.0)) / HOUR_S

    cloud = Cloud(LeapingClock(3 * HOUR_S), usd_h=used)
    with metered(cloud, 20.0) as (watch, _):
        assert watch.reached
        assert used(cloud.clock.now()) <= 20.0 + 250.0 / 60
    assert max(cloud.pauses_s) <= MINUTE_S


def test_a_clock_that_is_corrected_backwards_puts_no_look_off():
    clock = LeapingClock(HOUR_S)
    cloud = Cloud(clock)
    clock.now_s = 172_800.0
    one = budget._Metered(clock, lambda _s: bill(0.0), goes_on=False, measure=cloud.measure)
    one.begin()
    one.look()
    clock.now_s = 60.0
    one.look()
    assert len(cloud.asked_s) == 2


# --- in the rehearsal cloud -----------------------------------------------------------------------


def test_a_cluster_whose_instances_emr_never_tells_is_stopped_by_the_plan(
    bench, cloud, monkeypatch
):
    cloud.behave(step_minutes=60, speed=400.0)

    def alter(_told):
        raise EndpointConnectionError(endpoint_url="https://emr")

    for_bills(monkeypatch, "instances", alter)
    limit = node_minutes(2 * 30)
    request = with_budget(bench.request("untold", timeout_s=7200.0), limit)
    ended = costed(bench, request, bench.client(launch_id="untold"))
    assert "untold was stopped" in ended.failed.description
    assert "as planned where it could not be measured" in ended.failed.description
    (notice,) = [line for line in bench.told if "does not tell what is used" in line]
    assert "EndpointConnectionError" in notice or "Could not connect" in notice
    assert cloud.alive() == []


def test_a_fault_in_the_arithmetic_of_the_meter_stops_no_healthy_step(bench, cloud, monkeypatch):
    cloud.behave(step_minutes=60, speed=400.0)

    def alter(told):
        return [{key: one[key] for key in one if key != "InstanceType"} for one in told]

    for_bills(monkeypatch, "instances", alter)
    request = with_budget(bench.request("typeless", timeout_s=7200.0), 100.0)
    with in_thread(bench, request, launch_id="typeless") as (_, ended):
        until(lambda: any("KeyError: 'InstanceType'" in line for line in bench.told))
    assert ended[0].result.success, ended[0].failed
    notices = [line for line in bench.told if line.startswith("launch.budget_usd")]
    assert len(notices) == 1
