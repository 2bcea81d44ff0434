"""Steps on the rehearsal cloud, run by real Dagster assets."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.schema import PricesConfig, RehearsalConfig
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.emr.api import ALIVE
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.payload import Upload, step_runtime
from ascii_hydra.engines.pipes_folder import PipesFolder
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.rehearsal.clock import RehearsalClock
from ascii_hydra.rehearsal.started import started
from tests.asset_runs import Ended, ran
from tests.orchestrator import Orchestrator, orchestrators
from tests.rehearsal_cloud import GOOD, PIPES, SPEED, RehearsalCloud, asked, place_of
from tests.waiting import until

BUCKET = "tests"
ROOT = f"s3://{BUCKET}/ascii_hydra"


class Cloud(RehearsalCloud):
    """The rehearsal cloud of these tests."""

    @cached_property
    def emr(self) -> Any:
        return aws_client("emr", self.place)

    def keys(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"ascii_hydra/{prefix}")
        return [one["Key"] for one in found.get("Contents", ())]

    def alive(self) -> list[str]:
        """Clusters that nobody has told to end."""
        return [one["Id"] for one in self.emr.list_clusters(ClusterStates=ALIVE)["Clusters"]]

    def ended(self) -> bool:
        """No cluster is left, not even one that is on its way out."""
        return not asked(self.url, "alive")

    def clusters(self, name: str) -> list[dict[str, Any]]:
        """All that have this in their names, the newest first."""
        return [one for one in self.emr.list_clusters()["Clusters"] if name in one["Name"]]

    def steps(self, cluster_id: str) -> list[dict[str, Any]]:
        return self.emr.list_steps(ClusterId=cluster_id)["Steps"]


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
    store = S3Store(running_cloud.place)
    PipesFolder(store, f"{ROOT}/pipes").delete()  # a killed process leaves its own
    for written in ("executed", "output"):  # by a step of the same name in another test
        store.delete(f"s3://{BUCKET}/{written}")
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
        return ran(client or self.client(), request, instance, **settings)


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
        costing=Costing(
            prices=price_list(PricesConfig(), "us-east-1"),
            budget_usd=None,
            endpoint="rehearsal",
            pipeline="tests",
            mode="full",
            cluster="small",
        ),
    )
    return replace(made, **changes)


@pytest.fixture
def bench(cloud: Cloud) -> Bench:
    return Bench(cloud)


@pytest.fixture
def orchestrator(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Orchestrator]]:
    with orchestrators(__name__, cloud.url, tmp_path / "home") as start:
        yield start


def orchestrated(
    url: str, name: str, source: str, tell: Callable[[str], None]
) -> tuple[EmrClient, EmrRequest]:
    """What an orchestrator runs."""
    client = EmrClient(clock=RehearsalClock(url), tell=tell)
    return client, request(place_of(url), name, source)
