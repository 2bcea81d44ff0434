"""A launcher is killed during its submission, and EMR does not show the cluster to the retry."""

from __future__ import annotations

import pytest

from tests.emr.conftest import BUCKET
from tests.emr.test_exactly_once import WRITING, names
from tests.emr.test_submission import fault
from tests.rehearsal_cloud import asked
from tests.waiting import until


@pytest.fixture
def killed(cloud, orchestrator):
    """Runs a step whose cluster EMR shows so late, in seconds; kills the launcher before it has an
    answer, and returns the id of its run."""

    def kill(name: str, source: str, shown_after_s: float, provisioning_s: float = 600) -> str:
        late = fault("RunJobFlow", "visible_late", seconds=shown_after_s)
        cloud.behave(late, provisioning_seconds=provisioning_s, speed=1)
        launcher = orchestrator(name, source)
        until(lambda: asked(cloud.url, "alive"))
        launcher.process.kill()
        launcher.process.wait(10)
        assert cloud.calls("RunJobFlow") == 1
        assert cloud.alive() == []
        return launcher.said("RUN ").split()[1]

    return kill


def written(cloud, name: str) -> bool:
    """The output of WRITING is complete, and of one execution."""
    output = names(cloud, f"output/{name}")
    parts = [one for one in output if one.startswith("part-")]
    return "_SUCCESS" in output and len(parts) == 1


def claimed(cloud) -> str:
    """Key of the claim that a driver of the only submission now leaves."""
    (context,) = cloud.keys("pipes/")
    claim = context.replace("context.json", "claim-1-somebody")
    cloud.s3.put_object(Bucket=BUCKET, Key=claim, Body=b"")
    return claim


def test_a_driver_that_begins_after_the_retry_does_no_work(cloud, orchestrator, killed):
    run_id = killed("early", WRITING, 1_000_000, provisioning_s=1800)
    cloud.behave(provisioning_seconds=600, speed=10)
    again = orchestrator("early", WRITING, run_id)
    until(lambda: cloud.calls("RunJobFlow") == 2, 60)
    cloud.behave()
    until(lambda: again.said("ENDED"), 90)
    assert again.said("ENDED SUCCESS"), again.lines
    until(cloud.ended, 60)
    assert len(names(cloud, "executed/early")) == 1
    assert written(cloud, "early")
    assert [one for one in cloud.keys("pipes/") if not one.endswith("/context.json")] == []


def test_a_driver_that_works_is_waited_for_and_gone_on_with(cloud, orchestrator, killed):
    run_id = killed("shown", WRITING, 250, provisioning_s=1800)
    claim = claimed(cloud)
    again = orchestrator("shown", WRITING, run_id)
    until(
        lambda: again.said("looks whether EMR shows what an earlier attempt may have submitted"), 60
    )
    cloud.behave(speed=20)
    until(lambda: again.said("goes on with step"), 60)
    cloud.s3.delete_object(Bucket=BUCKET, Key=claim)  # the cluster's own driver takes its place
    cloud.behave()
    until(lambda: again.said("ENDED"), 90)
    assert again.said("ENDED SUCCESS"), again.lines
    assert cloud.calls("RunJobFlow") == 1
    assert len(names(cloud, "executed/shown")) == 1
    assert written(cloud, "shown")
    assert cloud.alive() == []
    until(lambda: cloud.keys("pipes/") == [])


def test_no_second_submission_while_a_driver_may_work(cloud, orchestrator, killed):
    run_id = killed("unseen", WRITING, 1_000_000, provisioning_s=36_000)
    claim = claimed(cloud)
    folder = claim.rpartition("/")[0]
    cloud.behave(provisioning_seconds=36_000, speed=100)
    refused = orchestrator("unseen", WRITING, run_id)
    until(lambda: refused.said("ENDED"), 60)
    assert refused.said("ENDED FAILURE"), refused.lines
    assert refused.said("unseen was not submitted: an earlier attempt at it may still write its")
    assert refused.said(f"once none is left, delete s3://{BUCKET}/{folder}")
    assert refused.said("End it: aws emr list-clusters --active")
    assert cloud.calls("RunJobFlow") == 1
    assert f"{folder}/stop" in cloud.keys("pipes/")
    # The driver ends, and a second retry has the output to itself.
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/stopped", Body=b"")
    cloud.behave()
    again = orchestrator("unseen", WRITING, refused.said("RUN ").split()[1])
    until(lambda: again.said("ENDED"), 90)
    assert again.said("ENDED SUCCESS"), again.lines
    assert cloud.calls("RunJobFlow") == 2
    assert len(names(cloud, "executed/unseen")) == 1
    assert written(cloud, "unseen")


def test_a_driver_that_died_with_its_cluster_is_not_waited_for(cloud, orchestrator, killed):
    """It has claimed its submission, and nothing in its folder says that it has ended."""
    run_id = killed("died", WRITING, 30)
    claimed(cloud)
    cloud.behave(provisioning_seconds=600, speed=10)
    until(cloud.alive)
    cloud.emr.terminate_job_flows(JobFlowIds=cloud.alive())
    cloud.behave(speed=100)
    until(cloud.ended)
    cloud.behave(speed=10)
    again = orchestrator("died", WRITING, run_id)
    until(lambda: cloud.calls("RunJobFlow") == 2, 60)
    assert not again.said("looks whether EMR shows")
    cloud.behave()
    until(lambda: again.said("ENDED"), 90)
    assert again.said("ENDED SUCCESS"), again.lines
    assert len(names(cloud, "executed/died")) == 1
    assert written(cloud, "died")
