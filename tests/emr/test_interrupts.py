"""Interrupts take effect late, but they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ascii_hydra.engines.interrupts import EitherEvent, deferred_interrupts


def test_ctrl_c_sets_the_event_and_is_raised_at_the_end():
    done = []

    def work() -> None:
        with deferred_interrupts(threading.Event()) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(5)
            os.kill(os.getpid(), signal.SIGINT)  # a second one skips nothing either
            done.append("what must be done")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done


def test_a_handler_before_gets_the_signal_after_what_was_raised_within():
    received = []

    def work() -> None:
        with deferred_interrupts(threading.Event()) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait(5)
            assert received == []
            raise InterruptedError

    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        with pytest.raises(InterruptedError):
            work()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_the_event_follows_another_one_and_other_threads_are_left_alone():
    stop, seen = threading.Event(), []

    def run() -> None:
        with deferred_interrupts(stop) as event:
            seen.append(event.wait(0.01))
            stop.set()
            seen.append(event.wait(5))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert seen == [False, True]


def test_waiting_ends_in_time():
    begun = time.monotonic()
    assert not EitherEvent(threading.Event()).wait(0.25)
    assert time.monotonic() - begun >= 0.25


STORM = """
import os, signal, threading
from ascii_hydra.engines.interrupts import deferred_interrupts
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with deferred_interrupts(threading.Event()) as stop:
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.is_set()
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def storm():
    for _ in range(3000):
        os.kill(os.getpid(), signal.SIGHUP)

with deferred_interrupts(threading.Event()) as stop:
    thread = threading.Thread(target=storm)
    thread.start()
    while thread.is_alive():
        threading.Event.wait(stop, 0.0001)
    assert stop.wait(5)
    print("survived", flush=True)
print("not reached")
"""


def test_a_terminals_end_takes_effect_late_and_no_signal_comes_amiss():
    """A signal within the event's own wait must not wait for the lock that this holds."""
    ended = subprocess.run(
        [sys.executable, "-c", STORM], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert ended.stdout == "survived\n"
    assert ended.returncode == -signal.SIGHUP
