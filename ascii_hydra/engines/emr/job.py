"""One step in the cloud: submitted or taken over, and ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ascii_hydra.engines.aws_errors import AWS_FAULTS, is_transient, words
from ascii_hydra.engines.emr import shared
from ascii_hydra.engines.emr.api import (
    ALIVE,
    LEAVING,
    STEP_LIVING,
    STEP_WANTED,
    Emr,
    own_args,
    pipes_uri,
    state_of,
    submission_of,
)
from ascii_hydra.engines.emr.cluster_logs import ClusterLogs
from ascii_hydra.engines.emr.doubles import Doubles
from ascii_hydra.engines.emr.earlier import EarlierAttempts
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.ending import (
    cancelled_double,
    cancelled_step,
    ended_cluster,
    left_cluster,
    stopped_driver,
)
from ascii_hydra.engines.emr.leftovers import (
    cluster_left,
    perhaps_a_cluster,
    perhaps_a_step,
    step_left,
)
from ascii_hydra.engines.emr.submission import (
    UnclearError,
    clusters_made,
    config_of,
    step_with,
    steps_with,
    submitted_cluster,
    submitted_step,
)
from ascii_hydra.engines.pipes_arguments import numbered
from ascii_hydra.engines.pipes_folder import FolderError, PipesFolder
from ascii_hydra.engines.pipes_run import LeftoverError, UnusableClusterError
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.engines.still_running import StillRunning, known

# "Maximum number of active steps(State = 'Running', ...) for cluster exceeded."
_FULL = re.compile(r"(?i)maximum number of (?:\w+ )*steps")
# Until EMR shows the step of a cluster that it has just made.
_SHOWN_WITHIN_S = 30.0
_SHARED_ATTEMPTS = 3


class Job:
    """What runs for us in the cloud; its ids are filled in as soon as they are known.

    Args:
        emr: where.
        launch: names the runs that share clusters.
        say: is told what happens.
        warn: is told of a double that cannot be ended.

    Attributes:
        cluster_id, step_id: None as long as nothing has been submitted.
        own: the cluster is there for this step alone.
        adopted: an earlier attempt has submitted it.
    """

    def __init__(
        self,
        emr: Emr,
        launch: str,
        say: Callable[[str], None],
        warn: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.cluster_id: str | None = None
        self.step_id: str | None = None
        self.own = False
        self.adopted = False
        self._submitted = emr.clock.reading()
        self._emr = emr
        self.launch = launch
        self._say = say
        self._warn = warn
        self._doubles: Doubles | None = None
        self._flow: Any = None

    @property
    def doubles(self) -> list[str]:
        """Clusters that calls without a clear answer have made besides its own."""
        return list(self._doubles.found) if self.own and self._doubles is not None else []

    @property
    def submitted_at(self) -> float:
        """When it was submitted, in seconds since the epoch, by AWS's clock as far as it is known
        by now."""
        return self._emr.clock.time_of(self._submitted)

    def adopt(self, token: str, request: EmrRequest) -> str | None:
        """Take over what an earlier attempt has left running, if it is the step that is asked for;
        end what is not, and see it leave, for two must not write one output.

        Returns:
            The URI of its messages; None if there is nothing to go on with.

        Raises:
            UnusableClusterError: the cluster that was named.
            LeftoverError: see there.
            ClientError, BotoCoreError: EMR cannot be asked.
            FolderError: its messages' folder cannot be read, or asked to stop.
            StoppedError: stopped while EMR was asked what there is.
        """
        if request.cluster_id is not None:
            self._check(request.cluster_id, request.release_label)
        earlier = EarlierAttempts(self._emr, token, request, self._say)
        left = earlier.living(lambda step: self._is_asked_for(step, token, request))
        chosen = next((one for one in left if self._is_asked_for(one[1], token, request)), None)
        uri = None if chosen is None else pipes_uri(chosen[1])
        for cluster, step in left:
            if chosen is None or step["Id"] != chosen[1]["Id"]:
                self._end_earlier(cluster, step, token, double=pipes_uri(step) == uri)
        hidden = earlier.stop(uri, lambda one: self._end_earlier(*one, token))
        if hidden is not None:
            why = "its driver does not answer, and EMR does not show it"
            raise LeftoverError(
                f"was not submitted: an earlier attempt at it may still write its output ({why})."
                f" Look for its cluster and end it; once none is left, delete {hidden}",
                perhaps_a_cluster(self._emr.place, why),
            )
        if chosen is not None:
            cluster, step = chosen
            self.cluster_id, self.step_id = cluster["Id"], step["Id"]
            self.own, self.adopted = token in cluster["Name"], True
            self._say(f"goes on with step {step['Id']} of cluster {cluster['Id']}, still running")
        return uri

    def submit(self, request: EmrRequest) -> None:
        """Submit a step exactly once.

        Raises:
            UnusableClusterError: the cluster that was named.
            InterruptedError, StoppedError: stopped before anything was submitted.
            UnclearError: see there.
            ClientError, BotoCoreError: EMR refused it, or was not to be reached.
        """
        self.cluster_id = self.step_id = self._doubles = None
        self._submitted = self._emr.clock.reading()
        if request.cluster_id is not None:
            self._check(request.cluster_id, request.release_label)
            self.cluster_id = request.cluster_id
            self.step_id = self._submitted_step(self.cluster_id, request)
        elif request.shared:
            self._submit_shared(request)
        else:
            self._submit_own(request)

    @property
    def ends_with_launch(self) -> bool:
        """It is on a cluster that this process ends when the launch is over."""
        return self._flow is not None and self.cluster_id in shared.clusters_of(
            self._emr, self.launch, self._flow
        )

    def seek_doubles(self, now: float) -> None:
        """While its step runs: end what calls without a clear answer have made besides it.

        Args:
            now: seconds since the epoch, by the clock.
        """
        if self._doubles is not None:
            known = (self.cluster_id, self.step_id)
            self._doubles.seek(known, now, say=self._say, warn=self._warn)
        if self._flow is not None:
            shared.seek_doubles(
                self._emr, self.launch, self._flow, now, say=self._say, warn=self._warn
            )

    def end(self, *, unstarted: bool = False) -> tuple[StillRunning, ...]:
        """End it, whatever it does, and see it leave; what may still run.

        Args:
            unstarted: its cluster has not started in time, so it is of no use to others either.
        """
        left: list[StillRunning | None] = []
        if self.cluster_id is not None:
            if unstarted and self._flow is not None:
                shared.replaced(self._emr, self.launch, self._flow, self.cluster_id)
                left.append(self._ended(self.cluster_id))
            elif self.own:
                left.append(self._ended(self.cluster_id))
            elif self.step_id is not None:
                left.append(self._cancelled(self.cluster_id, self.step_id))
        return known((*left, *self._end_doubles()))

    def leave(self, cluster_state: str, step: Mapping[str, Any]) -> tuple[StillRunning, ...]:
        """Once its step has ended: see its own cluster leave, or on one that stays the driver of a
        step that somebody else has cancelled; what may still run.

        Args:
            cluster_state: see there.
            step: as ListSteps gives it.
        """
        assert self.cluster_id is not None
        if self.own:
            fault = left_cluster(self._emr, self.cluster_id)
            left = None if fault is None else cluster_left(self.cluster_id, self._emr.place, fault)
            if left is not None:
                left = replace(left, may_write=False)
            return known((left, *self._end_doubles()))
        if self._flow is not None and cluster_state in LEAVING:
            # It is of no use to the launch's other steps either.
            shared.replaced(self._emr, self.launch, self._flow, self.cluster_id)
        left = None
        if state_of(step) == "CANCELLED" and cluster_state not in LEAVING:
            fault = stopped_driver(self._emr, self.cluster_id, step)
            if fault is not None:
                left = step_left(self.cluster_id, str(step["Id"]), self._emr.place, fault)
        return known((left, *self._end_doubles()))

    def logs(self, log_uri: str | None) -> ClusterLogs:
        """Its cluster's."""
        return ClusterLogs(self._emr, log_uri, self.cluster_id or "?")

    def _is_asked_for(self, step: Mapping[str, Any], token: str, request: EmrRequest) -> bool:
        """Whether a step that an earlier attempt has left is what is asked for, and goes on."""
        config = config_of(request.step_config["Name"], "<token>")
        return (
            own_args(step) == own_args(request.step_config)
            # What it runs on, too: a retry may ask for a larger cluster.
            and config_of(step["Name"], token) == config
            and state_of(step) in STEP_WANTED
            and self._folder(step).is_wanted(submission_of(step))
        )

    def _end_earlier(
        self,
        cluster: Mapping[str, Any],
        step: Mapping[str, Any],
        token: str,
        *,
        double: bool = False,
    ) -> None:
        cluster_id, step_id = cluster["Id"], step["Id"]
        self._say(f"ends step {step_id} of cluster {cluster_id}, an earlier attempt's")
        if token in cluster["Name"]:
            left = self._ended(cluster_id)
        elif double:
            fault = cancelled_double(self._emr, cluster_id, step_id)
            left = None if fault is None else step_left(cluster_id, step_id, self._emr.place, fault)
        else:
            left = self._cancelled(cluster_id, step_id)
        if left is not None:
            raise LeftoverError(
                f"was not submitted: step {step_id} of cluster {cluster_id}, which an earlier"
                f" attempt has left, may still write its output ({left.reason}). End it first:"
                f" {left.command}",
                left,
            )
        if double:
            return  # its folder is that of the step that goes on
        try:
            self._folder(step).delete()
        except FolderError as unclean:
            self._say(str(unclean))

    def _folder(self, step: Mapping[str, Any]) -> PipesFolder:
        uri = pipes_uri(step)
        assert uri is not None
        return PipesFolder(S3Store(self._emr.place), uri)

    def _revoke(self, request: EmrRequest, number: int) -> bool:
        try:
            return self._folder(request.step_config).revoke(number)
        except FolderError as fault:
            raise UnclearError(f"the submission had no clear answer, and {fault}") from fault

    def _ended(self, cluster_id: str) -> StillRunning | None:
        fault = ended_cluster(self._emr, cluster_id)
        return None if fault is None else cluster_left(cluster_id, self._emr.place, fault)

    def _cancelled(self, cluster_id: str, step_id: str) -> StillRunning | None:
        fault = cancelled_step(self._emr, cluster_id, step_id)
        return None if fault is None else step_left(cluster_id, step_id, self._emr.place, fault)

    def _end_doubles(self) -> tuple[StillRunning, ...]:
        if self._doubles is None:
            return ()
        return self._doubles.end((self.cluster_id, self.step_id), self._say)

    def _submitted_step(self, cluster_id: str, request: EmrRequest) -> str:
        uri = pipes_uri(request.step_config)

        def cancel(step_id: str) -> None:
            self._emr.call(
                "cancel_steps",
                ClusterId=cluster_id,
                StepIds=[step_id],
                StepCancellationOption="TERMINATE_PROCESS",
            )

        def end(emr: Emr, step_id: str) -> str | None:
            if self.step_id is None:  # it may be the one that works
                return cancelled_step(emr, cluster_id, step_id)
            return cancelled_double(emr, cluster_id, step_id)

        self._doubles = Doubles(
            self._emr,
            made=lambda emr: steps_with(emr, cluster_id, uri, states=STEP_LIVING),
            cancel=cancel,
            end=end,
            left=lambda step_id, why: replace(
                step_left(cluster_id, step_id, self._emr.place, why), may_write=self.step_id is None
            ),
            perhaps=lambda why: replace(
                perhaps_a_step(cluster_id, self._emr.place, why), may_write=self.step_id is None
            ),
        )
        return submitted_step(
            self._emr,
            cluster_id,
            lambda number: _numbered_step(request, number),
            revoke=lambda number: self._revoke(request, number),
            doubt=self._doubles.doubt,
        )

    def _submit_own(self, request: EmrRequest) -> None:
        flow, uri = request.run_job_flow, pipes_uri(request.step_config)
        assert flow is not None
        since, looking = self.submitted_at, self._emr.on_the_way_out()

        def made(emr: Emr) -> Iterator[str]:
            def matches(cluster_id: str) -> bool:
                return bool(steps_with(emr, cluster_id, uri))

            return clusters_made(emr, flow, matches, since, ALIVE)

        def cancel(cluster_id: str) -> None:
            self._emr.call("terminate_job_flows", JobFlowIds=[cluster_id])

        self.own = True
        self._doubles = Doubles(
            self._emr,
            made=made,
            cancel=cancel,
            end=ended_cluster,
            left=lambda cluster_id, why: replace(
                cluster_left(cluster_id, self._emr.place, why), may_write=self.cluster_id is None
            ),
            perhaps=lambda why: replace(
                perhaps_a_cluster(self._emr.place, why), may_write=self.cluster_id is None
            ),
        )
        self.cluster_id = submitted_cluster(
            self._emr,
            lambda number: {**flow, "Steps": [_numbered_step(request, number)]},
            lambda cluster_id, number: step_with(looking, cluster_id, uri, number) is not None,
            revoke=lambda number: self._revoke(request, number),
            doubt=self._doubles.doubt,
        )
        self.step_id = step_with(looking, self.cluster_id, uri, within_s=_SHOWN_WITHIN_S)
        if self.step_id is None:
            raise UnclearError(f"cluster {self.cluster_id} does not have the step")

    def _submit_shared(self, request: EmrRequest) -> None:
        assert request.run_job_flow is not None
        self._flow = request.run_job_flow
        for left in reversed(range(_SHARED_ATTEMPTS)):
            cluster_id = shared.shared_cluster(
                self._emr, self.launch, self._flow, self._say, request.costing
            )
            self.cluster_id = cluster_id
            try:
                self.step_id = self._submitted_step(cluster_id, request)
                shared.served(self._emr, self.launch, self._flow, self.step_id)
                return
            except AWS_FAULTS as fault:
                alive = self._state(cluster_id) in ALIVE
                full = alive and _FULL.search(words(fault))
                if is_transient(fault) or not left or (alive and not full):
                    raise
                why = "has as many steps as EMR allows" if full else "takes no more steps"
                self._say(f"the launch's cluster {cluster_id} {why}")
                shared.replaced(self._emr, self.launch, self._flow, cluster_id)

    def _check(self, cluster_id: str, release_label: str) -> None:
        try:
            cluster = self._emr.patient(lambda: self._emr.cluster(cluster_id))
        except AWS_FAULTS as fault:
            if is_transient(fault):
                raise
            raise UnusableClusterError(
                f"cannot run on engine.cluster_id={cluster_id} ({words(fault)}): name a cluster"
                f" of {self._emr.place.region}, or leave it out"
            ) from None
        if (state := state_of(cluster)) not in ALIVE:
            raise UnusableClusterError(
                f"cannot run on engine.cluster_id={cluster_id}, which is {state}: name a running"
                " cluster, or leave it out"
            )
        if cluster["ReleaseLabel"] != release_label:
            raise UnusableClusterError(
                f"cannot run on engine.cluster_id={cluster_id}, which is {cluster['ReleaseLabel']}:"
                f" its Spark and Python are not those of engine.release_label={release_label}; set"
                " one of the two"
            )

    def _state(self, cluster_id: str) -> str:
        return state_of(self._emr.patient(lambda: self._emr.cluster(cluster_id)))


def _numbered_step(request: EmrRequest, number: int) -> Mapping[str, Any]:
    """The step as the submission with this number has it."""
    hadoop = request.step_config["HadoopJarStep"]
    numbers = {**hadoop, "Args": numbered(hadoop["Args"], number)}
    return {**request.step_config, "HadoopJarStep": numbers}
