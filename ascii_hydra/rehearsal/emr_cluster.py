"""One rehearsed cluster: its states over time, and those of its steps and instances.

Everything here happens under the agenda's lock; only the execution of a step does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.faults import EFFECTS
from ascii_hydra.rehearsal import emr_rules
from ascii_hydra.rehearsal.agenda import Appointment
from ascii_hydra.rehearsal.emr_errors import invalid
from ascii_hydra.rehearsal.emr_execution import Execution, Report
from ascii_hydra.rehearsal.emr_instances import Collection, Instance, collections, new_id
from ascii_hydra.rehearsal.emr_scaling import grown, shrink
from ascii_hydra.rehearsal.emr_start import Start
from ascii_hydra.rehearsal.emr_steps import Step
from ascii_hydra.rehearsal.step_logs import step_folder, write_step_logs
from ascii_hydra.rehearsal.world import World

ENDED_STATES = ("TERMINATED", "TERMINATED_WITH_ERRORS")
_ENDING_STATES = ("TERMINATING", *ENDED_STATES)
# The others are of Databricks alone, and not counted here.
_FAULTS = EFFECTS["cluster"] - {FaultEffect.library_failure}
_STEP_FAULTS = {FaultEffect.step_interrupted, FaultEffect.step_killed}
# Virtual seconds. AWS: a cluster takes 1 to 5 minutes to terminate completely.
_TERMINATING_S = 60.0
_INTERRUPTED_S = 30.0
_CANCELLING_S = 1.0
_SCALE_IN_S = 60.0


class Cluster:
    """A cluster, from RunJobFlow to its end.

    Attributes:
        request: RunJobFlow's arguments.
        steps: in the order in which they were added.
        collections: its fleets or groups.
        visible: when lists show it, in virtual seconds since the epoch.
    """

    def __init__(self, world: World, region: str, request: Mapping[str, Any]) -> None:
        instances = request["Instances"]
        self.id, self.region, self.request = new_id("j"), region, request
        self.steps: list[Step] = []
        self.collections: list[Collection] = collections(instances)
        self.tags = {one["Key"]: one.get("Value", "") for one in request.get("Tags", ())}
        self.keep_alive = bool(instances.get("KeepJobFlowAliveWhenNoSteps", False))
        self.protected = bool(instances.get("TerminationProtected", False))
        self.concurrency = int(request.get("StepConcurrencyLevel", 1))
        self.idle_timeout_s: float | None = None
        self.scaling: Mapping[str, Any] | None = request.get("ManagedScalingPolicy")
        self.state = "STARTING"
        self.created = self.visible = world.agenda.now()
        self.ready: float | None = None
        self.ended: float | None = None
        self.reason: dict[str, str] = {}
        self.error_details: list[dict[str, Any]] = []
        self._with_errors = False
        self._world = world
        self._coming: list[Appointment] = []
        self._idle: Appointment | None = None
        self._applications = 0
        self.put_idle_timeout(request.get("AutoTerminationPolicy", {}).get("IdleTimeout"))
        self.add_steps(request.get("Steps", ()))
        Start(self, world, world.faults.taken("cluster", _FAULTS)).begin()

    # --- what the API asks for -----------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return self.state not in ENDED_STATES

    @property
    def modifiable(self) -> bool:
        """Steps can be added to it."""
        return self.state not in _ENDING_STATES

    @property
    def executing(self) -> bool:
        """A process of one of its steps is alive."""
        return any(step.execution is not None for step in self.steps)

    @property
    def arn(self) -> str:
        """Its name in all of AWS."""
        return f"arn:aws:elasticmapreduce:{self.region}:123456789012:cluster/{self.id}"

    @property
    def instances(self) -> list[Instance]:
        """Of all fleets or groups."""
        return [one for collection in self.collections for one in collection.instances]

    def add_steps(self, steps: Sequence[Mapping[str, Any]]) -> list[Step]:
        """Add steps. Raises ApiError if they cannot be."""
        if not self.modifiable:
            raise invalid(
                "A job flow that is shutting down, terminating, or finished may not be modified."
            )
        active = sum(step.active for step in self.steps)
        emr_rules.check_steps(steps, active=active, concurrency=self.concurrency)
        log_uri = self.request.get("LogUri")
        now = self._world.agenda.now()
        added = [Step(config, now, log_uri) for config in steps]
        self.steps += added
        self._advance()
        return added

    def cancel(self, step: Step, *, gently: bool) -> str | None:
        """Cancel a step; returns why that is not possible."""
        if step.state not in ("PENDING", "RUNNING"):
            return f"Step is in {step.state} state and cannot be cancelled."
        if step.state == "PENDING":
            self._end_step(step, "CANCELLED", message="Step was cancelled by user request.")
        else:
            step.state, step.ending = "CANCEL_PENDING", "CANCELLED"
            step.message = "Step was cancelled by user request."
            if step.execution is not None:
                if step.execution.cancel(gently=gently):
                    # EMR knows nothing of what goes on.
                    self.later(
                        _CANCELLING_S,
                        lambda: self._end_step(step, "CANCELLED", message=step.message),
                    )
            else:
                self._end_step(step, "CANCELLED", message=step.message)
        self._advance()
        return None

    def terminate(self) -> None:
        """As TerminateJobFlows does; it is not protected."""
        self.end("USER_REQUEST", "Terminated by user request")

    def put_keep_alive(self, keep: bool) -> None:
        """As SetKeepJobFlowAliveWhenNoSteps does."""
        self.keep_alive = keep
        self._advance()

    def put_concurrency(self, level: int) -> None:
        """As ModifyCluster does."""
        self.concurrency = level
        self._advance()

    def put_idle_timeout(self, seconds: float | None) -> None:
        """As PutAutoTerminationPolicy does; None removes it."""
        self.idle_timeout_s = None if seconds is None else float(seconds)
        self._rest()

    def put_scaling(self, policy: Mapping[str, Any] | None) -> None:
        """As PutManagedScalingPolicy does; None removes it."""
        self.scaling = policy
        self._scale()

    # --- its steps -----------------------------------------------------------------------------

    def run(self) -> None:
        """Its instances are ready: begin with the steps."""
        now = self._world.agenda.now()
        self.ready = now
        self.state = "WAITING"
        for instance in self.instances:
            instance.state, instance.ready = "RUNNING", now
        self._advance()

    def _advance(self) -> None:
        """Start what can be started, and come to the state that follows from the steps."""
        if self.state not in ("RUNNING", "WAITING"):
            return
        running = sum(step.executing for step in self.steps)
        for step in self.steps:
            if step.state == "PENDING" and running < self.concurrency:
                self._begin(step)
                running += 1
        if any(step.active for step in self.steps):
            self.state, self.reason = "RUNNING", {"Message": "Running step"}
        elif self.keep_alive:
            self.state, self.reason = "WAITING", {"Message": "Cluster ready to run steps."}
        else:
            failed = any(step.state not in ("COMPLETED", "CANCELLED") for step in self.steps)
            errors = " with errors" if failed else ""
            self.end("ALL_STEPS_COMPLETED", f"Steps completed{errors}")
            return
        self._rest()
        self._scale()

    def _begin(self, step: Step) -> None:
        world = self._world
        step.state, step.started = "RUNNING", world.agenda.now()
        fault = world.faults.taken("step", _STEP_FAULTS)
        effect = None if fault is None else fault.effect
        if effect is FaultEffect.step_interrupted:
            self.later(_INTERRUPTED_S, lambda: self._end_step(step, "INTERRUPTED"))
            return
        self._applications += 1
        stamp = int((self.ready or self.created) * 1000)
        step.application = f"application_{stamp}_{self._applications:04}"
        killed = fault is not None and effect is FaultEffect.step_killed
        step.execution = Execution(
            world.sandbox,
            step.config["HadoopJarStep"],
            self.request.get("Configurations", ()),
            self.region,
            step.application,
            kill_after_s=fault.seconds if killed and fault is not None else None,
        )
        thread = threading.Thread(target=self._execute, args=(step,), name=step.id, daemon=True)
        thread.start()

    def _execute(self, step: Step) -> None:
        """In a thread of its own, without the lock."""
        execution = step.execution
        assert execution is not None
        with self._world.clock.real_pace():
            begun = time.monotonic()
            report = execution.run()
            with self._world.agenda.moment():
                self._executed(step, report, time.monotonic() - begun)

    def _executed(self, step: Step, report: Report, took_s: float) -> None:
        step.execution, step.report = None, report
        if not step.active:  # the cluster has ended meanwhile
            self._write_logs(step)
            return
        minutes = self._world.config.step_minutes
        assert step.started is not None
        if minutes is not None and step.ending is None and took_s < minutes * 60:
            # It may be past: before this thread had begun, time may have leapt over it.
            due = step.started + minutes * 60
            self.later(due - self._world.agenda.now(), lambda: self._conclude(step))
        else:
            self._conclude(step)

    def _conclude(self, step: Step) -> None:
        report = step.report
        assert report is not None
        if not step.active:
            return
        if step.ending is not None:
            self._end_step(step, step.ending, message=step.message)
        elif report.code == 0:
            self._end_step(step, "COMPLETED")
        else:
            step.failure = {"Reason": "Unknown Error."}
            if report.message:
                step.failure["Message"] = report.message
            if step.log_uri is not None:
                folder = step_folder(step.log_uri, self.id, step.id)
                step.failure["LogFile"] = f"{folder}/stderr.gz"
            self._end_step(step, "FAILED")

    def _end_step(self, step: Step, state: str, message: str = "") -> None:
        if not step.active:
            return
        self._write_logs(step)
        step.state, step.message = state, message
        step.ended = self._world.agenda.now()
        if state in ("FAILED", "INTERRUPTED") and self.modifiable:
            self._suffer(step)
        self._advance()

    def _suffer(self, step: Step) -> None:
        """What a failed step does to the cluster."""
        action = step.action_on_failure
        # A protected cluster does not end because of a step.
        if action in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW") and not self.protected:
            self.end("STEP_FAILURE", "Shut down as step failed", errors=True)
        elif action != "CONTINUE":
            for other in self.steps:
                if other.state == "PENDING":
                    other.state, other.message = "CANCELLED", "Cancelled as a step before it failed"

    def _write_logs(self, step: Step) -> None:
        if step.report is None or step.log_uri is None or not step.report.logs:
            return
        logs, step.report.logs = step.report.logs, {}
        fault = self._world.faults.taken("logs")
        write = self._log_writer(step.log_uri, step.id, logs)
        if fault is None:
            write()
        elif fault.effect is FaultEffect.logs_late:
            # Not one of `_coming`: logs come even after the cluster's end.
            self._world.agenda.after(fault.seconds, write)

    def _log_writer(self, log_uri: str, step: str, logs: Mapping[str, bytes]) -> Callable[[], None]:
        return lambda: write_step_logs(self._world.store, log_uri, self.id, step, logs)

    # --- while it lives ------------------------------------------------------------------------

    def _rest(self) -> None:
        """Begin, or stop, to count the time without a step."""
        if self._idle is not None:
            self._idle.cancelled = True
            self._idle = None
        if self.state == "WAITING" and self.idle_timeout_s is not None:
            self._idle = self.later(self.idle_timeout_s, self._rested)

    def _rested(self) -> None:
        if self.executing:  # EMR takes a cluster with a YARN application for a busy one
            self._rest()
            return
        if self.protected:
            return
        self.end("ALL_STEPS_COMPLETED", "Auto-terminated after the cluster was idle")

    def _scale(self) -> None:
        limits = (self.scaling or {}).get("ComputeLimits")
        if limits is None or self.ready is None or not self.modifiable:
            return
        if self.state == "WAITING":
            self.later(_SCALE_IN_S, self._shrink)
            return
        coming = grown(self.collections, limits, self._world.agenda.now())
        if coming:
            self.later(self._world.config.provisioning_seconds, lambda: self._join(coming))

    def _join(self, coming: Sequence[Instance]) -> None:
        for instance in coming:
            if instance.ended is None:
                instance.state, instance.ready = "RUNNING", self._world.agenda.now()

    def _shrink(self) -> None:
        if self.state == "WAITING":
            shrink(self.collections, self._world.agenda.now())

    # --- its end -------------------------------------------------------------------------------

    def lose(self, message: str) -> None:
        """Its instances are gone."""
        self.end("INSTANCE_FAILURE", message, errors=True, step_state="INTERRUPTED")

    def end(
        self, code: str, message: str, *, errors: bool = False, step_state: str = "CANCELLED"
    ) -> None:
        """Terminate, unless it already does.

        Args:
            code, message: the reason that EMR tells.
            errors: it ends in TERMINATED_WITH_ERRORS.
            step_state: what a running step comes to.
        """
        if not self.modifiable:
            return
        for appointment in self._coming:
            appointment.cancelled = True
        self.state, self._with_errors = "TERMINATING", errors
        self.reason = {"Code": code, "Message": message}
        now = self._world.agenda.now()
        for step in self.steps:
            if step.execution is not None:  # perhaps of a step that was cancelled before
                step.execution.stop()
            if step.active:
                self._write_logs(step)
                step.state = step_state if step.started is not None else "CANCELLED"
                step.ended = now if step.started is not None else None
        # EC2 charges for an instance until it begins to shut down; the cluster takes longer.
        for instance in self.instances:
            if instance.ended is None:
                instance.state, instance.ended = "TERMINATED", now
        self._world.agenda.after(_TERMINATING_S, self._gone)

    def _gone(self) -> None:
        self.ended = self._world.agenda.now()
        self.state = "TERMINATED_WITH_ERRORS" if self._with_errors else "TERMINATED"

    def later(self, seconds: float, action: Callable[[], None]) -> Appointment:
        """Something that happens unless the cluster ends before."""
        appointment = self._world.agenda.after(seconds, action)
        self._coming = [one for one in self._coming if not one.cancelled] + [appointment]
        return appointment
