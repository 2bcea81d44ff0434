"""The cloud's process: loopback alone, and nothing is left of it however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule, RehearsalConfig
from ascii_hydra.rehearsal.settings import as_json, from_json
from ascii_hydra.rehearsal.started import RehearsalError, started
from tests.rehearsal.conftest import BUCKET, FAST, Rehearsed

SERVER = [sys.executable, "-m", "ascii_hydra.rehearsal"]
# Starts a cloud, a step that sleeps on EMR and one on Databricks; then says which processes there
# are. Nothing is waited for before the second: while the first executes, time is real.
ORCHESTRATOR = """
import json, sys, time, psutil
from dataclasses import replace
from ascii_hydra.rehearsal.started import started
from tests.rehearsal.conftest import BUCKET, FAST, Rehearsed, drivers, step_processes
from tests.rehearsal.workspace import SLEEPER, Workspace, client
with started(replace(FAST, provisioning_seconds=0)) as url:
    cloud = Rehearsed(url)
    cloud.s3.create_bucket(Bucket=BUCKET)
    cluster = cloud.run(cloud.submit("import time\\nprint('x')\\ntime.sleep(600)"))
    cloud.until(drivers)
    workspace = Workspace(cloud, client(url))
    workspace.submit(workspace.body(SLEEPER))
    cloud.until(lambda: [one for one in step_processes() if "boot.py" in one])
    found = psutil.Process().children(recursive=True)
    print(json.dumps([process.pid for process in found]), flush=True)
    sys.stdin.read()
"""


def gone(pids: list[int], within_s: float = 30.0) -> list[int]:
    """Which of them are left."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        left = [pid for pid in pids if psutil.pid_exists(pid) and not zombie(pid)]
        if not left:
            return []
        time.sleep(0.05)
    return left


def zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


@pytest.mark.parametrize("victim", ["orchestrator", "server"])
def test_when_somebody_is_killed_nothing_runs_on(victim: str, tmp_path) -> None:
    orchestrator = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ORCHESTRATOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert orchestrator.stdout is not None
        pids = json.loads(orchestrator.stdout.readline())
        assert len(pids) >= 4, "the server, its guard, the driver, its Python"
        if victim == "orchestrator":
            orchestrator.kill()
        else:
            os.kill(pids[0], signal.SIGKILL)
        assert gone(pids) == []
        # The guard is the last; it takes the temporary files along.
        left = [path for path in tmp_path.iterdir() if path.name.startswith("ascii_hydra-spark")]
        assert left == []
    finally:
        orchestrator.kill()
        orchestrator.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_kept_cloud_says_how_to_use_it_and_leaves_when_told(number: signal.Signals) -> None:
    process = subprocess.Popen([*SERVER, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        assert word == "rehearsal"
        cloud = Rehearsed(url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cluster = cloud.kept()
        assert cloud.get("alive") == [cluster]
        process.send_signal(number)
        rest = process.stdout.read()
        process.wait(30)
        assert f"endpoint=rehearsal endpoint.url={url}" in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_it_listens_on_loopback_alone() -> None:
    with started(FAST) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_server(("127.0.0.2", port)):
            pass  # another address of this machine is free: it was not taken by a wildcard
    assert subprocess.run(
        [*SERVER, "--host", "0.0.0.0"], check=False, capture_output=True
    ).returncode


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*SERVER, "--port", port], check=False, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2
    assert f"--port {port}: Address already in use. Take another: --port N" in done.stderr


def test_a_configuration_that_is_none_is_said() -> None:
    broken = FaultRule(target="cluster", effect=FaultEffect.slow)
    config = RehearsalConfig(faults=(broken,))
    with (
        pytest.raises(RehearsalError, match="target=cluster effect=slow: allowed are"),
        started(config),
    ):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://a.page"},
        {"Host": "rebound.name:80"},
        {"Host": "localhost.rebound.name"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_no_web_page_can_make_it_run_anything(cloud: Rehearsed, headers) -> None:
    given = {"X-Amz-Target": "ElasticMapReduce.RunJobFlow", **headers}
    body = json.dumps(cloud.flow(cloud.step())).encode()
    with pytest.raises(HTTPError) as fault:
        urlopen(Request(cloud.url, body, given), timeout=30)
    assert fault.value.code == 403
    assert cloud.get("alive") == []


def test_the_configuration_travels_unchanged() -> None:
    rule = FaultRule(
        target="s3:GetObject", effect=FaultEffect.refused, code="AccessDenied", times=3
    )
    config = RehearsalConfig(speed=5, step_minutes=1.5, faults=(rule,))
    assert from_json(json.loads(json.dumps(as_json(config)))) == config
    for told, why in (
        ({"sped": 1}, "rehearsal.sped: unknown; known are speed"),
        ({"speed": 0}, r"rehearsal.speed=0: allowed are 1"),
        ({"speed": True}, "must be a number"),
        ({"faults": [{"target": "x", "effect": "slow", "times": 0}]}, r"faults\[0\].times=0"),
    ):
        with pytest.raises(ValueError, match=why):
            from_json(told)


def test_what_is_not_there(cloud: Rehearsed) -> None:
    with pytest.raises(HTTPError, match="404"):
        cloud.get("nothing")
    assert cloud.get("config") == json.loads(json.dumps(as_json(FAST)))
