"""Steps on the rehearsal workspace, run by real Dagster assets."""

from __future__ import annotations

import hashlib
import json
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import dagster as dg
import pytest

from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.schema import PricesConfig, RehearsalConfig
from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.client import DatabricksClient
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.pools import close_shared
from ascii_hydra.engines.databricks.states import cluster_id_of
from ascii_hydra.engines.databricks.wheel import step_wheel
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.workspace_store import WorkspaceStore
from ascii_hydra.rehearsal.clock import RehearsalClock
from ascii_hydra.rehearsal.started import started
from tests.asset_runs import Ended, ran
from tests.orchestrator import Orchestrator, orchestrators
from tests.rehearsal_cloud import GOOD, PIPES, SPEED, RehearsalCloud, asked, place_of
from tests.waiting import until

BUCKET = "tests"
ROOT = "/Volumes/main/default/tests"
NODE = "m5d.xlarge"
CLUSTER = {
    "spark_version": "17.3.x-scala2.13",
    "node_type_id": NODE,
    "num_workers": 1,
    "aws_attributes": {"availability": "ON_DEMAND", "zone_id": "auto"},
    "data_security_mode": "SINGLE_USER",
}
COSTING = Costing(
    prices=price_list(PricesConfig(), "us-east-1"),
    budget_usd=None,
    endpoint="rehearsal",
    pipeline="tests",
    mode="small_dev_sample_s3",
    cluster="small",
)
ENDLESS = """
with opened() as context:
    context.log.info("at work")
    time.sleep(600)
"""
DATABRICKS = "databricks:jobs/runs/"


def fault(on: str, effect: str, **more: Any) -> dict[str, Any]:
    """A rule of the rehearsal; the operations of the Jobs API are named without their path."""
    plain = on in {"cluster", "step"} or ":" in on
    return {"target": on if plain else f"{DATABRICKS}{on}", "effect": effect, **more}


REFUSED = fault("cluster", "validation_error", times=99)
"""The end of a run that is not about its script: quick, and no process is started."""


