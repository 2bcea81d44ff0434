"""A rehearsal workspace through the unmodified SDK of Databricks, for these tests."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.jobs import Run

if TYPE_CHECKING:
    from tests.rehearsal.conftest import Rehearsed

VOLUME = "/Volumes/main/rehearsal/staging"
CLUSTER = {
    "spark_version": "17.3.x-scala2.13",
    "node_type_id": "m5d.large",
    "num_workers": 2,
    "aws_attributes": {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1},
    "custom_tags": {"project": "ascii_hydra"},
}
POOL = {
    "instance_pool_name": "shared",
    "node_type_id": "m5d.large",
    "min_idle_instances": 0,
    "idle_instance_autotermination_minutes": 10,
}
QUICK = "print('hello')\n"
SLEEPER = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def client(url: str, secret: str = "rehearsal", **settings: Any) -> WorkspaceClient:
    """The SDK's client as anybody makes it; it retries nothing for longer than a second."""
    return WorkspaceClient(
        config=Config(
            host=url,
            client_id="rehearsal",
            client_secret=secret,
            auth_type="oauth-m2m",
            retry_timeout_seconds=settings.pop("retry_timeout_seconds", 1),
            **settings,
        )
    )


@dataclass
class Workspace:
    """A workspace, and what tests do with it."""

    cloud: Rehearsed
    sdk: WorkspaceClient
    uploaded: dict[str, str] = field(default_factory=dict)

    def script(self, source: str) -> str:
        """Upload a script; returns its path."""
        if source not in self.uploaded:
            path = f"{VOLUME}/script_{len(self.uploaded)}.py"
            self.sdk.files.upload(path, io.BytesIO(source.encode()), overwrite=True)
            self.uploaded[source] = path
        return self.uploaded[source]

    def body(self, source: str = QUICK, *arguments: str, **changes: Any) -> dict[str, Any]:
        """Body of jobs/runs/submit; `task_...` changes the task, None removes a key."""
        script = {"python_file": self.script(source), "parameters": list(arguments)}
        task = {"task_key": "step", "spark_python_task": script, "new_cluster": CLUSTER}
        task |= {k[5:]: one for k, one in changes.items() if k.startswith("task_")}
        body = {
            "run_name": "rehearsed",
            "tasks": [{key: one for key, one in task.items() if one is not None}],
        }
        return body | {k: one for k, one in changes.items() if not k.startswith("task_")}

    def serverless(self, source: str, *dependencies: str) -> dict[str, Any]:
        """Body of a run without a cluster."""
        # Newer than what is known here: the engine takes it, so the rehearsal does.
        spec = {"environment_version": "5", "dependencies": list(dependencies)}
        return self.body(
            source,
            task_new_cluster=None,
            task_environment_key="default",
            environments=[{"environment_key": "default", "spec": spec}],
        )

    def submit(self, body: Mapping[str, Any]) -> int:
        """Submit a run as it is; returns its id."""
        return int(self.call("POST", "2.2/jobs/runs/submit", body=body)["run_id"])

    def call(self, method: str, path: str, **settings: Any) -> Any:
        return self.sdk.api_client.do(method, f"/api/{path}", **settings)

    def until(self, run: int, *states: str) -> Run:
        """The run once it is in one of these states, or has ended."""

        def found() -> Run | None:
            told = self.sdk.jobs.get_run(run)
            state = told.state.life_cycle_state.value
            return told if (state in states if states else told.end_time) else None

        return self.cloud.until(found)

    def ended(self, body: Mapping[str, Any]) -> Run:
        """A run that was submitted, and has ended."""
        return self.until(self.submit(body))

    def output(self, run: Run) -> Any:
        return self.sdk.jobs.get_run_output(run.tasks[0].run_id)

    def logs(self, body: Mapping[str, Any]) -> str:
        """What the script of a run that succeeds has printed."""
        run = self.ended(body)
        output = self.output(run)
        assert result(run) == "SUCCESS", (output.error, output.error_trace, run.state)
        return str(output.logs)


def result(run: Run) -> str:
    """The result state, or the life cycle state of a run without one."""
    state = run.state
    return str((state.result_state or state.life_cycle_state).value)


def termination(run: Run) -> tuple[str, str]:
    """Code and type."""
    details = run.status.termination_details
    return details.code.value, details.type.value
