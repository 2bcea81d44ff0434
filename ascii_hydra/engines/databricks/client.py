"""The Databricks engine: a Dagster Pipes client that runs one Spark step as one Databricks run.

A step is green only if Databricks calls it SUCCESS and its Pipes messages were read to their
closing mark. On every way out, what we have started has ended, or has been told to and seen to end.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dagster import Failure, MetadataValue, PipesSession
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster_pipes import PipesExtras

from ascii_hydra.engines.cloud_client import CloudClient, folder_session
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.ending import run_left
from ascii_hydra.engines.databricks.explain import (
    Evidence,
    call_advice,
    cause,
    is_in_vain,
    may_pass,
)
from ascii_hydra.engines.databricks.job import Job
from ascii_hydra.engines.databricks.pools import pool_ids
from ascii_hydra.engines.databricks.run_costs import RunCosts
from ascii_hydra.engines.databricks.states import (
    Result,
    cluster_id_of,
    state_of,
    task_of,
    work_of,
)
from ascii_hydra.engines.databricks.submission import UnclearError
from ascii_hydra.engines.databricks.waiting import waited
from ascii_hydra.engines.databricks.watcher import Look
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, fault_of
from ascii_hydra.engines.identity import identity_of, is_retry
from ascii_hydra.engines.payload_upload import ensure_uploaded
from ascii_hydra.engines.pipes_arguments import bootstrap_words
from ascii_hydra.engines.pipes_folder import FolderContextInjector, FolderReader
from ascii_hydra.engines.pipes_reader import Report
from ascii_hydra.engines.pipes_run import (
    Context,
    Handle,
    LeftoverError,
    StepError,
    announce,
    completed,
    dagsters_faults,
    reported_exception,
)
from ascii_hydra.engines.step_costs import StepCosts
from ascii_hydra.engines.still_running import StillRunning, write_may_go_on
from ascii_hydra.engines.still_running_events import Leftovers
from ascii_hydra.engines.store import Store
from ascii_hydra.engines.wording import exception_words
from ascii_hydra.engines.workspace_store import WorkspaceStore
from ascii_hydra.step.choices import Engine

# One run more, when the cloud or Databricks itself has failed.
_RUNS = 2
_OUTPUT_PATIENCE_S = 60.0
_TRACE_LINES = 40


class DatabricksClient(CloudClient[DatabricksRequest]):
    """Runs steps on Databricks."""

    def _ran(
        self,
        context: Context,
        request: DatabricksRequest,
        extras: PipesExtras | None,
        launch: str,
        stop: threading.Event,
    ) -> PipesClientCompletedInvocation:
        api = Databricks(request.workspace, self._clock, stop, context.log.warning)
        run = _Run(context, request, api, launch, self._tell, self._warn, self._keep)
        return run.invocation(extras)


class _Run:
    """One run of one step."""

    def __init__(
        self,
        context: Context,
        request: DatabricksRequest,
        api: Databricks,
        launch: str,
        tell: Callable[[str], None],
        warn: Callable[[str], None],
        keep: Callable[[StillRunning], None],
    ) -> None:
        self._context = context
        self._request = request
        self._api = api
        self._tell = tell
        self._left = Leftovers(context, request.step, warn, keep)
        self._identity = identity_of(context, launch)
        self._store = _store(request, api)
        self._job = Job(api, self._store, self._say, self._left.report)
        self._costs = StepCosts(
            context, request.costing, request.step, Engine.databricks, self._say
        )
        self._attempts = RunCosts(api, request, self._identity, self._job, self._costs)
        self._page: str | None = None
        self._cluster_id: str | None = None
        self._state = ""

    def invocation(self, extras: PipesExtras | None) -> PipesClientCompletedInvocation:
        """Run it; every fault becomes Dagster's."""
        try:
            return self._faulted(extras)
        finally:
            self._costs.told()

    def _faulted(self, extras: PipesExtras | None) -> PipesClientCompletedInvocation:
        with dagsters_faults(self._request.step, self._costly_handle):
            try:
                return self._invocation(extras)
            except LeftoverError as leftover:
                self._left.report(leftover.left)
                raise
            except DATABRICKS_FAULTS as raised:
                fault = fault_of(raised)
                if self._api.stop.is_set() and fault.transient:
                    raise InterruptedError("stopped") from None
                # What is refused for what it is would be refused again.
                raise StepError(
                    f"could not be run: {fault.words}{call_advice(fault)}",
                    again=fault.transient or fault.expired,
                ) from raised

    def _costly_handle(self) -> Handle:
        found = {} if self._job.run_id is None else self._handle()
        return {**found, **self._left.metadata(), **self._costs.metadata()}

    def _invocation(self, extras: PipesExtras | None) -> PipesClientCompletedInvocation:
        request, uri = self._request, None
        if request.cluster_id is not None:
            self._job.check(request.cluster_id, request.spark_version)
        if is_retry(self._context):
            uri = self._job.adopt(self._identity.token, request)
        if uri is None:
            ensure_uploaded(request.uploads, self._store, self._api.stop, self._say)
        for left in reversed(range(_RUNS)):
            self._attempts.begin()
            try:
                evidence, session, report = self._ended(uri, extras)
            except BaseException as raised:
                self._attempts.count(self._job, unclear=isinstance(raised, UnclearError))
                raise
            sentence = cause(evidence)
            self._attempts.count(self._job, evidence.run, wasted=sentence is not None)
            if sentence is None:
                return completed(
                    self._context,
                    session,
                    report,
                    self._costly_handle(),
                    writes_output=self._request.writes_output,
                    waste=self._costs.spoiled,
                )
            again = left and not self._job.adopted and may_pass(evidence)
            if not again or self._api.stop.is_set():
                break
            self._say(f"a second run is made, because {sentence}")
        raise Failure(
            sentence,
            metadata=self._failed_metadata(evidence),
            allow_retries=not is_in_vain(evidence),
        ) from None

    def _ended(
        self, uri: str | None, extras: PipesExtras | None
    ) -> tuple[Evidence, PipesSession, Report]:
        """How one run has ended, and what it has reported.

        Args:
            uri: of the messages of the run that is taken over; None to submit one.
            extras: for the step.
        """
        nonce = secrets.token_hex(4)
        if uri is None:
            # A folder that no other run has: by it, what is submitted here is known, and its
            # messages are no other's. Beside the others': the folder of folders would be left when
            # it is empty.
            base = self._request.of(self._identity).messages_uri.rstrip("/")
            uri = f"{base}-{nonce}"
        with folder_session(
            self._context,
            self._store,
            uri,
            extras,
            adopted=self._job.adopted,
            poll_s=self._request.poll_s,
        ) as opened:
            bootstrap = bootstrap_words(opened.session)
            evidence = self._attempt(bootstrap, nonce, opened.reader, opened.injector)
        report = opened.reader.report
        evidence = replace(
            evidence,
            opened=report.opened,
            closed=report.closed,
            exception=reported_exception(report),
        )
        return evidence, opened.session, report

    def _attempt(
        self,
        bootstrap: list[str],
        nonce: str,
        reader: FolderReader,
        injector: FolderContextInjector,
    ) -> Evidence:
        """Run the step to its end, and say how it ended, by Databricks' own account."""
        job = self._job
        self._page, self._cluster_id, self._state = None, None, ""
        try:
            if not job.adopted:
                wanted = self._request.of(self._identity).pools
                pools = pool_ids(
                    self._api, self._identity.launch, wanted, self._say, self._request.costing
                )
                request = self._request.of(self._identity, bootstrap, pools)
                # A retry is given no old run, and a lost reply is.
                job.submit(request, f"{self._identity.token}-{nonce}")
            self._announce()
            look, own = waited(
                self._api,
                job,
                self._request,
                reader,
                see=self._see,
                warn=self._context.log.warning,
            )
            left = job.leave(look.run) if own is None else job.end()
        except BaseException as raised:
            unclear = (raised.left,) if isinstance(raised, UnclearError) else ()
            self._lament((*unclear, *self._ended_late()), injector)
            raise
        self._lament(left, injector)
        run = look.run if job.last is None else job.last
        if own is not None and state_of(run).result is Result.success:
            own = None  # it had ended before it could be cancelled
        return self._seen(run, own)

    def _seen(self, run: Mapping[str, Any], own: str | None) -> Evidence:
        evidence = Evidence(step=self._request.step, run=run, own=own)
        if evidence.state.result is Result.success:
            return evidence
        out = self._api.on_the_way_out()
        task_run_id, cluster_id = task_of(run).get("run_id"), cluster_id_of(run)
        if task_run_id is not None:
            output = self._asked("its output", lambda: out.output(int(task_run_id)))
            evidence = replace(evidence, output=output)
        if cluster_id is not None:
            cluster = self._asked(f"its cluster {cluster_id}", lambda: out.cluster(cluster_id))
            evidence = replace(evidence, cluster=cluster)
        return evidence

    def _asked(self, what: str, call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """What Databricks says; a step's failure is told without it, if need be."""
        # Not the way out's patience with a refusal: who runs a step need not see all of it.
        patient = Databricks(self._api.workspace, self._api.clock, threading.Event()).patient
        try:
            return patient(call, _OUTPUT_PATIENCE_S)
        except DATABRICKS_FAULTS as raised:
            words = fault_of(raised).words
            self._context.log.warning(f"Databricks does not tell {what} ({words})")
            return {}

    # --- telling -----------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        self._context.log.info(f"{self._request.step}: {line}")
        self._tell(f"{self._request.step}: {line}")

    def _see(self, look: Look) -> None:
        """Tell what a look shows for the first time."""
        self._attempts.see(look)
        run_id, state = self._job.run_id, work_of(look.run)
        if state_of(look.run).result is not None:
            state = state_of(look.run)
        page, cluster_id = look.run.get("run_page_url"), cluster_id_of(look.run)
        new_page = page is not None and self._page is None
        new_cluster = cluster_id is not None and cluster_id != self._cluster_id
        if new_page:
            self._page = str(page)
            self._say(f"run {run_id} is at {page}")
        if new_cluster:
            self._cluster_id = cluster_id
        if new_page or new_cluster:
            self._announce()
        if state.told != self._state:
            self._state = state.told
            waits = f" ({state.messages[0]})" if state.told == "QUEUED" and state.messages else ""
            self._say(f"run {run_id} is {state.told}{waits}")

    def _announce(self) -> None:
        """Put what runs into Dagster's history at once: it costs money from now on."""
        where = "" if self._cluster_id is None else f" on cluster {self._cluster_id}"
        line = f"{self._request.step} is run {self._job.run_id} of Databricks{where}"
        announce(self._context, line, self._handle())

    def _ended_late(self) -> tuple[StillRunning, ...]:
        """End it after a fault; what may still run. Whatever keeps us from ending it is told."""
        try:
            return self._job.end()
        except Exception as fault:
            if self._job.run_id is not None:
                why = exception_words(type(fault).__name__, str(fault))
                self._left.report(run_left(self._job.run_id, why))
            raise

    def _lament(self, left: tuple[StillRunning, ...], injector: FolderContextInjector) -> None:
        if write_may_go_on(left):
            injector.end_unseen()
        for one in left:
            self._left.report(one)

    def _handle(self) -> Handle:
        """Where to find it: to be shown whether it succeeds or fails."""
        found: Handle = {"databricks/run_id": MetadataValue.text(str(self._job.run_id))}
        if self._page is not None:
            found["databricks/run_page"] = MetadataValue.url(self._page)
        if self._cluster_id is not None:
            found["databricks/cluster_id"] = MetadataValue.text(self._cluster_id)
        return found

    def _failed_metadata(self, evidence: Evidence) -> Handle:
        state = evidence.state
        trace = (evidence.trace or evidence.error).splitlines()
        logs = str(evidence.output.get("logs") or "").splitlines()
        return {
            **self._costly_handle(),
            "databricks/state": MetadataValue.text(state.told or "unknown"),
            "databricks/termination_code": MetadataValue.text(state.code or "(none)"),
            "databricks/error_trace": MetadataValue.text(
                "\n".join(trace[-_TRACE_LINES:]) or "(none)"
            ),
            "databricks/log_tail": MetadataValue.text("\n".join(logs[-_TRACE_LINES:]) or "(none)"),
        }


def _store(request: DatabricksRequest, api: Databricks) -> Store:
    """Where a request's payload and messages are."""
    if request.messages_uri.startswith("s3://"):
        from ascii_hydra.engines.s3_store import S3Store

        return S3Store(request.place)
    # Its calls have patience of their own, and must be made though everything is being stopped.
    return WorkspaceStore(api.on_the_way_out())
