"""One step on Databricks as a value: what `plan` prints is what the client submits.

What is known only at a launch stands in it as a placeholder: `<run>`, `<launch>`, `<token>`, and in
a launch's pools `<pool>` and `<driver pool>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ascii_hydra.aws.client import Place
from ascii_hydra.databricks.workspace import Workspace
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.step_run import PIPES_PLACEHOLDERS

POOL, DRIVER_POOL = "<pool>", "<driver pool>"


@dataclass(frozen=True)
class DatabricksRequest:
    """Everything about one step on Databricks.

    Attributes:
        step: the step's name as people know it.
        output: URI of the folder that the step overwrites.
        workspace: which workspace.
        place: which AWS its data, and a staging root in S3, are in.
        spark_version: the runtime of its cluster, of an existing one too.
        cluster_id: an existing cluster, or None.
        serverless: the step runs on serverless compute.
        submit: the body of POST /api/2.2/jobs/runs/submit, with one task, without Pipes'
            bootstrap. Its idempotency token is an attempt's own: the client adds it.
        pools: bodies of POST /api/2.0/instance-pools/create by the placeholder (`POOL`,
            `DRIVER_POOL`) that the pool's id takes the place of; empty unless the steps of a launch
            share instances.
        uploads: what must be in the staging root before.
        messages_uri: folder of this run's Pipes context and messages.
        timeout_s: the step is cancelled and fails when it has worked for so long.
        start_timeout_s: the run is cancelled if it does not work by then.
        poll_s: longest pause between two looks at a run.
        costing: how the step is priced.
        writes_output: a run that does not say that it has written its output fails.
    """

    step: str
    output: str
    workspace: Workspace
    place: Place
    spark_version: str
    cluster_id: str | None
    serverless: bool
    submit: Mapping[str, Any]
    pools: Mapping[str, Mapping[str, Any]]
    uploads: tuple[Upload, ...]
    messages_uri: str
    timeout_s: float
    start_timeout_s: float
    poll_s: float
    costing: Costing
    writes_output: bool = False

    @property
    def task(self) -> Mapping[str, Any]:
        """The one task of the run."""
        task: Mapping[str, Any] = self.submit["tasks"][0]
        return task

    def of(
        self,
        identity: Identity,
        bootstrap: Sequence[str] = (),
        pools: Mapping[str, str] | None = None,
    ) -> DatabricksRequest:
        """This request for one run.

        Args:
            identity: takes the place of the placeholders.
            bootstrap: Pipes' arguments, at the end of the step's own.
            pools: ids of the launch's pools, by their placeholders.
        """
        names = {
            "<run>": identity.run,
            "<launch>": identity.launch,
            "<token>": identity.token,
            **(pools or {}),
        }
        script = self.task["spark_python_task"]
        # The script's own arguments are the user's, whatever they look like.
        parameters = [*script["parameters"], *bootstrap]
        task = {key: one for key, one in self.task.items() if key != "spark_python_task"}
        filled = _filled({**self.submit, "tasks": [task]}, names)
        filled["tasks"][0]["spark_python_task"] = {**script, "parameters": parameters}
        return replace(
            self,
            submit=filled,
            pools={key: _filled(one, names) for key, one in self.pools.items()},
            messages_uri=_filled(self.messages_uri, names),
        )

    def as_json(self) -> dict[str, Any]:
        """The request in plain types: what is uploaded, and the API's own arguments, Pipes' among
        them as placeholders."""
        shown: dict[str, Any] = {"uploads": [one.uri for one in self.uploads]}
        if self.pools:
            shown["instance-pools/create"] = list(self.pools.values())
        script = self.task["spark_python_task"]
        parameters = [*script["parameters"], *PIPES_PLACEHOLDERS]
        task = {**self.task, "spark_python_task": {**script, "parameters": parameters}}
        return {**shown, "jobs/runs/submit": {**self.submit, "tasks": [task]}}


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """Plain data with every placeholder in its texts replaced."""
    if isinstance(value, str):
        for placeholder, name in names.items():
            value = value.replace(placeholder, name)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(one, names) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(one, names) for one in value]
    return value
