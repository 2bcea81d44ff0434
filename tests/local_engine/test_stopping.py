"""On every way out, nothing of a step is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from ascii_hydra.engines.process_tree import ProcessTree
from ascii_hydra.engines.pyspark import LocalSparkClient
from tests.waiting import until

from .conftest import marked_processes

# A child that is deaf to SIGINT and SIGTERM, and a grandchild that also left its session and lost
# its parent.
STUBBORN = """
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    )
    def stubborn_family():
        subprocess.Popen([sys.executable, "-c", deaf])
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", deaf])
            os._exit(0)
        os.wait()
        time.sleep(0.3)
        print("ready", flush=True)
"""


def test_a_timeout_stops_the_step_with_all_its_descendants(bench):
    """S4: stock has no timeout; S2: it signals the direct child alone, once."""
    request = bench.pipes(
        "stuck",
        STUBBORN
        + """
    with opened():
        stubborn_family()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    """,
        timeout_s=1.5,
    )
    begun = time.monotonic()
    ended = bench.run(request)
    assert time.monotonic() - begun < 40
    assert ended.cause.startswith("stuck was stopped after its time limit of 1.5 s")
    assert ended.evidence["exit"] == "signal SIGKILL"
    assert marked_processes() == []


def test_a_step_that_heeds_sigint_can_tidy_up(bench):
    request = bench.pipes(
        "tidy",
        """
        with opened():
            try:
                time.sleep(60)
            finally:
                print("tidied up", flush=True)
        """,
        timeout_s=1.0,
        stop_grace_s=40.0,
    )
    begun = time.monotonic()
    ended = bench.run(request)
    assert "time limit" in ended.cause
    assert ("stdout", "tidied up") in bench.said
    assert time.monotonic() - begun < 30


def test_the_stop_event_interrupts_the_step(bench, stop):
    request = bench.pipes("patient", "with opened(): time.sleep(60)")
    client = LocalSparkClient(sink=bench.sink, stop=stop)

    @dg.asset
    def patient(context):
        return client.run(context=context, request=request).get_results()

    threading.Timer(1.0, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(DagsterExecutionInterruptedError):
        dg.materialize([patient])
    assert time.monotonic() - begun < 40
    assert marked_processes() == []


def test_what_a_successful_step_leaves_behind_is_ended(bench):
    ended = bench.run(
        bench.pipes(
            "untidy",
            STUBBORN
            + """
    with opened():
        stubborn_family()
    """,
        )
    )
    assert ended.green
    assert [text for text in ended.logged if "untidy left 2 process(es) running" in text]
    assert marked_processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_orchestrator_stops_the_step_and_is_no_green(bench, orchestrator, number):
    """S2: the stock client replaced the interrupt by its own TimeoutExpired and left the child."""
    request = bench.pipes(
        "made",
        STUBBORN
        + """
    with opened():
        stubborn_family()
        time.sleep(60)
    """,
    )
    process = orchestrator(request)
    for line in process.stdout:
        if line.startswith("ready"):
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert "MATERIALIZED 0" in rest
    assert "DagsterExecutionInterruptedError" in rest
    assert marked_processes() == []


def test_if_the_orchestrator_is_killed_the_step_ends_by_itself(bench, orchestrator):
    request = bench.pipes(
        "made",
        STUBBORN
        + """
    with opened():
        stubborn_family()
        time.sleep(60)
    """,
    )
    process = orchestrator(request)
    for line in process.stdout:
        if line.startswith("ready"):
            break
    assert len(marked_processes()) >= 3
    assert len(list(bench.folder.glob("ascii_hydra-*"))) == 2  # Spark's and that of the messages
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: marked_processes() == [], within_s=10)
    until(lambda: list(bench.folder.glob("ascii_hydra-*")) == [])


def test_a_second_interrupt_kills_at_once():
    tree = ProcessTree()
    deaf = "import signal, time; signal.signal(2, signal.SIG_IGN); print(1, flush=True)"
    process = tree.start([sys.executable, "-c", deaf + "; time.sleep(60)"], os.environ)
    process.stdout.readline()
    ours = signal.signal(signal.SIGALRM, _interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            tree.stop(grace_s=30)
        assert time.monotonic() - begun < 20
    finally:
        signal.signal(signal.SIGALRM, ours)
    assert tree.exit_code == -signal.SIGKILL
    assert marked_processes() == []


def _interrupted(number, frame):
    raise KeyboardInterrupt


def test_a_process_that_is_not_ours_is_left_alone():
    tree = ProcessTree()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    tree.start([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    tree.stop(grace_s=1)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_session_is_not_ours_once_its_leader_was_reaped():
    """The kernel gives its number to somebody else, who may begin a session with it."""
    tree = ProcessTree()
    tree.start([sys.executable, "-c", ""], os.environ)
    tree.ended.wait()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep, start_new_session=True) as other:
        tree._process.pid = other.pid
        assert tree.alive() == []
        tree.kill()
        assert other.poll() is None
        other.kill()
