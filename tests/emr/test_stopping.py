"""On every way out, nothing that costs money is left; what is left by a kill is found again."""

from __future__ import annotations

import signal

import pytest

from tests.waiting import until

OPENED = "successfully opened dagster pipes"
LONG = """
with opened():
    time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_the_cluster_starts(cloud, orchestrator, number):
    cloud.behave(provisioning_seconds=36_000, speed=10)
    one = orchestrator("starting", LONG)
    until(lambda: one.said("is STARTING"))
    one.process.send_signal(number)
    one.process.send_signal(number)  # the second one must not skip the terminate call
    one.process.wait(30)
    assert cloud.alive() == []
    assert cloud.keys("pipes/") == []


def test_an_interrupt_while_the_submission_is_under_way(cloud, orchestrator):
    """The reply is taken, whatever comes meanwhile: stock Pipes left the cluster running."""
    late = {"target": "RunJobFlow", "effect": "slow", "seconds": 30}
    cloud.behave(late, provisioning_seconds=36_000, speed=10)
    one = orchestrator("submitting", LONG)
    until(lambda: cloud.clusters("tests/submitting"))
    one.process.send_signal(signal.SIGINT)
    one.process.wait(30)
    assert cloud.calls("RunJobFlow") == 1
    assert cloud.alive() == []


def test_an_interrupt_while_the_step_runs(cloud, orchestrator):
    one = orchestrator("running", LONG)
    until(lambda: one.said(OPENED))
    one.process.send_signal(signal.SIGINT)
    one.process.wait(30)
    (made,) = cloud.clusters("tests/running")
    assert made["Status"]["State"] in {"TERMINATING", "TERMINATED"}
    assert cloud.keys("pipes/") == []


def test_a_retry_goes_on_with_what_a_killed_process_left(cloud, orchestrator, tmp_path):
    source = f"""
with opened() as context:
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.05)
    context.report_asset_materialization(metadata={{"me": 1}})
"""
    one = orchestrator("orphan", source)
    until(lambda: one.said(OPENED))
    one.process.kill()
    one.process.wait(10)
    assert len(cloud.alive()) == 1
    run_id = one.said("RUN ").split()[1]
    again = orchestrator("orphan", source, run_id)
    until(lambda: again.said("goes on with step"))
    (tmp_path / "go").touch()
    until(lambda: again.said("ENDED"), 60)
    assert again.said("ENDED SUCCESS"), again.lines
    assert len(cloud.clusters("tests/orphan")) == 1
    assert cloud.alive() == []
    until(lambda: cloud.keys("pipes/") == [])


def test_a_killed_process_leaves_a_cluster_that_ends_by_itself(cloud, orchestrator):
    one = orchestrator("forsaken", "time.sleep(2)")
    until(lambda: one.said("is PENDING"))
    one.process.kill()
    until(cloud.ended, within_s=120)
