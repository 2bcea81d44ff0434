"""One step of a rehearsed cluster, as EMR tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ascii_hydra.rehearsal.emr_execution import Execution, Report
from ascii_hydra.rehearsal.emr_instances import new_id

ACTIVE_STATES = {"PENDING", "CANCEL_PENDING", "RUNNING"}


@dataclass
class Step:
    """A step. Times are virtual seconds since the epoch.

    Attributes:
        config: as RunJobFlow or AddJobFlowSteps had it.
        visible: when lists show it.
        execution: while it really executes. In cluster mode a step that was cancelled still does.
        report: once it has really ended.
        ending: the state that it comes to whatever its execution's end, or None.
    """

    config: Mapping[str, Any]
    created: float
    log_uri: str | None
    visible: float = 0.0
    id: str = field(default_factory=lambda: new_id("s", 20))
    state: str = "PENDING"
    started: float | None = None
    ended: float | None = None
    message: str = ""
    failure: dict[str, str] = field(default_factory=dict)
    application: str | None = None
    execution: Execution | None = None
    report: Report | None = None
    ending: str | None = None

    @property
    def active(self) -> bool:
        """It waits or runs."""
        return self.state in ACTIVE_STATES

    @property
    def executing(self) -> bool:
        """It occupies the cluster."""
        return self.started is not None and self.active

    @property
    def action_on_failure(self) -> str:
        """What its failure does to the cluster."""
        return str(self.config.get("ActionOnFailure", "TERMINATE_JOB_FLOW"))

    def as_json(self) -> dict[str, Any]:
        """As DescribeStep and ListSteps tell it."""
        jar = self.config["HadoopJarStep"]
        times = {
            "CreationDateTime": self.created,
            "StartDateTime": self.started,
            "EndDateTime": self.ended,
        }
        status: dict[str, Any] = {
            "State": self.state,
            "StateChangeReason": {"Message": self.message} if self.message else {},
            "Timeline": {name: round(time, 3) for name, time in times.items() if time is not None},
        }
        if self.failure:
            status["FailureDetails"] = self.failure
        told = {
            "Id": self.id,
            "Name": self.config["Name"],
            "Config": {
                "Jar": jar["Jar"],
                "Properties": {
                    one.get("Key", ""): one.get("Value", "") for one in jar.get("Properties", ())
                },
                "Args": list(jar.get("Args", ())),
            },
            "ActionOnFailure": self.action_on_failure,
            "Status": status,
        }
        if "MainClass" in jar:
            told["Config"]["MainClass"] = jar["MainClass"]
        if self.log_uri is not None:
            told["LogUri"] = self.log_uri
        if self.application is not None:
            told["AdditionalInfo"] = {
                "ResourceManager": "YARN",
                "ResourceManagerApplicationIds": [self.application],
            }
        return told
