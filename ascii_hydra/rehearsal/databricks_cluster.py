"""One cluster of the rehearsal workspace: its states over time.

Everything here happens under the agenda's lock.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from time import gmtime, strftime
from typing import Any

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule
from ascii_hydra.rehearsal.agenda import Appointment
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError
from ascii_hydra.rehearsal.databricks_nodes import Nodes
from ascii_hydra.rehearsal.databricks_pools import Pools
from ascii_hydra.rehearsal.world import World

USER = "rehearsal"
FAULTS = {
    FaultEffect.no_capacity,
    FaultEffect.validation_error,
    FaultEffect.bootstrap_failure,
    FaultEffect.start_failure,
    FaultEffect.instance_failure,
}
# Virtual seconds.
_REFUSED_S = 30.0
_TERMINATING_S = 15.0
_LETTERS = string.ascii_lowercase + string.digits

# Code and type of the cluster's termination, and of that of a run that waits for it, by the fault.
# Codes: the SDK's. Messages: ours but for those that name AWS's error.
_ENDS: Mapping[FaultEffect, tuple[str, str, str, str, str]] = {
    FaultEffect.no_capacity: (
        "AWS_INSUFFICIENT_INSTANCE_CAPACITY_FAILURE",
        "CLOUD_FAILURE",
        "CLOUD_FAILURE",
        "CLOUD_FAILURE",
        "aws_error_message:There is no capacity available that matches your request.",
    ),
    FaultEffect.validation_error: (
        "INVALID_ARGUMENT",
        "CLIENT_ERROR",
        "INVALID_CLUSTER_REQUEST",
        "CLIENT_ERROR",
        "databricks_error_message:The cluster's configuration is not valid.",
    ),
    FaultEffect.bootstrap_failure: (
        "INIT_SCRIPT_FAILURE",
        "CLIENT_ERROR",
        "CLUSTER_ERROR",
        "CLIENT_ERROR",
        "databricks_error_message:Cluster scoped init script failed: non-zero exit status",
    ),
    FaultEffect.start_failure: (
        "INTERNAL_ERROR",
        "SERVICE_FAULT",
        "CLUSTER_ERROR",
        "INTERNAL_ERROR",
        "databricks_error_message:Unexpected internal failure while starting the cluster.",
    ),
    FaultEffect.instance_failure: (
        "COMMUNICATION_LOST",
        "CLOUD_FAILURE",
        "CLUSTER_ERROR",
        "CLOUD_FAILURE",
        "databricks_error_message:The driver node was lost.",
    ),
}


class Cluster:
    """A cluster, from its creation to its end.

    Attributes:
        spec: its ClusterSpec.
        source: JOB of a run's own, API of one that stays.
        libraries: folders with what was installed on it, the oldest first.
        failure: code, type and message with which a run on it ends, if it failed.
    """

    def __init__(
        self, world: World, pools: Pools, spec: Mapping[str, Any], *, run_name: str | None = None
    ) -> None:
        self._world = world
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        now = world.agenda.now()
        self.id = f"{strftime('%m%d-%H%M%S', gmtime(now))}-{letters}"
        self.spec, self.source = spec, "API" if run_name is None else "JOB"
        self.name = spec.get("cluster_name") or f"job-{self.id}-{run_name or ''}"
        self.libraries: list[Path] = []
        self.failure: tuple[str, str, str] | None = None
        self.created = now
        self.running_since: float | None = None
        self.ended: float | None = None
        self.state = "PENDING"
        self.reason: dict[str, Any] | None = None
        self.context_id = secrets.randbelow(10**18)
        self.events: list[dict[str, Any]] = []
        self._pools = pools
        self._waiting: list[Callable[[], None]] = []
        self._busy = 0
        self._idle: Appointment | None = None
        self._coming: list[Appointment] = []
        self._nodes = Nodes(world, pools, spec, self._later, self._event)
        self._start()

    @property
    def alive(self) -> bool:
        """It has not terminated."""
        return self.state != "TERMINATED"

    @property
    def up(self) -> bool:
        """Runs can begin on it."""
        return self.state == "RUNNING"

    def when_up(self, told: Callable[[], None]) -> None:
        """Let somebody know when it is up, or has failed; also when it fails later."""
        self._waiting.append(told)
        if self.state == "TERMINATED":
            self._start()
        elif self.state != "PENDING":
            told()

    def begun(self) -> None:
        """A run uses it."""
        self._busy += 1
        self._rest()

    def executes(self) -> None:
        """A run's script has begun on it."""
        self._nodes.busy()

    def left(self, told: Callable[[], None]) -> None:
        """A run uses it no longer."""
        self._busy -= 1
        if told in self._waiting:
            self._waiting.remove(told)
        if self.source == "API" and self.up and not self._busy:
            self._nodes.idle()
        self._rest()

    def terminate(self, code: str = "USER_REQUEST", kind: str = "SUCCESS", **why: str) -> None:
        """Begin to end it, unless it already does."""
        if self.state in ("TERMINATING", "TERMINATED"):
            return
        for one in self._coming:
            one.cancelled = True
        self.state = "TERMINATING"
        self.reason = {"code": code, "type": kind, "parameters": why}
        self._event("TERMINATING", {"reason": self.reason})
        if self.failure is None and code != "JOB_FINISHED":
            self.failure = ("CLUSTER_ERROR", "CLIENT_ERROR", self._why())
        waiting, self._waiting = self._waiting, []
        if code != "JOB_FINISHED":
            for told in waiting:
                told()
        self._world.agenda.after(_TERMINATING_S, self._gone)

    def gone(self) -> None:
        """It has ended: its run says so."""
        self._gone()

    # --- how it starts and ends ----------------------------------------------------------------

    def _start(self) -> None:
        world = self._world
        self.state, self.failure, self.ended = "PENDING", None, None
        self.libraries, self._coming = [], []
        self._event("CREATING" if not self.events else "STARTING", {"user": USER})
        fault = world.faults.taken("cluster", FAULTS)
        spot_lacks = fault is not None and self._has_other_capacity(fault)
        effect = None if fault is None or spot_lacks else fault.effect
        try:
            waited = self._nodes.take()
        except WorkspaceError as why:
            self.failure = ("CLUSTER_ERROR", "CLIENT_ERROR", why.message)
            self.terminate("INSTANCE_POOL_MAX_CAPACITY_REACHED", "CLIENT_ERROR")
            return
        if effect not in (FaultEffect.no_capacity, FaultEffect.validation_error):
            self._nodes.begin(spot_lacks=spot_lacks)
        config = world.config
        needed_s = config.pool_seconds if waited else config.provisioning_seconds
        scripts_s = config.bootstrap_seconds * len(self.spec.get("init_scripts") or ())
        if effect is FaultEffect.validation_error:
            self._later(_REFUSED_S, lambda: self._fail(effect))
        elif effect in (FaultEffect.no_capacity, FaultEffect.start_failure):
            self._later(needed_s, lambda: self._fail(effect))
        elif effect is FaultEffect.bootstrap_failure:
            self._later(needed_s + config.bootstrap_seconds, lambda: self._fail(effect))
        else:
            self._later(needed_s + scripts_s, lambda: self._run(fault))

    def _has_other_capacity(self, fault: FaultRule) -> bool:
        """Spot alone is short, and this cluster can do without."""
        if fault.effect is not FaultEffect.no_capacity or fault.code != "SPOT":
            return False
        pool, default = self.spec.get("instance_pool_id"), "SPOT_WITH_FALLBACK"
        owner = self.spec
        if pool is not None:  # all about its workers is the pool's
            owner, default = self._pools.named(pool).body, "SPOT"
        availability = (owner.get("aws_attributes") or {}).get("availability", default)
        return str(availability) != "SPOT"

    def _run(self, fault: FaultRule | None) -> None:
        self.state, self.running_since = "RUNNING", self._world.agenda.now()
        self._event("RUNNING", self._nodes.size())
        if fault is not None and fault.effect is FaultEffect.instance_failure:
            self._later(fault.seconds, lambda: self._fail(FaultEffect.instance_failure))
        for told in list(self._waiting):
            told()
        self._rest()

    def _fail(self, effect: FaultEffect) -> None:
        code, kind, run_code, run_kind, message = _ENDS[effect]
        name, _, words = message.partition(":")
        self.reason = {"code": code, "type": kind, "parameters": {name: words}}
        self.failure = (run_code, run_kind, self._why())
        self.terminate(code, kind, **{name: words})

    def _why(self) -> str:
        assert self.reason is not None
        told = ",".join(f"{key}:{one}" for key, one in self.reason["parameters"].items())
        ended = f"{self.reason['code']}({self.reason['type']})" + (f": {told}" if told else "")
        if self.running_since is None:
            return (
                f"Unexpected failure while waiting for the cluster ({self.id}) to be ready: Cluster"
                f" {self.id} is in unexpected state Terminated: {ended}"
            )
        return f"Cluster '{self.id}' was terminated during the run. Reason: {ended}"

    def _gone(self) -> None:
        if self.state == "TERMINATED":
            return
        self.state, self.ended = "TERMINATED", self._world.agenda.now()
        self.running_since = None
        self._nodes.end()

    def _rest(self) -> None:
        """Begin, or stop, to count the time without a run."""
        if self._idle is not None:
            self._idle.cancelled = True
            self._idle = None
        minutes = self.spec.get("autotermination_minutes", 0)
        if self.source == "API" and self.up and minutes and not self._busy:
            self._idle = self._later(
                minutes * 60,
                lambda: self.terminate("INACTIVITY", inactivity_duration_min=str(minutes)),
            )

    def _later(self, seconds: float, action: Callable[[], None]) -> Appointment:
        appointment = self._world.agenda.after(seconds, action)
        self._coming.append(appointment)
        return appointment

    def _event(self, kind: str, details: Mapping[str, Any]) -> None:
        stamp = int(self._world.agenda.now() * 1000)
        self.events.append(
            {"cluster_id": self.id, "timestamp": stamp, "type": kind, "details": dict(details)}
        )

    # --- as the API tells it -------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """As clusters/get tells it."""
        told: dict[str, Any] = {
            **self.spec,
            **self._nodes.types_as_json(),
            "cluster_id": self.id,
            "cluster_name": self.name,
            "cluster_source": self.source,
            "creator_user_name": USER,
            "state": "RESIZING" if self.up and self._nodes.resizing else self.state,
            "state_message": "" if self.failure is None else self.failure[2],
            "start_time": int(self.created * 1000),
            "spec": dict(self.spec),
            "default_tags": {
                "Vendor": "Databricks",
                "Creator": USER,
                "ClusterId": self.id,
                "ClusterName": self.name,
            },
        }
        if self.running_since is not None:
            told["spark_context_id"] = self.context_id
        if self.up:  # a cluster that is no more, or not yet, is told without its nodes
            told |= self._nodes.as_json()
        if self.ended is not None:
            told["terminated_time"] = int(self.ended * 1000)
        if self.reason is not None and self.state in ("TERMINATING", "TERMINATED"):
            told["termination_reason"] = self.reason
        told.pop("apply_policy_default_values", None)
        return told
