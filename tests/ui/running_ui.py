"""The Dagster UI over HTTP: started as `make start` starts it, from a copy of the project, so that
a test can edit what it was started from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import PROJECT

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
ROWS = "pipeline.steps.step_1.parameters.rows.small_dev_sample_local=500"
LAUNCHED = """
__typename
... on LaunchRunSuccess { run { runId } }
... on PythonError { message }
... on RunConfigValidationInvalid { errors { message } }
"""


@dataclass
class Ui:
    """A running UI."""

    port: int
    project: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=body,
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        assert "errors" not in answer, answer
        return answer["data"]

    def ended(self, run_id: str, timeout_s: float = 120) -> str:
        """The state in which a run ended."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.ask(
                "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
            )["runOrError"]["status"]
            if status in ENDED:
                return str(status)
            time.sleep(0.3)
        raise TimeoutError(f"run {run_id} is still {status}")

    def why_failed(self, run_id: str) -> str:
        """What the steps of a run that failed say, as JSON."""
        events = self.ask(
            """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { failureMetadata { description }
            error { message } } } } } }""",
            id=run_id,
        )["logsForRun"]["events"]
        return json.dumps(events)

    def launch(
        self,
        job: str,
        choice: dict[str, Any],
        steps: dict[str, Any] | None = None,
        **partition: str,
    ) -> Any:
        """Launch a job, or one partition of it, with a choice of engine, mode and cluster, and one
        for each step, as the launchpad does."""
        tags = {f"dagster/partition/{name}": value for name, value in partition.items()}
        if partition:
            tags["dagster/partition"] = "|".join(partition[name] for name in sorted(partition))
        return self.ask(
            f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {LAUNCHED} }} }}",
            p={
                "selector": {
                    "repositoryLocationName": "ascii_hydra.definitions",
                    "repositoryName": "__repository__",
                    "jobName": job,
                },
                "runConfigData": {
                    "resources": {"spark_pipes_client": {"config": choice}},
                    "ops": {name: {"config": one} for name, one in (steps or {}).items()},
                },
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in tags.items()]
                },
            },
        )["launchRun"]

    def last_config(self, step: str) -> Any:
        """The composed configuration with which an asset was last made."""
        found = self.ask(
            """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
            assetMaterializations(limit: 1) { metadataEntries { label
            ... on MarkdownMetadataEntry { mdStr } } } } } }""",
            key={"path": ["two_steps", step]},
        )["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
        text = next(one["mdStr"] for one in found if one["label"] == "ascii_hydra/config")
        return yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```"))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running_ui(project: Path, *wrapper: str) -> Iterator[Ui]:
    """A UI for as long as it is needed.

    Args:
        project: an empty folder, for the copy of the project.
        wrapper: a command that starts the command after it.
    """
    for name in ("ascii_hydra", "conf", "steps", "samples"):
        shutil.copytree(PROJECT / name, project / name)
    shutil.copy(PROJECT / "pyproject.toml", project)
    full = project / "conf" / "mode" / "full.yaml"
    full.write_text(full.read_text().replace("bucket: ascii-hydra", "bucket: mine"))
    known = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "ASCII_"))}
    environment = {
        **known,
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(project / ".dagster_home"),
        "ASCII_HYDRA_OVERRIDES": ROWS,
    }
    port = free_port()
    log = (project / "ui.log").open("w")
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-m", "ascii_hydra.serve", "--port", str(port)],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5).close()
                break
            assert process.poll() is None, (project / "ui.log").read_text()
            assert time.monotonic() < deadline, (project / "ui.log").read_text()
            time.sleep(0.3)
        yield Ui(port, project, environment, process)
    finally:
        if process.poll() is None:
            family = [
                *psutil.Process(process.pid).children(recursive=True),
                psutil.Process(process.pid),
            ]
            os.killpg(process.pid, signal.SIGTERM)
            _, alive = psutil.wait_procs(family, timeout=20)
            for one in alive:
                one.kill()
        process.wait()
        log.close()
