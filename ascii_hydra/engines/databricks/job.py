"""One step on Databricks: submitted or taken over, and ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.ending import cancelled_run, left_cluster
from ascii_hydra.engines.databricks.parameters import config_of, own_work, pipes_uri
from ascii_hydra.engines.databricks.states import Stage, task_of, work_of
from ascii_hydra.engines.databricks.submission import (
    LOOKS_S,
    living,
    perhaps_a_run,
    runs_made,
    submitted_run,
)
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.pipes_folder import FolderError, PipesFolder
from ascii_hydra.engines.pipes_run import LeftoverError, UnusableClusterError
from ascii_hydra.engines.still_running import StillRunning, known, write_may_go_on
from ascii_hydra.engines.store import Store

_USABLE = {"RUNNING", "RESIZING", "PENDING", "RESTARTING", "TERMINATED", "TERMINATING"}
_LEFT = {"TERMINATED", "TERMINATING"}


class Job:
    """What runs for us on Databricks; its id is filled in as soon as it is known.

    Args:
        api: where.
        store: where Pipes messages are.
        say: is told what happens.
        report: is told what may still run of an earlier attempt, though it hinders no other.

    Attributes:
        run_id: None as long as nothing has been submitted.
        adopted: an earlier attempt has submitted it.
        last: what runs/get has said of it while it was ended; None if it has said nothing.
        doubles: ids of the runs that this submission has made besides.
        left: what may still run, though it was to end.
        earlier: ids of runs that an earlier attempt had left, which were ended.
    """

    def __init__(
        self,
        api: Databricks,
        store: Store,
        say: Callable[[str], None],
        report: Callable[[StillRunning], None] = lambda _left: None,
    ) -> None:
        self.run_id: int | None = None
        self.adopted = False
        self._submitted = api.clock.reading()
        self.last: Mapping[str, Any] | None = None
        self.doubles: list[int] = []
        self.left: tuple[StillRunning, ...] = ()
        self.earlier: list[int] = []
        self._api = api
        self._store = store
        self._say = say
        self._report = report
        self._body: Mapping[str, Any] | None = None
        self._doubted = False

    @property
    def submitted_at(self) -> float:
        """When it was submitted, in seconds since the epoch, by the workspace's clock as far as it
        is known by now."""
        return self._api.clock.time_of(self._submitted)

    def adopt(self, token: str, request: DatabricksRequest) -> str | None:
        """Take over what an earlier attempt has left running, if it is the step that is asked for;
        end what is not, and see it end, for two must not write one output.

        Returns:
            The URI of its messages; None if there is nothing to go on with.

        Raises:
            LeftoverError: see there.
            What a call raises: Databricks cannot be asked.
        """
        uri = None
        config = config_of(request.submit["run_name"], "<token>")
        for run in living(self._api, token):
            task = task_of(run)
            same = (
                own_work(task) == own_work(request.task)
                # What it runs on, too: a retry may ask for a larger cluster.
                and config_of(run["run_name"], token) == config
                and work_of(run).stage is not Stage.ending
            )
            if uri is None and same and self._folder(task).is_wanted():
                self.run_id, self.adopted = int(run["run_id"]), True
                self._say(f"goes on with run {self.run_id}, still there")
                uri = pipes_uri(task)
            else:
                self._end_earlier(run)
        return uri

    def check(self, cluster_id: str, spark_version: str) -> None:
        """See whether the existing cluster that was named is there, and what was planned for.

        Raises:
            UnusableClusterError: it is not.
            What a call raises: Databricks cannot be asked.
        """
        where = f"cannot run on engine.cluster_id={cluster_id}"
        try:
            cluster = self._api.patient(lambda: self._api.cluster(cluster_id))
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            if fault.transient or fault.expired or fault.denied:
                raise
            raise UnusableClusterError(
                f"{where} ({fault.words}): name a cluster of this workspace, or leave it out"
            ) from None
        state = str(cluster.get("state"))
        if state not in _USABLE:
            raise UnusableClusterError(
                f"{where}, which is {state}: name another cluster, or leave it out"
            )
        if str(cluster.get("cluster_source")) == "JOB":
            raise UnusableClusterError(
                f"{where}, which is another run's job cluster: name an all-purpose cluster, or"
                " leave it out"
            )
        # Wheels were chosen for its Python, and the step for its Spark.
        theirs = str(cluster.get("spark_version")).replace("photon-", "")
        if theirs != spark_version:
            raise UnusableClusterError(
                f"{where}, which is {theirs}: its Spark and Python are not those of"
                f" engine.spark_version={spark_version}; set one of the two"
            )
        if state in _LEFT:
            self._check_idle_limit(cluster_id, cluster, state)

    def _check_idle_limit(self, cluster_id: str, cluster: Mapping[str, Any], state: str) -> None:
        """Databricks starts a cluster that was terminated, and we end none that is not ours."""
        minutes = cluster.get("autotermination_minutes")
        if not minutes:
            raise UnusableClusterError(
                f"cannot run on engine.cluster_id={cluster_id}, which is {state} and would never"
                " end once it is started: set its autotermination_minutes, start it yourself, or"
                " leave it out"
            )
        self._say(
            f"cluster {cluster_id} is {state}: the run starts it, and it goes on to cost money"
            f" until it has been idle for {minutes} min (its autotermination_minutes)"
        )

    def submit(self, request: DatabricksRequest, attempt: str) -> None:
        """Submit a step exactly once.

        Args:
            request: complete.
            attempt: the idempotency token: names this submission, and no other.

        Raises:
            StoppedError, UnclearError: see there.
            What a call raises: Databricks refused it, or was not to be reached.
        """
        self.run_id = self.last = None
        self.left = ()
        self.doubles = []
        self._submitted = self._api.clock.reading()
        self._doubted = False
        self._body = {**request.submit, "idempotency_token": attempt}
        self.run_id = submitted_run(self._api, self._body, self._found, self._doubt)

    def end(self) -> tuple[StillRunning, ...]:
        """End it, whatever it does, and see it end; what may still run."""
        left = None
        if self.run_id is not None:
            left = cancelled_run(self._api, self.run_id, self._see)
        self.left = known((left, *self._end_doubles()))
        return self.left

    def leave(self, run: Mapping[str, Any]) -> tuple[StillRunning, ...]:
        """Once it has ended: see its own cluster leave; what may still run.

        Args:
            run: what runs/get says of it.
        """
        self.left = known((left_cluster(self._api, run), *self._end_doubles()))
        return self.left

    def _see(self, run: Mapping[str, Any]) -> None:
        self.last = run

    def _end_earlier(self, run: Mapping[str, Any]) -> None:
        run_id = int(run["run_id"])
        self._say(f"ends run {run_id}, an earlier attempt's")
        self.earlier.append(run_id)
        left = cancelled_run(self._api, run_id)
        if left is not None and write_may_go_on([left]):
            raise LeftoverError(
                f"was not submitted: run {run_id}, which an earlier attempt has left, may still"
                f" write its output ({left.reason}). End it first: {left.command}",
                left,
            )
        if left is not None:
            self._report(left)
        try:
            self._folder(task_of(run)).delete()
        except FolderError as unclean:
            self._say(str(unclean))

    def _folder(self, task: Mapping[str, Any]) -> PipesFolder:
        uri = pipes_uri(task)
        assert uri is not None
        return PipesFolder(self._store, uri)

    def _doubt(self) -> None:
        self._doubted = True

    def _found(self) -> int | None:
        made = self._made(active=False)
        return made[0] if made else None

    def _made(self, *, active: bool) -> list[int]:
        """Runs that this submission has made, newest first."""
        body = self._body
        if body is None:
            return []
        uri = pipes_uri(body["tasks"][0])
        return runs_made(
            self._api.on_the_way_out(), body["run_name"], uri, self.submitted_at, active=active
        )

    def _end_doubles(self) -> tuple[StillRunning, ...]:
        """What calls without a clear answer have made late, besides what is known: end it; what
        may still run of it."""
        if not self._doubted:
            return ()
        ended: dict[int, StillRunning | None] = {}
        try:
            # All looks: a run may be shown late, and of several each at a time of its own.
            for pause in LOOKS_S:
                self._api.clock.sleep(pause, threading.Event())
                for one in self._made(active=True):
                    if one != self.run_id and one not in ended:
                        self.doubles.append(one)
                        ended[one] = cancelled_run(self._api, one)
        except DATABRICKS_FAULTS as raised:
            why = f"it may be there twice: {fault_of(raised).words}"
            return known((*ended.values(), perhaps_a_run(why)))
        return known(ended.values())
