"""One step on EMR as a value: what `plan` prints is what the client submits.

What is known only at a launch stands in it as a placeholder: `<run>`, `<launch>`, `<token>`,
`<deadline>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ascii_hydra.aws.client import Place
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.step_run import PIPES_PLACEHOLDERS


@dataclass(frozen=True)
class EmrRequest:
    """Everything about one step on EMR.

    Attributes:
        step: the step's name as people know it.
        output: URI of the folder that the step overwrites.
        place: which AWS.
        release_label: of the cluster, an existing one too.
        cluster_id: an existing cluster; then `run_job_flow` is None.
        shared: the cluster is one for all steps of a launch.
        run_job_flow: the arguments of RunJobFlow. They hold the step itself unless the cluster is
            shared.
        step_config: the step as RunJobFlow and AddJobFlowSteps take it, without Pipes' bootstrap.
        uploads: what must be in S3 before.
        messages_uri: s3:// folder of this run's Pipes context and messages.
        timeout_s: the step is stopped and fails after so long.
        start_timeout_s: the cluster is terminated if it has not started by then.
        poll_s: longest pause between two looks at a running step.
        log_wait_s: how long the log of a failed step is waited for.
        costing: how what it uses is priced.
        writes_output: a run that does not say that it has written its output fails.
    """

    step: str
    output: str
    place: Place
    release_label: str
    cluster_id: str | None
    shared: bool
    run_job_flow: Mapping[str, Any] | None
    step_config: Mapping[str, Any]
    uploads: tuple[Upload, ...]
    messages_uri: str
    timeout_s: float
    start_timeout_s: float
    poll_s: float
    log_wait_s: float
    costing: Costing
    writes_output: bool = False

    def of(self, identity: Identity, bootstrap: Sequence[str] = ()) -> EmrRequest:
        """This request for one run.

        Args:
            identity: takes the place of the placeholders.
            bootstrap: Pipes' arguments, at the end of the step's own.
        """
        names = {
            "<run>": identity.run,
            "<launch>": identity.launch,
            "<token>": identity.token,
            "<deadline>": identity.deadline,
        }
        hadoop = self.step_config["HadoopJarStep"]
        # The script's own arguments are the user's, whatever they look like.
        step = {
            **self.step_config,
            "Name": _filled(self.step_config["Name"], names),
            "HadoopJarStep": {**hadoop, "Args": [*hadoop["Args"], *bootstrap]},
        }
        flow = None if self.run_job_flow is None else dict(self.run_job_flow)
        if flow is not None:
            flow["Name"] = _filled(flow["Name"], names)
            flow["Tags"] = [
                {**tag, "Value": _filled(tag.get("Value", ""), names)}
                for tag in flow.get("Tags", ())
            ]
            if flow.get("Steps"):
                flow["Steps"] = [step]
        return replace(
            self,
            run_job_flow=flow,
            step_config=step,
            messages_uri=_filled(self.messages_uri, names),
        )

    def as_json(self) -> dict[str, Any]:
        """The request in plain types: what is uploaded, and the API's own arguments, Pipes' among
        them as placeholders."""
        shown: dict[str, Any] = {"uploads": [one.uri for one in self.uploads]}
        hadoop = self.step_config["HadoopJarStep"]
        args = [*hadoop["Args"], *PIPES_PLACEHOLDERS]
        steps = [{**self.step_config, "HadoopJarStep": {**hadoop, "Args": args}}]
        flow = self.run_job_flow
        if flow is not None:
            shown["RunJobFlow"] = {**flow, "Steps": steps} if flow.get("Steps") else flow
        if not (flow or {}).get("Steps"):
            cluster_id = self.cluster_id or "<cluster>"
            shown["AddJobFlowSteps"] = {"JobFlowId": cluster_id, "Steps": steps}
        return shown


def _filled(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text
