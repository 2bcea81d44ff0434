"""A rehearsal cloud in a process of its own, and unmodified boto3 that talks to it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule, RehearsalConfig
from ascii_hydra.rehearsal.settings import as_json
from ascii_hydra.rehearsal.started import started
from tests.rehearsal.workspace import Workspace, client
from tests.rehearsal_cloud import asked, tell
from tests.waiting import until

REGION = "us-east-1"
BUCKET = "rehearsed"
# Hours in seconds; a step that really runs is not affected.
FAST = RehearsalConfig(speed=3600)
MASTER = {
    "InstanceFleetType": "MASTER",
    "TargetOnDemandCapacity": 1,
    "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
}
CORE = {**MASTER, "InstanceFleetType": "CORE"}
TASK = {
    "InstanceFleetType": "TASK",
    "TargetSpotCapacity": 2,
    "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}, {"InstanceType": "m5d.xlarge"}],
    "LaunchSpecifications": {
        "SpotSpecification": {
            "TimeoutDurationMinutes": 10,
            "TimeoutAction": "SWITCH_TO_ON_DEMAND",
            "AllocationStrategy": "diversified",
        }
    },
}
# Does nothing at all, and succeeds.
NOTHING = ["state-pusher-script"]


@dataclass
class Rehearsed:
    """A running cloud."""

    url: str

    def client(self, service: str, region: str = REGION, **settings: Any) -> Any:
        """A boto3 client as anybody makes it, without retries."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, **settings),
        )

    @property
    def emr(self) -> Any:
        return self._client("emr")

    @property
    def s3(self) -> Any:
        return self._client("s3")

    def _client(self, service: str) -> Any:
        clients = self.__dict__.setdefault("clients", {})
        if service not in clients:
            clients[service] = self.client(service)
        return clients[service]

    # --- its own addresses

    def get(self, name: str) -> Any:
        return asked(self.url, name)

    def put(self, name: str, told: Any) -> None:
        tell(self.url, name, told)

    def configure(self, **settings: Any) -> None:
        self.put("config", as_json(replace(FAST, **settings)))

    def faults(self, *rules: FaultRule) -> None:
        self.configure(faults=rules)

    def goes_wrong(self, on: str, effect: str, **settings: Any) -> None:
        self.faults(FaultRule(target=on, effect=FaultEffect(effect), **settings))

    # --- requests

    def flow(self, *steps: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """RunJobFlow's arguments."""
        instances = {"InstanceFleets": [MASTER, CORE], **changes.pop("Instances", {})}
        return {
            "Name": "test",
            "ReleaseLabel": "emr-7.12.0",
            "LogUri": f"s3://{BUCKET}/logs/",
            "JobFlowRole": "EMR_EC2_DefaultRole",
            "ServiceRole": "EMR_DefaultRole_V2",
            "Applications": [{"Name": "Spark"}],
            "Instances": instances,
            "Steps": list(steps),
            **changes,
        }

    def step(self, *words: str, action: str = "TERMINATE_CLUSTER", name: str = "s") -> Any:
        jar = {"Jar": "command-runner.jar", "Args": list(words or NOTHING)}
        return {"Name": name, "ActionOnFailure": action, "HadoopJarStep": jar}

    def submit(self, script: str, *words: str, options: tuple[str, ...] = (), **how: Any) -> Any:
        """A step that really runs a script: its source is uploaded."""
        key = f"payload/{abs(hash(script))}.py"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=script.encode())
        once = ("--conf", "spark.yarn.maxAppAttempts=1")
        line = ("spark-submit", "--deploy-mode", "cluster", *once, *options)
        return self.step(*line, f"s3://{BUCKET}/{key}", *words, **how)

    def run(self, *steps: Mapping[str, Any], **changes: Any) -> str:
        """Start a cluster."""
        return str(self.emr.run_job_flow(**self.flow(*steps, **changes))["JobFlowId"])

    def kept(self, *steps: Mapping[str, Any], **changes: Any) -> str:
        """Start a cluster that stays."""
        instances = {"KeepJobFlowAliveWhenNoSteps": True, **changes.pop("Instances", {})}
        return self.run(*steps, Instances=instances, **changes)

    # --- looking

    def cluster(self, cluster: str) -> Any:
        return self.emr.describe_cluster(ClusterId=cluster)["Cluster"]

    def status(self, cluster: str) -> Any:
        return self.cluster(cluster)["Status"]

    def steps(self, cluster: str) -> list[Any]:
        """Oldest first."""
        return list(self.emr.list_steps(ClusterId=cluster)["Steps"][::-1])

    def until(self, condition: Callable[[], Any], within_s: float = 60.0) -> Any:
        return until(condition, within_s)

    def until_state(self, cluster: str, *states: str) -> Any:
        wanted = states or ("TERMINATED", "TERMINATED_WITH_ERRORS")
        self.until(lambda: self.status(cluster)["State"] in wanted)
        return self.status(cluster)

    def until_step(self, cluster: str, *states: str, index: int = 0) -> Any:
        self.until(lambda: self.steps(cluster)[index]["Status"]["State"] in states)
        return self.steps(cluster)[index]["Status"]

    def end(self, cluster: str) -> None:
        self.emr.terminate_job_flows(JobFlowIds=[cluster])
        self.until_state(cluster)

    def log(self, cluster: str, ending: str) -> str:
        """The one log whose key ends so."""
        prefix = f"logs/{cluster}/"
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        (key,) = [one["Key"] for one in found if one["Key"].endswith(ending)]
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return gzip.decompress(body).decode()


