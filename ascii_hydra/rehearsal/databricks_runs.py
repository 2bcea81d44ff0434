"""One run of the rehearsal workspace: its states over time.

Everything here happens under the agenda's lock; only the execution of the script does not.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.rehearsal.databricks_cluster import Cluster
from ascii_hydra.rehearsal.databricks_clusters import Clusters
from ascii_hydra.rehearsal.databricks_execution import (
    Execution,
    Installer,
    LibraryError,
    Outcome,
)
from ascii_hydra.rehearsal.databricks_folders import Folders
from ascii_hydra.rehearsal.world import World

# Virtual seconds until serverless compute is there.
_SERVERLESS_S = 10.0
# Access modes whose sessions are Spark Connect's.
_CONNECTED = {"USER_ISOLATION", "DATA_SECURITY_MODE_STANDARD"}
_FAILED = "Workload failed, see run output for details"


class Run:
    """A run, from jobs/runs/submit to its end.

    Attributes:
        body: of the request.
        state: its life cycle state.
        result: its result state, once it has ended.
        outcome: how its script ended, once it has.
    """

    def __init__(
        self,
        world: World,
        folders: Folders,
        installer: Installer,
        clusters: Clusters,
        body: Mapping[str, Any],
    ) -> None:
        self._world, self._folders, self._installer = world, folders, installer
        self.body = body
        self.task: Mapping[str, Any] = body["tasks"][0]
        self.id, self.task_run_id, self.job_id = (secrets.randbelow(10**15) for _ in range(3))
        self.state, self.result, self.message = "PENDING", "", ""
        self.code, self.kind = "", ""
        self.stopped_by_others = False
        self.started = world.agenda.now()
        self.queued_until: float | None = None
        self.script_started: float | None = None
        self.script_ended: float | None = None
        self.ended: float | None = None
        self.cluster: Cluster | None = None
        self.outcome: Outcome | None = None
        self._clusters = clusters
        self._execution: Execution | None = None
        self._preparing = self._cleaned = False
        self._final = ""
        fault = world.faults.taken("step", {FaultEffect.queued, FaultEffect.skipped})
        if fault is not None and fault.effect is FaultEffect.skipped:
            why = fault.message or "The run was skipped."
            self._leave("SKIPPED", "", "SKIPPED", "CLIENT_ERROR", why)
        elif fault is not None:
            self.state = "QUEUED"
            world.agenda.after(fault.seconds, self._begin)
        else:
            self._begin()
        for at in (body, self.task):
            if at.get("timeout_seconds"):
                world.agenda.after(at["timeout_seconds"], self._time_out)

    @property
    def active(self) -> bool:
        """It has not ended."""
        return self.ended is None

    @property
    def executing(self) -> bool:
        """A process of it is alive."""
        return self._execution is not None or self._preparing

    @property
    def serverless(self) -> bool:
        """It has no cluster."""
        return "environment_key" in self.task

    def cancel(self) -> None:
        """As jobs/runs/cancel does."""
        self._end("TERMINATED", "CANCELED", "USER_CANCELED", "CLIENT_ERROR", "Run cancelled.", True)

    # --- its beginning -------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self.active or self._final:
            return
        if self.state == "QUEUED":
            self.queued_until = self._world.agenda.now()
        self.state = "PENDING"
        if self.serverless:
            self._world.agenda.after(_SERVERLESS_S, self._prepare)
            return
        if "existing_cluster_id" in self.task:
            self.cluster = self._clusters.named(self.task["existing_cluster_id"])
        else:
            name = str(self.body.get("run_name", "Untitled"))
            self.cluster = self._clusters.of_job(self.task["new_cluster"], name)
        self.cluster.begun()
        self.cluster.when_up(self._cluster_told)

    def _cluster_told(self) -> None:
        cluster = self.cluster
        assert cluster is not None
        if self._final or not self.active:
            return
        if cluster.failure is not None or not cluster.up:
            code, kind, why = cluster.failure or ("CLUSTER_ERROR", "CLIENT_ERROR", cluster.state)
            self._end("INTERNAL_ERROR", "FAILED", code, kind, why)
        elif not self._preparing and self.script_started is None:
            needed_s = self._world.config.bootstrap_seconds if self._wanted() else 0.0
            self._world.agenda.after(needed_s, self._prepare)

    def _wanted(self) -> list[Mapping[str, Any]]:
        """The libraries that are to be installed."""
        if not self.serverless:
            return list(self.task.get("libraries", ()))
        (environment,) = (
            one
            for one in self.body["environments"]
            if one["environment_key"] == self.task["environment_key"]
        )
        return [
            {"whl": one} if one.startswith("/") else {"pypi": {"package": one}}
            for one in environment["spec"].get("dependencies", ())
        ]

    def _prepare(self) -> None:
        if self._final or not self.active:
            return
        fault = self._world.faults.taken("cluster", {FaultEffect.library_failure})
        if fault is not None:
            wanted = self._wanted() or [{"pypi": {"package": "nothing"}}]
            self._fail_library(f"Library installation failed for library {wanted[0]}.")
            return
        self._preparing = True
        name = f"run {self.id}"
        threading.Thread(target=self._execute, name=name, daemon=True).start()

    def _fail_library(self, why: str) -> None:
        code = "LIBRARY_INSTALLATION_ERROR"
        self._end("INTERNAL_ERROR", "FAILED", code, "CLIENT_ERROR", why)

    # --- its script ----------------------------------------------------------------------------

    def _execute(self) -> None:
        """In a thread of its own, without the lock."""
        with self._world.clock.real_pace():
            installed: list[Path] = []
            failure = ""
            try:
                installed = self._installer.installed(self._wanted())
            except LibraryError as why:
                failure = str(why)
            with self._world.agenda.moment():
                self._preparing = False
                if failure:
                    self._fail_library(failure)
                execution = None if self._final else self._started(installed)
                self._settle()
            if execution is None:
                return
            outcome = execution.run()
            with self._world.agenda.moment():
                self._executed(outcome)

    def _started(self, installed: list[Path]) -> Execution:
        spec: Mapping[str, Any] = {} if self.cluster is None else self.cluster.spec
        if self.cluster is not None:
            # What was there before comes first, also if it is another version of the same.
            before = self.cluster.libraries
            before += [one for one in installed if one not in before]
            installed = before
        fault = self._world.faults.taken("step", {FaultEffect.step_killed})
        self.state, self.script_started = "RUNNING", self._world.agenda.now()
        if self.cluster is not None:
            self.cluster.executes()
        version = str(spec.get("spark_version", "client.4.0")).partition(".x-")[0]
        self._execution = Execution(
            self._world.sandbox,
            self._folders,
            self.task["spark_python_task"],
            list(installed),
            spark_conf=spec.get("spark_conf", {}),
            variables=spec.get("spark_env_vars", {}),
            runtime=version,
            connect=self.serverless or spec.get("data_security_mode") in _CONNECTED,
            kill_after_s=None if fault is None else fault.seconds,
        )
        return self._execution

    def _executed(self, outcome: Outcome) -> None:
        self._execution, self.outcome = None, outcome
        if self._final:  # it has been cancelled meanwhile
            self._settle()
            return
        minutes, left = self._world.config.step_minutes, 0.0
        assert self.script_started is not None
        if minutes is not None:
            left = self.script_started + minutes * 60 - self._world.agenda.now()
        if left > 0:
            self._world.agenda.after(left, self._conclude)
        else:
            self._conclude()

    def _conclude(self) -> None:
        assert self.outcome is not None
        if self.outcome.error:
            self._end("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", _FAILED)
        else:
            self._end("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS", "")

    # --- its end -------------------------------------------------------------------------------

    def _time_out(self) -> None:
        why = "The run has reached its time limit: timeout_seconds."
        self._end("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR", why, True)

    def _end(
        self, final: str, result: str, code: str, kind: str, message: str, by_others: bool = False
    ) -> None:
        """Begin to end, unless it already does."""
        if self._final or not self.active:
            return
        self._final, self.stopped_by_others = final, by_others
        self.result, self.code, self.kind, self.message = result, code, kind, message
        if self.script_started is not None:
            self.script_ended = self._world.agenda.now()
        begun = self.state != "QUEUED"
        self.state = "TERMINATING"
        if self._execution is not None:
            self._execution.stop()
        cluster = self.cluster
        if cluster is not None:
            cluster.left(self._cluster_told)
            if cluster.source == "JOB":
                cluster.terminate("JOB_FINISHED")
        self._world.agenda.after(self._world.config.cleanup_seconds if begun else 0.0, self._clean)

    def _clean(self) -> None:
        self._cleaned = True
        self._settle()

    def _settle(self) -> None:
        """End, if everything that belongs to it has."""
        if self._final and self._cleaned and not self.executing:
            self._leave(self._final, self.result, self.code, self.kind, self.message)
            if self.cluster is not None and self.cluster.source == "JOB":
                self.cluster.gone()

    def _leave(self, state: str, result: str, code: str, kind: str, message: str) -> None:
        if not self.active:
            return
        self.state, self.result, self.code, self.kind = state, result, code, kind
        self.message, self.ended = message, self._world.agenda.now()


def message_of_run(run: Run) -> str:
    """What the run says of its task."""
    if run.result == "FAILED" and run.message:
        return f"Task {run.task['task_key']} failed with message: {run.message}."
    return run.message