class Cloud(RehearsalCloud):
    """The rehearsal workspace of these tests."""

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.url)

    @property
    def api(self) -> Databricks:
        return Databricks(self.workspace, self.clock, threading.Event())

    @property
    def store(self) -> WorkspaceStore:
        return WorkspaceStore(self.api)

    def files(self, folder: str = f"{ROOT}/pipes") -> list[str]:
        return self.store.names(folder)

    def calls(self, operation: str) -> int:
        """How often an operation of the Jobs API has been called since the last `forget`."""
        return super().calls(operation if ":" in operation else f"{DATABRICKS}{operation}")

    def alive(self) -> list[str]:
        """Runs that have not ended, clusters that have not, and pools that are not deleted."""
        return asked(self.url, "alive")

    def runs(self, name: str) -> list[Mapping[str, Any]]:
        """All that have this in their names, the newest first."""
        return [one for one in self.api.runs(active=False, tasks=True) if name in one["run_name"]]

    def result(self, name: str) -> list[str]:
        """How all runs of a name have ended, the newest first."""
        return [one["state"].get("result_state", "") for one in self.runs(name)]


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    with started(RehearsalConfig(speed=SPEED)) as url:
        cloud = Cloud(url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def cloud(running_cloud: Cloud) -> Iterator[Cloud]:
    """The workspace; after the test nothing is alive in it."""
    running_cloud.behave()
    running_cloud.store.delete(f"{ROOT}/pipes")  # a killed process leaves its own
    running_cloud.forget()
    yield running_cloud
    told = close_shared()
    running_cloud.behave(speed=100_000)
    left = running_cloud.alive()
    for one in left:
        if one.startswith("run "):
            running_cloud.api.cancel(int(one.removeprefix("run ")))
    until(lambda: not [one for one in running_cloud.alive() if one.startswith("run ")])
    assert left == []
    assert told == ()


@pytest.fixture
def host(cloud: Cloud) -> Iterator[str]:
    """An all-purpose cluster that somebody else has made."""
    spec = {**CLUSTER, "cluster_name": "host", "autotermination_minutes": 10_000}
    made = cloud.api.call("POST", "/api/2.1/clusters/create", body=spec)["cluster_id"]
    yield made
    cloud.behave(speed=100_000)
    cloud.api.call("POST", "/api/2.1/clusters/permanent-delete", body={"cluster_id": made})
    until(lambda: made not in cloud.alive())


@dataclass
class Bench:
    """Makes requests and runs them as assets."""

    cloud: Cloud
    told: list[str] = field(default_factory=list)

    def request(self, name: str, source: str = GOOD, **changes: Any) -> DatabricksRequest:
        return request(self.cloud.url, name, source, **changes)

    def client(self, **settings: Any) -> DatabricksClient:
        return DatabricksClient(clock=self.cloud.clock, tell=self.told.append, **settings)

    def run(
        self,
        request: DatabricksRequest,
        client: DatabricksClient | None = None,
        instance: dg.DagsterInstance | None = None,
        **settings: Any,
    ) -> Ended:
        """Run a request as an asset of its step's name."""
        return ran(client or self.client(), request, instance, **settings)

    def stopped(self, request: DatabricksRequest, when: Callable[[], object]) -> Ended:
        """Run a request and set the client's stop as soon as something has happened."""
        stop = threading.Event()

        def stop_later() -> None:
            until(when)
            stop.set()

        thread = threading.Thread(target=stop_later)
        thread.start()
        ended = self.run(request, self.client(stop=stop))
        thread.join()
        return ended

    def said(self, text: str) -> bool:
        return any(text in line for line in self.told)


def request(
    url: str,
    name: str,
    source: str,
    *,
    arguments: Sequence[str] = (),
    root: str = ROOT,
    task: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    **changes: Any,
) -> DatabricksRequest:
    """A small request; the complete ones are another feature's.

    Args:
        task: instead of a job cluster of its own: what the task runs on.
        body: more of the run.
    """
    content = (PIPES + textwrap.dedent(source)).encode()
    script = Upload(
        f"{root}/payload/{hashlib.sha256(content).hexdigest()[:12]}/{name}.py", content=content
    )
    wheel_name, wheel, digest = step_wheel(())
    runtime = Upload(f"{root}/payload/{digest[:12]}/{wheel_name}", content=wheel)
    python = {"python_file": script.uri, "parameters": [*(arguments or (name,))]}
    if root.startswith("/"):
        python["source"] = "WORKSPACE"
    libraries = [{"whl": runtime.uri}]
    on = {"new_cluster": dict(CLUSTER)} if task is None else dict(task)
    if "environment_key" not in on:
        on["libraries"] = libraries
    more = dict(body or {})
    if "environment_key" in on:
        spec = {"environment_version": "4", "dependencies": [runtime.uri]}
        more["environments"] = [{"environment_key": on["environment_key"], "spec": spec}]
    made = DatabricksRequest(
        step=name,
        output=f"s3a://{BUCKET}/output/{name}",
        workspace=Workspace(url),
        place=place_of(url),
        spark_version="17.3.x-scala2.13",
        cluster_id=on.get("existing_cluster_id"),
        serverless="environment_key" in on,
        submit={
            "run_name": f"ascii_hydra tests/{name} <token>",
            "tasks": [{"task_key": "step", "spark_python_task": python, **on}],
            **more,
        },
        pools={},
        uploads=(script, runtime),
        messages_uri=f"{root}/pipes/<run>-<token>",
        timeout_s=3600.0,
        start_timeout_s=3600.0,
        poll_s=10.0,
        costing=COSTING,
    )
    return replace(made, **changes)


def cluster_of(run: Mapping[str, Any]) -> str:
    """Id of a run's cluster."""
    found = cluster_id_of(run)
    assert found is not None
    return found


@contextmanager
def altered(
    url: str,
    alter: Callable[[str, Any], Any],
    date: Callable[[str, str], str] = lambda _path, date: date,
) -> Iterator[str]:
    """Address of a proxy that stands before the workspace.

    Args:
        url: of the workspace.
        alter: makes another reply of the path of a call and its reply.
        date: makes another `Date` of the path of a call and that of its reply.
    """

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._forward(None)

        def do_POST(self) -> None:
            self._forward(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def do_PUT(self) -> None:
            self.do_POST()

        def do_DELETE(self) -> None:
            self._forward(None)

        def do_HEAD(self) -> None:
            self._forward(None)

        def _forward(self, body: bytes | None) -> None:
            asked = Request(f"{url}{self.path}", data=body, method=self.command)
            for name in ("Authorization", "Content-Type"):
                if name in self.headers:
                    asked.add_header(name, self.headers[name])
            try:
                with urlopen(asked, timeout=30) as reply:
                    status, kind, content = reply.status, reply.headers, reply.read()
            except HTTPError as refusal:
                status, kind, content = refusal.code, refusal.headers, refusal.read()
            if status == HTTPStatus.OK and kind.get_content_type() == "application/json":
                content = json.dumps(alter(urlsplit(self.path).path, json.loads(content))).encode()
            self.send_response_only(status)
            self.send_header("Date", date(urlsplit(self.path).path, kind["Date"]))
            self.send_header("Content-Type", kind.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def bench(cloud: Cloud) -> Bench:
    return Bench(cloud)


@pytest.fixture
def orchestrator(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Orchestrator]]:
    with orchestrators(__name__, cloud.url, tmp_path / "home") as start:
        yield start


def orchestrated(
    url: str, name: str, source: str, tell: Callable[[str], None]
) -> tuple[DatabricksClient, DatabricksRequest]:
    """What an orchestrator runs."""
    client = DatabricksClient(clock=RehearsalClock(url), tell=tell)
    return client, request(url, name, source)
