"""One step on Databricks: submitted or taken over, and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.ending import cancelled_run, left_cluster
from ascii_hydra.engines.databricks.parameters import own_work, pipes_uri
from ascii_hydra.engines.databricks.states import Stage, task_of, work_of
from ascii_hydra.engines.databricks.submission import living, runs_made, submitted_run
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.pipes_folder import FolderError, PipesFolder
from ascii_hydra.engines.pipes_run import StepError
from ascii_hydra.engines.store import Store

_USABLE = {"RUNNING", "RESIZING", "PENDING", "RESTARTING", "TERMINATED", "TERMINATING"}


class UnusableClusterError(StepError):
    """The cluster that was named cannot be used."""

    again = False


class LeftoverError(StepError):
    """What an earlier attempt has left cannot be ended."""


class Job:
    """What runs for us on Databricks; its id is filled in as soon as it is known.

    Args:
        api: where.
        store: where Pipes messages are.
        say: is told what happens.

    Attributes:
        run_id: None as long as nothing has been submitted.
        adopted: an earlier attempt has submitted it.
        submitted_at: seconds since the epoch, by the clock.
    """

    def __init__(self, api: Databricks, store: Store, say: Callable[[str], None]) -> None:
        self.run_id: int | None = None
        self.adopted = False
        self.submitted_at = api.clock.now()
        self._api = api
        self._store = store
        self._say = say
        self._body: Mapping[str, Any] | None = None
        self._doubted = False
        self._given_up: set[int] = set()

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
        for run in living(self._api, token):
            task = task_of(run)
            same = own_work(task) == own_work(request.task)
            if uri is None and same and work_of(run).stage is not Stage.ending:
                self.run_id, self.adopted = int(run["run_id"]), True
                self._say(f"goes on with run {self.run_id}, still there")
                uri = pipes_uri(task)
            else:
                self._end_earlier(run)
        return uri

    def check(self, cluster_id: str) -> None:
        """See whether the existing cluster that was named is there.

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
        # Databricks starts one that was terminated.
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

    def submit(self, request: DatabricksRequest, attempt: str) -> None:
        """Submit a step exactly once.

        Args:
            request: complete.
            attempt: the idempotency token: names this submission, and no other.

        Raises:
            StoppedError, UnclearError: see there.
            What a call raises: Databricks refused it, or was not to be reached.
        """
        self.run_id = None
        self.submitted_at = self._api.clock.now()
        self._doubted = False
        self._body = {**request.submit, "idempotency_token": attempt}
        self.run_id = submitted_run(self._api, self._body, self._found, self._doubt)

    def give_up(self) -> None:
        """Its run is of no use: the next submission makes another one."""
        if self.run_id is not None:
            self._given_up.add(self.run_id)

    def end(self) -> str | None:
        """End it, whatever it does, and see it end; says what went wrong, or None."""
        fault = None if self.run_id is None else cancelled_run(self._api, self.run_id)
        return fault or self._end_doubles()

    def leave(self, run: Mapping[str, Any]) -> str | None:
        """Once it has ended: see its own cluster leave; says what went wrong, or None.

        Args:
            run: what runs/get says of it.
        """
        return left_cluster(self._api, run) or self._end_doubles()

    def _end_earlier(self, run: Mapping[str, Any]) -> None:
        run_id = int(run["run_id"])
        self._say(f"ends run {run_id}, an earlier attempt's")
        fault = cancelled_run(self._api, run_id)
        if fault is not None:
            raise LeftoverError(
                f"was not submitted: run {run_id}, which an earlier attempt has left, may still"
                f" write its output ({fault}). End it first: databricks jobs cancel-run {run_id}"
            )
        uri = pipes_uri(task_of(run))
        assert uri is not None
        try:
            PipesFolder(self._store, uri).delete()
        except FolderError as unclean:
            self._say(str(unclean))

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
        made = runs_made(
            self._api.on_the_way_out(), body["run_name"], uri, self.submitted_at, active=active
        )
        return [one for one in made if one not in self._given_up]

    def _end_doubles(self) -> str | None:
        """What calls without a clear answer have made late, besides what is known: end it."""
        if not self._doubted:
            return None
        try:
            doubles = [one for one in self._made(active=True) if one != self.run_id]
        except DATABRICKS_FAULTS as raised:
            return f"it may be there twice: {fault_of(raised).words}"
        faults = [cancelled_run(self._api, one) for one in doubles]
        return next((one for one in faults if one is not None), None)
