"""The EMR engine on the rehearsal cloud: how late an asset ends, what sharing saves, how much is
asked of EMR's API."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.config.compose import composed
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.client import EmrClient
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.shared import close_shared
from ascii_hydra.engines.emr.watcher import watched_step
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import planned_run
from ascii_hydra.rehearsal.clock import RehearsalClock
from ascii_hydra.rehearsal.own import rehearsed
from ascii_hydra.rehearsal.started import started

TARGET_LATENESS_S = 2.0
WATCHED_STEPS = 100
WATCHED_MINUTES = 10
_ASSETS_AT_LEAST = 10


def measured(_folder: Path, rounds: int) -> None:
    """Print all three; an asset is to end within TARGET_LATENESS_S of its step."""
    lateness(max(rounds, _ASSETS_AT_LEAST))
    sharing()
    watching()


def lateness(assets: int) -> None:
    """From a step's final state to its asset's end, at the default settings and in real time."""
    with _cloud(speed=1, provisioning_seconds=0, bootstrap_seconds=0) as cloud:
        (_, wanted), *_ = cloud.requests()
        late = []
        for _ in range(assets):
            handle = cloud.ran("step_1", wanted)
            ended = cloud.clock.now()
            step = cloud.emr.describe_step(
                ClusterId=handle["emr/cluster_id"], StepId=handle["emr/step_id"]
            )["Step"]
            late.append(ended - step["Status"]["Timeline"]["EndDateTime"].timestamp())
    p95 = statistics.quantiles(late, n=20, method="inclusive")[-1]
    print(
        f"from a step's final state to its asset's end: median {statistics.median(late):.2f} s,"
        f" p95 {p95:.2f} s, of {assets}"
    )
    kept = "kept" if p95 <= TARGET_LATENESS_S else "NOT kept"
    print(f"  wanted: at most {TARGET_LATENESS_S} s: {kept}", flush=True)


def sharing() -> None:
    """Virtual time of two steps, each on a cluster of its own and both on one."""
    took = {}
    for reuse in ("step", "run"):
        with _cloud(f"launch.reuse_cluster={reuse}", speed=60) as cloud:
            begun = cloud.clock.now()
            for name, wanted in cloud.requests():
                cloud.ran(name, wanted)
            took[reuse] = cloud.clock.now() - begun
            close_shared()
    print(
        f"two steps at 210 s of provisioning: {took['step']:.0f} s on a cluster each,"
        f" {took['run']:.0f} s on one: sharing saves {took['step'] - took['run']:.0f} s",
        flush=True,
    )


def watching() -> None:
    """Calls per virtual minute while many steps of a cluster are watched at once."""
    with _cloud("launch.reuse_cluster=run", speed=60, provisioning_seconds=36_000) as cloud:
        (_, wanted), *_ = cloud.requests()
        flow = {**(wanted.run_job_flow or {})}
        cluster_id = cloud.emr.run_job_flow(**flow)["JobFlowId"]
        steps = [dict(wanted.step_config) for _ in range(WATCHED_STEPS)]
        ids = cloud.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=steps)["StepIds"]
        api = Emr(wanted.place, cloud.clock, threading.Event())
        with ExitStack() as stack:
            for one in ids:
                stack.enter_context(
                    watched_step(api, cluster_id, one, longest_s=wanted.poll_s, warn=print)
                )
            # The first minutes are looked at more often.
            _sleep(cloud, 3)
            before, begun = cloud.calls(), cloud.clock.now()
            _sleep(cloud, WATCHED_MINUTES)
            after, ended = cloud.calls(), cloud.clock.now()
        cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    minutes = (ended - begun) / 60
    rates = {name: (after[name] - before.get(name, 0)) / minutes for name in sorted(after)}
    told = ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items() if rate)
    print(f"calls per minute while {WATCHED_STEPS} steps of a cluster are watched: {told}")


def _sleep(cloud: _Cloud, minutes: float) -> None:
    cloud.clock.sleep(minutes * 60, threading.Event())


@dataclass
class _Cloud:
    url: str
    settings: Settings

    @property
    def clock(self) -> RehearsalClock:
        return RehearsalClock(self.url)

    @property
    def emr(self) -> Any:
        place = Place("us-east-1", self.url, path_style=True, rehearsal=True)
        return aws_client("emr", place)

    def requests(self) -> Iterator[tuple[str, EmrRequest]]:
        for name, step in self.settings.steps.items():
            wanted = request(planned_run(self.settings, step))
            assert isinstance(wanted, EmrRequest)
            yield name, wanted

    def calls(self) -> dict[str, int]:
        with urlopen(f"{self.url}/_rehearsal/calls", timeout=10) as reply:
            names = [one["operation"] for one in json.load(reply)]
        own = ("ListSteps", "DescribeCluster", "ListClusters")
        return {name: names.count(name) for name in own}

    def ran(self, name: str, wanted: EmrRequest) -> dict[str, str]:
        """Run a step as an asset; where it ran."""
        client = EmrClient(clock=self.clock, launch_id="benchmark")
        metadata: dict[str, str] = {}

        @dg.asset(name=name, key_prefix=wanted.step_config["Name"].partition("/")[0])
        def made(context):
            done = client.run(context=context, request=wanted)
            (result,) = done.get_results()
            metadata.update(
                {key: str(value.value) for key, value in (result.metadata or {}).items()}
            )
            return result

        with dg.DagsterInstance.ephemeral() as instance:
            loud = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            dg.materialize([made], instance=instance, run_config=loud)
        return metadata


@contextmanager
def _cloud(*overrides: str, **behaviour: float) -> Iterator[_Cloud]:
    with started(RehearsalConfig(**behaviour)) as url:  # type: ignore[arg-type]
        chosen = ["engine=emr", "mode=small_dev_sample_s3", "endpoint=rehearsal"]
        chosen += [f"endpoint.url={url}", *overrides]
        yield _Cloud(url, rehearsed(settle(composed(chosen), chosen)))
        time.sleep(0.5)  # what is on its way out writes its logs
