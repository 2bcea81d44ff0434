"""What could not be ended on EMR is named as it is, and its bill is no closed one."""

from __future__ import annotations

import signal
import threading
import time

import dagster as dg
import psutil
import pytest

from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.engines import pipes_folder
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.step_costs import bill_in, told_costs
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.rehearsal.started import started
from tests.emr.conftest import BUCKET, Bench, Cloud
from tests.emr.test_cancelling import STUBBORN, running
from tests.still_running_history import still_running
from tests.waiting import until

REFUSED = {"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}


class HurriedClock:
    """The time of a cloud that may go away at any moment: all waiting is this much shorter.

    Args:
        speed: seconds of the cloud for each real second.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begun = (time.time(), time.monotonic())

    def now(self) -> float:
        begun, since = self._begun
        return begun + (time.monotonic() - since) * self._speed

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(seconds / self._speed)


def test_a_cloud_that_goes_away_while_a_step_runs(monkeypatch, home):
    """Nobody can tell what became of the cluster: 18 minutes of patience, then the truth."""
    monkeypatch.setattr(pipes_folder, "_WRITE_PATIENCE_S", 1.0)
    before = set(psutil.Process().children())
    with started(RehearsalConfig(speed=3_000)) as url:
        (server,) = {
            one
            for one in set(psutil.Process().children()) - before
            if "ascii_hydra.rehearsal" in one.cmdline()
        }
        cloud = Cloud(url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        bench, ended, warned = Bench(cloud), [], []
        client = EmrClient(clock=HurriedClock(300), tell=bench.told.append, warn=warned.append)
        request = bench.request("lonely", "with opened():\n    time.sleep(600)\n")
        thread = threading.Thread(
            target=lambda: ended.append(bench.run(request, client, instance=home()))
        )
        thread.start()
        until(lambda: any("is RUNNING" in line and "step" in line for line in bench.told), 90)
        server.send_signal(signal.SIGKILL)
        thread.join(180)
        (cluster_id,) = {line.split()[2] for line in bench.told if "cluster j-" in line}
        (one,) = ended
        assert "was given up" in one.cause
        command = f"aws emr terminate-clusters --cluster-ids {cluster_id} --region us-east-1"
        command += f" --endpoint-url {cloud.url}"
        assert one.evidence["still_running/end_with"] == command
        (line,) = warned
        assert line.startswith(f"lonely: cluster {cluster_id} may still be running and cost money")
        assert line.endswith(command)
        with home() as instance:
            bill = bill_in(told_costs(instance, one.result.run_id, "lonely"))
        assert bill.usd is None
        assert f"what cluster {cluster_id} costs until it ends" in bill.unpriced


def test_a_submission_that_nobody_can_tell_of(bench, cloud, home):
    cloud.behave(
        {"target": "RunJobFlow", "effect": "server_error", "times": 9}, provisioning_seconds=36_000
    )
    ended = bench.run(bench.request("unclear"), instance=home())
    with home() as instance:
        (left,) = still_running(instance, ended.result.run_id)
    assert left.resource == "a cluster that may have been made"
    assert left.command == (
        f"aws emr list-clusters --active --region us-east-1 --endpoint-url {cloud.url}"
    )
    assert ended.evidence["still_running/end_with"] == left.command


def test_a_shared_cluster_that_cannot_be_ended(bench, cloud):
    assert bench.run(bench.request("last", shared=True), bench.client(launch_id="stuck")).green
    (cluster_id,) = cloud.alive()
    cloud.behave(REFUSED)
    bills = []
    (left,) = close_shared("stuck", bills.append)
    cloud.behave()
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    assert isinstance(left, StillRunning)
    assert left.command.startswith(f"aws emr terminate-clusters --cluster-ids {cluster_id}")
    assert left.unpriced in bills[-1].unpriced


def test_a_step_that_ends_with_the_launchs_cluster_is_not_left(bench, cloud):
    """It is told at once; once its cluster has ended, nothing runs."""
    cloud.behave({"target": "CancelSteps", "effect": "refused", "times": 9})
    request = bench.request("inside", STUBBORN, shared=True)
    with running(bench, request, "inside") as (stop, ended):
        stop.set()
    lines = [line for line in bench.told if "may still be running" in line]
    assert lines
    assert lines[0].endswith("Its cluster is ended with the launch.")
    assert "still_running" not in {key for one in ended[0].handles for key in one}
    assert close_shared("inside") == ()


def test_a_fault_in_ending_is_no_silence(bench, cloud, monkeypatch, home):
    cloud.behave(provisioning_seconds=36_000, speed=200)
    end = Job.end

    def broken(self, **settings):
        end(self, **settings)
        raise AttributeError("no state")

    monkeypatch.setattr(Job, "end", broken)
    request = bench.request("unstoppable", start_timeout_s=600.0)
    ended = bench.run(request, instance=home())
    with home() as instance:
        (left,) = still_running(instance, ended.result.run_id)
    assert left.resource.startswith("cluster j-")
    assert left.reason == "AttributeError: no state"


@pytest.fixture
def home(tmp_path):
    """Opens one and the same history, again and again: a run closes it."""
    return lambda: dg.DagsterInstance.local_temp(str(tmp_path))


@pytest.fixture(autouse=True)
def alive_no_more(cloud):
    yield
    cloud.behave()
    if left := cloud.alive():
        cloud.emr.terminate_job_flows(JobFlowIds=left)
