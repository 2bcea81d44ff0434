"""The Databricks engine on the rehearsal workspace: how late an asset ends, what a shared pool
saves, how much is asked of Databricks' API."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import dagster as dg

from ascii_hydra.config.compose import composed
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.client import DatabricksClient
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.pools import close_shared
from ascii_hydra.engines.databricks.states import Stage, state_of
from ascii_hydra.engines.databricks.watcher import watched_run
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.payload_upload import ensure_uploaded
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import planned_run
from ascii_hydra.engines.workspace_store import WorkspaceStore
from ascii_hydra.rehearsal.clock import RehearsalClock
from ascii_hydra.rehearsal.own import rehearsed
from ascii_hydra.rehearsal.started import started

TARGET_LATENESS_S = 2.0
WATCHED_RUNS = 100
WATCHED_MINUTES = 10
_ASSETS_AT_LEAST = 10
_JOBS = "databricks:jobs/runs/"
_SCRIPT = b"""
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step.folder_messages import opened_pipes
with opened_pipes(PipesCliArgsParamsLoader()) as context:
    context.report_asset_materialization(metadata={"rows": 1})
"""


def measured(_folder: Path, rounds: int) -> None:
    """Print all three; an asset is to end within TARGET_LATENESS_S of its run."""
    lateness(max(rounds, _ASSETS_AT_LEAST))
    sharing()
    watching()


def lateness(assets: int) -> None:
    """From a run's end to its asset's end, at the default settings and in real time."""
    with _cloud(speed=1, provisioning_seconds=0, bootstrap_seconds=0, cleanup_seconds=1) as cloud:
        (_, wanted), *_ = cloud.requests()
        late = []
        for _ in range(assets):
            run_id = cloud.ran("step_1", wanted)
            ended = cloud.clock.now()
            late.append(ended - cloud.api(wanted).run(run_id)["end_time"] / 1000)
    p95 = statistics.quantiles(late, n=20, method="inclusive")[-1]
    print(
        f"from a run's end to its asset's end: median {statistics.median(late):.2f} s,"
        f" p95 {p95:.2f} s, of {assets}"
    )
    kept = "kept" if p95 <= TARGET_LATENESS_S else "NOT kept"
    print(f"  wanted: at most {TARGET_LATENESS_S} s: {kept}", flush=True)


def sharing() -> None:
    """Virtual time of two steps, each on instances of its own and both on those of a pool."""
    took = {}
    for reuse in ("step", "run"):
        with _cloud(f"launch.reuse_cluster={reuse}", speed=60) as cloud:
            begun = cloud.clock.now()
            for name, wanted in cloud.requests():
                cloud.ran(name, wanted)
            took[reuse] = cloud.clock.now() - begun
            close_shared()
    print(
        f"two steps at 210 s of provisioning: {took['step']:.0f} s on instances of their own,"
        f" {took['run']:.0f} s on a pool's: sharing saves {took['step'] - took['run']:.0f} s",
        flush=True,
    )


def watching() -> None:
    """Calls per virtual minute while many runs are watched at once."""
    with _cloud(speed=60, provisioning_seconds=36_000) as cloud:
        (_, wanted), *_ = cloud.requests()
        api = cloud.api(wanted)
        cloud.upload(wanted)
        body = wanted.of(Identity("benchmark", "benchmark", "benchmark", "")).submit
        ids = [api.submitted(body) for _ in range(WATCHED_RUNS)]
        with ExitStack() as stack:
            for one in ids:
                stack.enter_context(watched_run(api, one, longest_s=wanted.poll_s, warn=print))
            # The first minutes are looked at more often.
            _sleep(cloud, 3)
            before, begun = cloud.calls(), cloud.clock.now()
            _sleep(cloud, WATCHED_MINUTES)
            after, ended = cloud.calls(), cloud.clock.now()
        for one in ids:
            api.cancel(one)
        while any(state_of(one).stage is not Stage.ended for one in api.runs(active=True)):
            time.sleep(0.1)
    minutes = (ended - begun) / 60
    rates = {name: (after[name] - before[name]) / minutes for name in after}
    told = ", ".join(f"runs/{name} {rate:.1f}" for name, rate in rates.items() if rate)
    print(f"calls per minute while {WATCHED_RUNS} runs are watched: {told}")


def _sleep(cloud: _Cloud, minutes: float) -> None:
    cloud.clock.sleep(minutes * 60, threading.Event())


@dataclass
class _Cloud:
    url: str
    settings: Settings

    @property
    def clock(self) -> RehearsalClock:
        return RehearsalClock(self.url)

    def api(self, wanted: DatabricksRequest) -> Databricks:
        return Databricks(wanted.workspace, self.clock, threading.Event())

    def upload(self, wanted: DatabricksRequest) -> None:
        store = WorkspaceStore(self.api(wanted))
        ensure_uploaded(wanted.uploads, store, threading.Event(), print)

    def requests(self) -> Iterator[tuple[str, DatabricksRequest]]:
        for name, step in self.settings.steps.items():
            wanted = request(planned_run(self.settings, step))
            assert isinstance(wanted, DatabricksRequest)
            # What is measured is around the script: it starts no Spark.
            uri = wanted.task["spark_python_task"]["python_file"]
            light = [
                Upload(uri, content=_SCRIPT) if one.uri == uri else one for one in wanted.uploads
            ]
            yield name, replace(wanted, uploads=tuple(light))

    def calls(self) -> dict[str, int]:
        with urlopen(f"{self.url}/_rehearsal/calls", timeout=10) as reply:
            names = [one["operation"] for one in json.load(reply)]
        return {one: names.count(_JOBS + one) for one in ("get", "list")}

    def ran(self, name: str, wanted: DatabricksRequest) -> int:
        """Run a step as an asset; the id of its run."""
        client = DatabricksClient(clock=self.clock, launch_id="benchmark")
        made_by: list[str] = []

        @dg.asset(name=name, key_prefix=self.settings.config.pipeline.name)
        def made(context):
            done = client.run(context=context, request=wanted)
            (result,) = done.get_results()
            made_by.append(str((result.metadata or {})["databricks/run_id"].value))
            return result

        with dg.DagsterInstance.ephemeral() as instance:
            loud = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            dg.materialize([made], instance=instance, run_config=loud)
        return int(made_by[0])


@contextmanager
def _cloud(*overrides: str, **behaviour: float) -> Iterator[_Cloud]:
    with started(RehearsalConfig(**behaviour)) as url:  # type: ignore[arg-type]
        chosen = ["engine=databricks", "mode=small_dev_sample_s3", "endpoint=rehearsal"]
        chosen += [f"endpoint.url={url}", *overrides]
        yield _Cloud(url, rehearsed(settle(composed(chosen), chosen)))
