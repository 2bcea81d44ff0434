"""A step that is cancelled on a cluster that stays: its Spark application ends, too."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.cluster_logs import ClusterLogs
from ascii_hydra.engines.emr.ending import cancelled_step
from ascii_hydra.engines.payload import Libraries, Upload
from ascii_hydra.engines.payload_upload import ensure_uploaded
from ascii_hydra.engines.pipes_folder import FolderContextInjector, PipesFolder
from ascii_hydra.engines.s3_store import S3Store
from tests.emr.conftest import BUCKET, ROOT, _java
from tests.waiting import until

# What an unwilling driver does: it goes on whatever happens in it, and writes.
STUBBORN = """
from pyspark.sql import SparkSession
with opened() as context:
    spark = SparkSession.builder.getOrCreate()
    context.log.info("begun")
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass
"""


@contextmanager
def running(bench, request, launch: str) -> Iterator[tuple[threading.Event, list]]:
    """A request that runs in a thread, once its step has opened its messages."""
    stop, ended = threading.Event(), []
    client = bench.client(launch_id=launch, stop=stop)
    thread = threading.Thread(target=lambda: ended.append(bench.run(request, client)))
    thread.start()
    until(lambda: bench.cloud.keys("pipes/") and _has(bench, "/messages/1.json"), 60)
    yield stop, ended
    thread.join(90)
    assert not thread.is_alive()


def _has(bench, ending: str) -> bool:
    return any(one.endswith(ending) for one in bench.cloud.keys("pipes/"))


def test_a_step_that_is_stopped_on_a_shared_cluster_leaves_no_driver(bench, cloud):
    request = bench.request("stubborn", STUBBORN, shared=True)
    with running(bench, request, "staying") as (stop, ended):
        (cluster_id,) = cloud.alive()
        assert _java() != []
        stop.set()
    (one,) = ended
    assert not one.green
    assert cloud.alive() == [cluster_id]  # the others of the launch use it
    (step,) = cloud.steps(cluster_id)
    assert step["Status"]["State"] == "CANCELLED"
    until(lambda: len(_java()) == 0)
    assert not any("may still be running" in line for line in one.logged), one.logged
    assert cloud.keys("pipes/") == []


def test_a_step_that_somebody_else_cancels_leaves_no_driver(bench, cloud):
    """The next attempt at it may come at once."""
    request = bench.request("orphaned", STUBBORN, shared=True)
    with running(bench, request, "vanishing") as (_, ended):
        (cluster_id,) = cloud.alive()
        (step,) = cloud.steps(cluster_id)
        cloud.emr.cancel_steps(ClusterId=cluster_id, StepIds=[step["Id"]])
    assert "cancelled by somebody else" in ended[0].cause
    until(lambda: len(_java()) == 0)
    assert cloud.alive() == [cluster_id]
    assert cloud.keys("pipes/") == []


def test_a_refused_cancellation_is_said_and_the_step_stays_asked(bench, cloud):
    cloud.behave({"target": "CancelSteps", "effect": "refused", "times": 9})
    request = bench.request("denied", STUBBORN, shared=True)
    with running(bench, request, "denying") as (stop, ended):
        stop.set()
    lament = [line for line in ended[0].logged if "may still be running" in line]
    assert lament, ended[0].logged
    assert "AccessDenied" in lament[0]
    assert [one for one in cloud.keys("pipes/") if one.endswith("/stop")]
    assert [one for one in cloud.keys("pipes/") if one.endswith("/context.json")]
    until(lambda: len(_java()) == 0)


def test_a_folder_is_kept_if_the_end_was_not_seen(cloud):
    folder, warned = PipesFolder(S3Store(cloud.place), f"{ROOT}/pipes/unseen"), []
    injector = FolderContextInjector(folder, warned.append)
    with injector.inject_context({}):
        injector.end_unseen()
    names = sorted(one.rsplit("/", 1)[1] for one in cloud.keys("pipes/unseen/"))
    assert names == ["context.json", "stop"]
    assert "asks the step to end itself" in warned[0]


def test_a_step_that_waits_is_cancelled_at_once(bench, cloud):
    """It has no driver that could answer."""
    cloud.behave(step_minutes=600)
    flow = bench.request("waiting", shared=True).run_job_flow
    cluster_id = cloud.emr.run_job_flow(**flow)["JobFlowId"]
    nothing = {"Jar": "command-runner.jar", "Args": ["state-pusher-script"]}
    steps = [{"Name": n, "ActionOnFailure": "CONTINUE", "HadoopJarStep": nothing} for n in "ab"]
    cloud.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=steps)
    emr = Emr(cloud.place, cloud.clock, threading.Event())
    for one in cloud.steps(cluster_id):
        assert cancelled_step(emr, cluster_id, one["Id"]) is None
        assert cancelled_step(emr, cluster_id, one["Id"]) is None  # it has ended
    cloud.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=steps[:1])
    newest = cloud.steps(cluster_id)[0]["Id"]
    cloud.behave({"target": "ListSteps", "effect": "refused", "times": 9}, step_minutes=600)
    # Nobody can look at it; it ends all the same.
    assert "AccessDenied" in cancelled_step(emr, cluster_id, newest)
    cloud.behave(step_minutes=600)
    until(lambda: cloud.steps(cluster_id)[0]["Status"]["State"] == "CANCELLED")
    cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])


@pytest.mark.parametrize("cut", [20, -9, None])
def test_a_log_that_is_cut_off_hides_nothing(cloud, cut):
    """Nor does one that is broken."""
    text = "".join(f"line {n} {n * n}\n" for n in range(50_000)).encode()
    packed = gzip.compress(text)
    content = packed[:cut] if cut is not None else packed[:5000] + b"x" * 500 + packed[5500:]
    cluster_id = f"j-CUT{cut}"
    key = f"ascii_hydra/logs/{cluster_id}/steps/s-1/stderr.gz"
    cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    warned: list[str] = []
    logs = ClusterLogs(
        Emr(cloud.place, cloud.clock, threading.Event()), f"{ROOT}/logs/", cluster_id
    )
    tail = logs.tail("s-1", wait_s=0.0, warn=warned.append)
    assert warned == []
    assert tail is not None
    assert "stderr.gz is cut off" in tail.lines[-1]


def test_a_stop_ends_pip(cloud, monkeypatch):
    """However long its package index does not answer."""
    stop, ended = threading.Event(), []
    wanted = Libraries(("nosuchlibrary==1.0",), (), "3.11", ())
    upload = Upload(f"{ROOT}/payload/0/libraries.zip", libraries=wanted)

    def run() -> None:
        with pytest.raises(InterruptedError):
            ensure_uploaded([upload], S3Store(cloud.place), stop, lambda _: None)
        ended.append(True)

    with socket.create_server(("127.0.0.1", 0)) as index:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/")
        thread = threading.Thread(target=run)
        thread.start()
        taken, _ = index.accept()
        assert _pips() != []
        stop.set()
        thread.join(10)
        assert ended
        until(lambda: _pips() == [], 10)
        taken.close()


def _pips() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.Error):  # it has just ended
            if "nosuchlibrary==1.0" in " ".join(one.cmdline()):
                found.append(one)
    return found
