"""Steps on the rehearsal cloud, run by real Dagster assets."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import dagster as dg
import psutil
import pytest

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.engines.emr.api import ALIVE
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.payload import Upload, step_runtime
from ascii_hydra.engines.pipes_folder import PipesFolder
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.rehearsal.clock import RehearsalClock
from ascii_hydra.rehearsal.started import started

BUCKET = "tests"
ROOT = f"s3://{BUCKET}/ascii_hydra"
PIPES = """
import os, sys, time
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step.folder_messages import opened_pipes
def opened():
    return opened_pipes(PipesCliArgsParamsLoader())
"""
GOOD = """
with opened() as context:
    context.report_asset_materialization(metadata={"me": sys.argv[1]})
"""
SPEED = 3_000.0


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Cloud:
    """The rehearsal cloud of these tests."""

    url: str

    @property
    def place(self) -> Place:
        return Place("us-east-1", self.url, path_style=True, rehearsal=True)

    @property
    def clock(self) -> RehearsalClock:
        return RehearsalClock(self.url)

    @cached_property
    def emr(self) -> Any:
        return aws_client("emr", self.place)

    @cached_property
    def s3(self) -> Any:
        return aws_client("s3", self.place)

    def keys(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"ascii_hydra/{prefix}")
        return [one["Key"] for one in found.get("Contents", ())]

    def behave(self, *faults: dict[str, Any], **config: Any) -> None:
        """From now on; what is not named is as usual in these tests."""
        usual = {"speed": SPEED, "provisioning_seconds": 210, "step_minutes": None}
        self._put("config", {**usual, **config})
        self._put("faults", list(faults))

    def calls(self, operation: str) -> int:
        """How often an operation has been called since the last `forget`."""
        return sum(one["operation"] == operation for one in self._get("calls")) - self._seen.get(
            operation, 0
        )

    _seen: dict[str, int] = field(default_factory=dict)

    def forget(self) -> None:
        self._seen = {}
        for one in self._get("calls"):
            self._seen[one["operation"]] = self._seen.get(one["operation"], 0) + 1

    def alive(self) -> list[str]:
        """Clusters that nobody has told to end."""
        return [one["Id"] for one in self.emr.list_clusters(ClusterStates=ALIVE)["Clusters"]]

    def ended(self) -> bool:
        """No cluster is left, not even one that is on its way out."""
        return not self._get("alive")

    def clusters(self, name: str) -> list[dict[str, Any]]:
        """All that have this in their names, the newest first."""
        return [one for one in self.emr.list_clusters()["Clusters"] if name in one["Name"]]

    def steps(self, cluster_id: str) -> list[dict[str, Any]]:
        return self.emr.list_steps(ClusterId=cluster_id)["Steps"]

    def _get(self, name: str) -> Any:
        with urlopen(f"{self.url}/_rehearsal/{name}", timeout=10) as reply:
            return json.load(reply)

    def _put(self, name: str, body: Any) -> None:
        data = json.dumps(body).encode()
        urlopen(
            Request(f"{self.url}/_rehearsal/{name}", data=data, method="PUT"), timeout=10
        ).close()


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    with started(RehearsalConfig(speed=SPEED)) as url:
        cloud = Cloud(url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def cloud(running_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud; after the test nothing is alive in it, and no step's process is left."""
    running_cloud.behave()
    PipesFolder(
        S3Store(running_cloud.place), f"{ROOT}/pipes"
    ).delete()  # a killed process leaves its own
    running_cloud.forget()
    yield running_cloud
    close_shared()
    running_cloud.behave(speed=100_000)
    left = running_cloud.alive()
    if left:
        running_cloud.emr.terminate_job_flows(JobFlowIds=left)
    assert left == []
    until(lambda: running_cloud.ended() and not _java())


def _java() -> list[psutil.Process]:
    """The JVMs of the cloud's steps. Tests of other features may have left one in this process, of
    the local engine, for the next step."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if one.name() == "java" and "application_" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            continue
    return found


@dataclass
class Ended:
    """One asset's end, as Dagster recorded it."""

    result: dg.ExecuteInProcessResult
    asset: str
    logged: list[str]
    handles: list[dict[str, str]]

    @property
    def green(self) -> bool:
        return self.result.success

    @property
    def materialized(self) -> dict[str, object]:
        """The one materialisation's metadata, as plain values."""
        (made,) = self.result.asset_materializations_for_node(self.asset)
        return {key: value.value for key, value in made.metadata.items()}

    @property
    def _failure(self):
        (event,) = [e for e in self.result.all_events if e.is_step_failure]
        return event.step_failure_data

    @property
    def cause(self) -> str:
        assert self.result.asset_materializations_for_node(self.asset) == []
        data = self._failure.user_failure_data
        return data.description if data is not None else self._failure.error.to_string()

    @property
    def evidence(self) -> dict[str, str]:
        return {k: str(v.value) for k, v in self._failure.user_failure_data.metadata.items()}