def seconds_between(status: Mapping[str, Any], first: str, last: str) -> float:
    """Virtual seconds between two times of a status's timeline."""
    times: Mapping[str, datetime] = status["Timeline"]
    return (times[f"{last}DateTime"] - times[f"{first}DateTime"]).total_seconds()


def step_processes() -> list[str]:
    """What steps have started and still runs: descendants of these tests in a step's folder."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if _is_step(line):
            found.append(line[:600])
    return found


def _is_step(line: str) -> bool:
    """Whether a process's command line is of a step on EMR or Databricks."""
    return "application_" in line or "/run_" in line


def drivers() -> list[psutil.Process]:
    """The JVMs of steps whose Python has been started. Tests of other features may have left a JVM
    in this process, of the local engine, for the next step."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.name() == "java" and _is_step(line) and process.children():
                found.append(process)
    return found


@pytest.fixture(scope="session")
def _cloud() -> Iterator[Rehearsed]:
    with started(FAST) as url:
        cloud = Rehearsed(url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def cloud(_cloud: Rehearsed) -> Iterator[Rehearsed]:
    """The cloud as it was at first; afterwards nothing may live in it."""
    _cloud.configure()
    yield _cloud
    _cloud.configure()
    left = _living(_cloud)
    if left:  # or every later test would fail with this one
        _cloud.emr.set_termination_protection(JobFlowIds=left, TerminationProtected=False)
        _cloud.emr.terminate_job_flows(JobFlowIds=left)
    assert left == []
    assert step_processes() == []


def _clusters(cloud: Rehearsed) -> list[str]:
    """EMR's; a workspace's are looked after where it is tested."""
    return [one for one in cloud.get("alive") if one.startswith("j-")]


def _living(cloud: Rehearsed) -> list[str]:
    """The clusters that are left when those that end had the time for it."""
    deadline = time.monotonic() + 10
    while (left := _clusters(cloud)) and time.monotonic() < deadline:
        states = [cloud.status(one)["State"] for one in left]
        if "TERMINATING" not in states:
            break
        time.sleep(0.02)
    return list(left)


@pytest.fixture
def uploaded(cloud: Rehearsed, tmp_path: Path) -> Callable[[str, bytes], str]:
    """Puts a file into S3; returns its URI."""

    def upload(name: str, content: bytes) -> str:
        cloud.s3.put_object(Bucket=BUCKET, Key=f"files/{name}", Body=content)
        return f"s3://{BUCKET}/files/{name}"

    return upload


@pytest.fixture
def workspace(cloud: Rehearsed, _workspace: Workspace) -> Iterator[Workspace]:
    """The cloud's workspace; afterwards nothing may live in it."""
    yield _workspace
    cloud.configure()
    left = cloud.get("alive")
    for one in left:  # or every later test would fail with this one
        if one.startswith("run "):
            _workspace.sdk.jobs.cancel_run(int(one.removeprefix("run ")))
        elif "pool" in one:
            _workspace.sdk.instance_pools.delete(one)
        else:
            _workspace.sdk.clusters.permanent_delete(one)
    cloud.until(lambda: cloud.get("alive") == [])
    assert left == []
    cloud.until(lambda: step_processes() == [])


@pytest.fixture(scope="session")
def _workspace(_cloud: Rehearsed) -> Workspace:
    return Workspace(_cloud, client(_cloud.url))
