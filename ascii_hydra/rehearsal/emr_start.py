"""How a rehearsed cluster starts: instances come, bootstrap actions run; what can go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule
from ascii_hydra.rehearsal.emr_instances import Collection
from ascii_hydra.rehearsal.step_logs import write_bootstrap_log
from ascii_hydra.rehearsal.world import World

if TYPE_CHECKING:
    from ascii_hydra.rehearsal.emr_cluster import Cluster

# The name by which the bootstrap action is known that makes a cluster end itself; its one
# argument is the time in seconds.
MAX_LIFETIME = "ascii_hydra-max-lifetime"
_REFUSED_S = 30.0  # virtual
_UNKNOWN_ZONE = "The requested instance type is not supported in the requested availability zone."
_INTERNAL = "Failed to start the job flow due to an internal error"
_SPOT_LOST = "All slaves in the job flow were terminated due to Spot"
# Buckets of AWS's own with bootstrap actions.
_AWS_BUCKETS = ("s3://elasticmapreduce/", "s3://us-east-1.elasticmapreduce/")


class Start:
    """The start of one cluster, with what goes wrong in it.

    Args:
        cluster: whose.
        world: where.
        fault: what goes wrong, or None.
    """

    def __init__(self, cluster: Cluster, world: World, fault: FaultRule | None) -> None:
        self._cluster, self._world, self._fault = cluster, world, fault
        self._effect = None if fault is None else fault.effect

    def begin(self) -> None:
        """Ask for the instances."""
        now, cluster = self._world.agenda.now(), self._cluster
        provisioning_s = self._world.config.provisioning_seconds
        for one in cluster.collections:
            for market, units in one.wanted():
                one.launch(market, units, now)
        if self._effect is FaultEffect.validation_error:
            for one in cluster.collections:
                one.withhold()
            self._end_after(_REFUSED_S, "VALIDATION_ERROR", _UNKNOWN_ZONE)
        elif self._effect is FaultEffect.start_failure:
            self._end_after(provisioning_s, "INTERNAL_ERROR", _INTERNAL)
        elif self._effect is FaultEffect.no_capacity:
            self._find_no_capacity()
        else:
            cluster.later(provisioning_s, self._bootstrap)

    def _end_after(self, seconds: float, code: str, message: str) -> None:
        said = message if self._fault is None else self._fault.message or message
        self._cluster.later(seconds, lambda: self._cluster.end(code, said, errors=True))

    def _find_no_capacity(self) -> None:
        fleets = [one for one in self._cluster.collections if one.is_fleet]
        if not fleets:
            for one in self._cluster.collections:
                one.withhold()
            return  # instance groups wait for ever
        spot = [one for one in fleets if dict(one.wanted())["SPOT"]]
        timeout_s = max(one.spot_timeout_s for one in spot or fleets)
        only_spot = self._fault is not None and self._fault.code == "SPOT"
        for one in fleets:
            one.withhold("SPOT" if only_spot else None)
        if only_spot and all(one.switches_to_on_demand for one in spot):
            self._cluster.later(timeout_s if spot else 0.0, lambda: self._switch(spot))
            return
        market = "Spot" if only_spot else "On-Demand"
        message = (
            f"The {market} capacity of the instance fleet could not be provisioned within its"
            " timeout: insufficient capacity."
        )
        self._end_after(timeout_s, "INSTANCE_FLEET_TIMEOUT", message)

    def _switch(self, fleets: Sequence[Collection]) -> None:
        """There was no spot capacity: take on demand instead."""
        now = self._world.agenda.now()
        for instance in (instance for fleet in fleets for instance in fleet.instances):
            if not instance.given:
                instance.given, instance.market, instance.created = True, "ON_DEMAND", now
                instance.state = "PROVISIONING"
        self._cluster.later(self._world.config.provisioning_seconds, self._bootstrap)

    def _bootstrap(self) -> None:
        cluster = self._cluster
        cluster.state, cluster.reason = "BOOTSTRAPPING", {"Message": "Running bootstrap actions"}
        for instance in cluster.instances:
            instance.state = "BOOTSTRAPPING"
        actions = cluster.request.get("BootstrapActions", ())
        each_s = self._world.config.bootstrap_seconds
        for number, action in enumerate(actions, 1):
            script = action["ScriptBootstrapAction"]["Path"]
            if not self._is_there(script):
                self._fail(number, each_s * number, missing=script)
                return
            if action["Name"] == MAX_LIFETIME:
                seconds = float(action["ScriptBootstrapAction"].get("Args", ["0"])[-1])
                # What EMR says of a primary that shuts itself down: known from mrjob's issues.
                cluster.later(
                    each_s * number + seconds,
                    lambda: cluster.lose("The master node was terminated"),
                )
        if self._effect is FaultEffect.bootstrap_failure:
            self._fail(1, each_s)
            return
        cluster.later(each_s * len(actions), self._run)

    def _is_there(self, script: str) -> bool:
        if "://" not in script:  # a file that every node of EMR has
            return True
        return script.startswith(_AWS_BUCKETS) or self._world.store.exists(script)

    def _fail(self, number: int, after_s: float, missing: str | None = None) -> None:
        self._cluster.later(after_s, lambda: self._failed(number, missing))

    def _failed(self, number: int, missing: str | None) -> None:
        cluster = self._cluster
        primary = next(one.ec2_id for one in cluster.instances if one.role == "MASTER")
        said, code = "returned a non-zero return code", "PRIMARY_WITH_NON_ZERO_CODE"
        if missing is not None:
            said, code = f"download failed: {missing}", "BA_DOWNLOAD_FAILED_PRIMARY"
        message = f"On the master instance ({primary}), bootstrap action {number} {said}"
        data = {"instance-id": primary, "bootstrap-action": str(number)}
        log_uri = cluster.request.get("LogUri")
        if log_uri is not None:
            data["primary-log"] = write_bootstrap_log(
                self._world.store, log_uri, cluster.id, primary, number, message
            )
        cluster.error_details = [
            {
                "ErrorCode": f"BOOTSTRAP_FAILURE_{code}",
                "ErrorData": [data],
                "ErrorMessage": message,
            }
        ]
        cluster.end("BOOTSTRAP_FAILURE", message, errors=True)

    def _run(self) -> None:
        self._cluster.run()
        if self._effect is FaultEffect.instance_failure and self._fault is not None:
            message = self._fault.message or _SPOT_LOST
            seconds = max(1.0, self._fault.seconds)
            self._cluster.later(seconds, lambda: self._cluster.lose(message))