@dataclass
class Bench:
    """Makes requests and runs them as assets."""

    cloud: Cloud
    told: list[str] = field(default_factory=list)

    def request(
        self,
        name: str,
        source: str = GOOD,
        *,
        arguments: Sequence[str] = (),
        shared: bool = False,
        flow: dict[str, Any] | None = None,
        **changes: Any,
    ) -> EmrRequest:
        return request(
            self.cloud.place, name, source, arguments=arguments, shared=shared, flow=flow, **changes
        )

    def client(self, **settings: Any) -> EmrClient:
        return EmrClient(clock=self.cloud.clock, tell=self.told.append, **settings)

    def run(
        self,
        request: EmrRequest,
        client: EmrClient | None = None,
        instance: dg.DagsterInstance | None = None,
        **settings: Any,
    ) -> Ended:
        """Run a request as an asset of its step's name."""
        client = client or self.client()

        @dg.asset(name=request.step, **settings)
        def made(context):
            return client.run(context=context, request=request).get_results()

        with instance or dg.DagsterInstance.ephemeral() as used:
            result = dg.materialize([made], instance=used, raise_on_error=False)
            records = used.all_logs(result.run_id)
        handles = [
            {
                key: str(value.value)
                for key, value in one.dagster_event.engine_event_data.metadata.items()
            }
            for one in records
            if one.dagster_event is not None and one.dagster_event.is_engine_event
        ]
        handles = [one for one in handles if "emr/cluster_id" in one]
        return Ended(result, request.step, [one.user_message for one in records], handles)


def request(
    place: Place,
    name: str,
    source: str,
    *,
    arguments: Sequence[str] = (),
    shared: bool = False,
    flow: dict[str, Any] | None = None,
    **changes: Any,
) -> EmrRequest:
    """A small request; the complete ones are another feature's."""
    script = Upload(
        f"{ROOT}/payload/{hashlib.sha256(source.encode()).hexdigest()[:12]}/{name}.py",
        content=(PIPES + textwrap.dedent(source)).encode(),
    )
    runtime = Upload(f"{ROOT}/payload/runtime/runtime.zip", content=step_runtime())
    words = ["spark-submit", "--deploy-mode", "cluster", "--py-files", runtime.uri]
    step = {
        "Name": f"tests/{name} <token>",
        "ActionOnFailure": "CONTINUE" if shared else "TERMINATE_CLUSTER",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [*words, script.uri, *(arguments or (name,))],
        },
    }
    group = {"InstanceType": "m5.xlarge", "InstanceCount": 1}
    cluster = {
        "Name": "ascii_hydra tests <launch>" if shared else f"ascii_hydra tests/{name} <token>",
        "LogUri": f"{ROOT}/logs/",
        "ReleaseLabel": "emr-7.12.0",
        "Applications": [{"Name": "Spark"}],
        "Instances": {
            "InstanceGroups": [
                {**group, "InstanceRole": "MASTER"},
                {**group, "InstanceRole": "CORE"},
            ],
            "KeepJobFlowAliveWhenNoSteps": shared,
            "TerminationProtected": False,
        },
        "JobFlowRole": "EMR_EC2_DefaultRole",
        "ServiceRole": "EMR_DefaultRole_V2",
        "Tags": [{"Key": "ascii_hydra/run", "Value": "<run>"}],
        **({"AutoTerminationPolicy": {"IdleTimeout": 604_800}} if shared else {"Steps": [step]}),
        **(flow or {}),
    }
    made = EmrRequest(
        step=name,
        output=f"s3a://{BUCKET}/output/{name}",
        place=place,
        release_label="emr-7.12.0",
        cluster_id=None,
        shared=shared,
        run_job_flow=cluster,
        step_config=step,
        uploads=(script, runtime),
        messages_uri=f"{ROOT}/pipes/<run>/<token>",
        timeout_s=3600.0,
        start_timeout_s=3600.0,
        poll_s=10.0,
        log_wait_s=30.0,
    )
    return replace(made, **changes)


@pytest.fixture
def bench(cloud: Cloud) -> Bench:
    return Bench(cloud)


ORCHESTRATOR = """
import sys
import dagster as dg
from ascii_hydra.aws.client import Place
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.rehearsal.clock import RehearsalClock
from tests.emr.conftest import request

url, name, source, home, parent = sys.argv[1:]

@dg.asset(name=name)
def made(context):
    place = Place("us-east-1", url, path_style=True, rehearsal=True)
    client = EmrClient(clock=RehearsalClock(url), tell=lambda line: print(line, flush=True))
    return client.run(context=context, request=request(place, name, source)).get_results()

job = dg.define_asset_job("job")
defs = dg.Definitions(assets=[made], jobs=[job], executor=dg.in_process_executor)

if __name__ == "__main__":
    from dagster._core.execution.api import execute_run_iterator
    from dagster._core.definitions.job_base import InMemoryJob
    job = defs.resolve_job_def("job")
    with dg.DagsterInstance.from_ref(dg._core.instance.ref.InstanceRef.from_dir(home)) as instance:
        again = {"parent_run_id": parent, "root_run_id": parent} if parent else {}
        if parent:  # as the next start does with a run whose process is gone
            instance.report_run_failed(instance.get_run_by_id(parent))
        run = instance.create_run_for_job(job_def=job, **again)
        print("RUN", run.run_id, flush=True)
        for event in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
        print("ENDED", instance.get_run_by_id(run.run_id).status.value, flush=True)
"""


@dataclass
class Orchestrator:
    """Another process that runs one step through Dagster, to be interrupted or killed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def said(self, text: str) -> str | None:
        return next((one for one in self.lines if text in one), None)


@pytest.fixture
def orchestrator(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Orchestrator]]:
    made: list[Orchestrator] = []
    (tmp_path / "home").mkdir()

    def start(name: str, source: str = GOOD, parent: str = "") -> Orchestrator:
        program = tmp_path / "orchestrator.py"
        program.write_text(ORCHESTRATOR)
        words = [cloud.url, name, source, str(tmp_path / "home"), parent]
        process = subprocess.Popen(
            [sys.executable, str(program), *words],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        one = Orchestrator(process)
        made.append(one)

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                one.lines.append(line.rstrip())

        threading.Thread(target=read, daemon=True).start()
        return one

    yield start
    for one in made:
        one.process.kill()
        one.process.wait(10)
        sys.stdout.write("\n".join(one.lines) + "\n")  # shown if the test has failed
