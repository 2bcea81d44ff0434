"""A process that is interrupted or killed while its step runs on Databricks."""

from __future__ import annotations

import os
import signal

import pytest

from tests.waiting import until

UNTIL_TOLD = """
import os
with opened() as context:
    while not os.path.exists("/Volumes/main/default/tests/go on"):
        time.sleep(0.1)
    context.report_asset_materialization(metadata={"me": sys.argv[1]})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_run(cloud, orchestrator, number):
    """D1, from the outside: the run of Dagster is no success, and nothing runs on."""
    cloud.behave(provisioning_seconds=36_000, speed=100)
    name = f"stopped_by_{number.name.lower()}"
    process = orchestrator(name)
    until(lambda: process.said("is PENDING"), 60)
    os.kill(process.process.pid, number)
    process.process.wait(60)
    assert process.said("ENDED SUCCESS") is None
    assert cloud.result(f"tests/{name}") == ["CANCELED"]
    assert cloud.alive() == []
    assert cloud.files() == []


def test_a_killed_process_is_succeeded_by_one_that_takes_over(cloud, orchestrator):
    first = orchestrator("orphan", UNTIL_TOLD)
    until(lambda: first.said("is RUNNING"), 60)
    run_id = first.said("RUN ").split()[1]
    first.process.kill()
    first.process.wait(10)
    assert len(cloud.alive()) == 2  # a run and its cluster
    second = orchestrator("orphan", UNTIL_TOLD, parent=run_id)
    until(lambda: second.said("goes on with run"), 60)
    cloud.store.write("/Volumes/main/default/tests/go on", b"")
    until(lambda: second.said("ENDED"), 60)
    assert second.said("ENDED SUCCESS"), second.lines
    assert cloud.calls("submit") == 1
    assert cloud.result("tests/orphan") == ["SUCCESS"]
