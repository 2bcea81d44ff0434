"""Waiting is quick, work takes as long as it takes."""

from __future__ import annotations

import threading
import time

from ascii_hydra.rehearsal.agenda import Agenda
from ascii_hydra.rehearsal.clock import RehearsalClock, VirtualClock
from tests.rehearsal.conftest import Rehearsed


def test_it_runs_at_its_speed_and_at_the_real_pace_while_something_executes() -> None:
    clock = VirtualClock(speed=1000)
    begun, real = clock.now(), time.monotonic()
    time.sleep(0.1)
    assert clock.now() - begun >= 100
    with clock.real_pace():
        with clock.real_pace():
            assert clock.rate == 1
        assert clock.rate == 1, "another one still executes"
        paced, paced_real = clock.now(), time.monotonic()
        time.sleep(0.05)
        assert clock.now() - paced <= time.monotonic() - paced_real + 0.01
    assert clock.rate == 1000
    clock.speed = 1
    assert clock.now() - begun <= (time.monotonic() - real) * 1000
    assert clock.real_seconds_until(clock.now() + 10) <= 10


def test_appointments_are_kept_in_order_and_exactly_at_their_time() -> None:
    clock = VirtualClock(speed=1000)
    agenda, kept, done = Agenda(clock), [], threading.Event()
    try:
        with agenda.lock:
            begun = agenda.now()
            agenda.after(60, lambda: kept.append(agenda.now()))
            agenda.after(30, lambda: kept.append(agenda.now()))
            agenda.after(45, lambda: kept.append(-1)).cancelled = True
            agenda.after(60, lambda: agenda.after(600, done.set))
        assert done.wait(30)
        assert all(
            due <= one < due + 5 for due, one in zip((begun + 30, begun + 60), kept, strict=True)
        )
        assert kept[1] - kept[0] < 30.5
    finally:
        agenda.close()


def test_a_change_of_pace_wakes_whoever_waits() -> None:
    clock = VirtualClock(speed=1)
    agenda, done = Agenda(clock), threading.Event()
    try:
        agenda.after(3600, done.set)
        clock.speed = 1_000_000
        assert done.wait(30)
    finally:
        agenda.close()


def test_a_client_in_another_process_sleeps_virtual_time(cloud: Rehearsed) -> None:
    clock, stop = RehearsalClock(cloud.url), threading.Event()
    begun = time.monotonic()
    now = clock.now()
    clock.sleep(600, stop)
    assert clock.now() - now >= 600
    assert time.monotonic() - begun < 60
    stop.set()
    clock.sleep(10**9, stop)


def test_without_its_cloud_a_clock_goes_on_at_the_real_pace() -> None:
    clock, stop = RehearsalClock("http://127.0.0.1:9"), threading.Event()
    now = clock.now()
    clock.sleep(0.1, stop)
    assert 0.1 <= clock.now() - now < 30
