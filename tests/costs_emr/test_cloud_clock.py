"""The time of a cloud, from the `Date` of its replies."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate, parsedate_to_datetime

import pytest

from ascii_hydra.engines.clock import CloudClock
from tests.cloud_proxy import Answer, Rule, proxy_of
from tests.emr.conftest import request
from tests.rehearsal_cloud import GOOD, place_of

NOW_S, MINUTE_S, DAY_S = 1_800_000_000.0, 60.0, 86_400.0


class StoppedClock:
    def now(self) -> float:
        return NOW_S

    def sleep(self, seconds: float, stop) -> None:
        raise NotImplementedError


@pytest.fixture
def clock() -> CloudClock:
    return CloudClock(StoppedClock())


def hear(clock: CloudClock, *ahead_s: float) -> float:
    """How far the clock is corrected after replies whose dates are ahead by so much."""
    for one in ahead_s:
        clock.hear(formatdate(NOW_S + one, usegmt=True), NOW_S)
    return clock.now() - NOW_S


@pytest.mark.parametrize("wrong_s", [2 * DAY_S, -2 * DAY_S, 61 * MINUTE_S])
def test_one_reply_with_a_wrong_date_corrects_nothing(clock, wrong_s):
    assert hear(clock, 0.0, wrong_s, 0.0, wrong_s, 0.0) == 0.0


@pytest.mark.parametrize("wrong_s", [2 * DAY_S, -2 * DAY_S])
def test_two_replies_that_agree_correct_it(clock, wrong_s):
    assert hear(clock, wrong_s, wrong_s + 5.0) == pytest.approx(wrong_s + 5.0, abs=1.0)


def test_two_replies_that_differ_correct_nothing(clock):
    assert hear(clock, 2 * DAY_S, DAY_S, 3 * DAY_S) == 0.0


def test_less_than_a_minute_is_corrected_at_once(clock):
    assert hear(clock, 30.0) == 30.0


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "yesterday",
        "Sat, 999999999999 Nov 2026 18:41:30 GMT",
        "Sat, 21 Nov 999999999999 18:41:30 GMT",
        "Sat, 21 Nov 2026 18:41:30 +99999999999999",
    ],
)
def test_a_date_that_cannot_be_read_is_left_alone(clock, date):
    clock.hear(date, NOW_S)
    clock.hear(date, NOW_S)
    assert clock.now() == NOW_S


def test_a_date_of_an_unknown_zone_is_gmt(clock, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        unzoned = formatdate(NOW_S, usegmt=True).replace("GMT", "-0000")
        clock.hear(unzoned, NOW_S)
        clock.hear(unzoned, NOW_S)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert clock.now() == NOW_S


def two_days_ahead(answer: Answer) -> Answer:
    headers = dict(answer.headers)
    ahead_s = parsedate_to_datetime(headers["Date"]).timestamp() + 2 * DAY_S
    return replace(answer, headers=[*{**headers, "Date": formatdate(ahead_s, usegmt=True)}.items()])


@pytest.mark.parametrize("operation", ["ListSteps", "DescribeCluster"])
def test_one_reply_of_emr_with_a_wrong_date_stops_no_healthy_step(bench, cloud, operation):
    cloud.behave(step_minutes=5, speed=100.0)
    ahead = Rule(operation, change=two_days_ahead, after=2)
    with proxy_of(cloud.url) as proxy:
        proxy.behave(ahead)
        ended = bench.run(request(place_of(proxy.url), "dated", GOOD))
    assert ahead.effects == 1
    assert ended.green, ended.cause
