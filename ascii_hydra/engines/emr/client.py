"""The EMR engine: a Dagster Pipes client that runs one Spark step on an EMR cluster.

A step is green only if EMR calls it COMPLETED and its Pipes messages were read to their closing
mark. On every way out, what we have started has ended, or has been told to and seen to leave.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from dagster import Failure, MetadataValue, PipesSession
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster_pipes import PipesExtras

from ascii_hydra.engines.aws_errors import AWS_FAULTS, is_final, is_transient, words
from ascii_hydra.engines.cloud_client import CloudClient, folder_session
from ascii_hydra.engines.emr.account import Account
from ascii_hydra.engines.emr.api import STARTED, Emr, state_of
from ascii_hydra.engines.emr.cluster_logs import LogTail
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.explain import Evidence, call_advice, cause, is_in_vain, may_pass
from ascii_hydra.engines.emr.job import Job
from ascii_hydra.engines.emr.leftovers import cluster_left, perhaps_a_cluster, perhaps_a_step
from ascii_hydra.engines.emr.lifetime import submitted_identity
from ascii_hydra.engines.emr.shared import specification
from ascii_hydra.engines.emr.submission import UnclearError
from ascii_hydra.engines.emr.waiting import waited
from ascii_hydra.engines.emr.watcher import Look
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
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.engines.step_costs import StepCosts
from ascii_hydra.engines.still_running import StillRunning, write_may_go_on
from ascii_hydra.engines.still_running_events import Leftovers
from ascii_hydra.engines.wording import exception_words
from ascii_hydra.step.choices import Engine

# One cluster more, when the cloud itself has failed.
_CLUSTERS = 2


class EmrClient(CloudClient[EmrRequest]):
    """Runs steps on EMR."""

    def _ran(
        self,
        context: Context,
        request: EmrRequest,
        extras: PipesExtras | None,
        launch: str,
        stop: threading.Event,
    ) -> PipesClientCompletedInvocation:
        emr = Emr(request.place, self._clock, stop, context.log.warning)
        run = _Run(context, request, emr, launch, self._tell, self._warn, self._keep)
        return run.invocation(extras)

    def _shared(self, request: EmrRequest) -> str | None:
        flow = request.run_job_flow
        return specification(flow) if request.shared and flow is not None else None


class _Run:
    """One run of one step."""

    def __init__(
        self,
        context: Context,
        request: EmrRequest,
        emr: Emr,
        launch: str,
        tell: Callable[[str], None],
        warn: Callable[[str], None],
        keep: Callable[[StillRunning], None],
    ) -> None:
        self._context = context
        self._request = request
        self._emr = emr
        self._tell = tell
        self._left = Leftovers(context, request.step, warn, keep)
        self._identity = identity_of(context, launch)
        self._job = Job(emr, launch, self._say, self._warn)
        self._store = S3Store(request.place)
        self._costs = StepCosts(context, request.costing, request.step, Engine.emr, self._say)
        self._account = Account(emr, request, self._job, self._costs)

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
            except LeftoverError as fault:
                self._left.report(fault.left)
                raise
            except UnclearError as fault:
                raise StepError(
                    f"may or may not have been submitted: {fault}. Look whether a cluster is left:"
                    f" aws emr list-clusters --active --region {self._request.place.region}"
                ) from fault
            except AWS_FAULTS as fault:
                if self._emr.stop.is_set() and is_transient(fault):
                    raise InterruptedError from fault
                what = f"could not be run: {words(fault)}{call_advice(fault)}"
                raise StepError(what, again=not is_final(fault)) from fault

    def _costly_handle(self) -> Handle:
        found = {} if self._job.cluster_id is None else self._handle()
        return {**found, **self._left.metadata(), **self._costs.metadata()}

    def _invocation(self, extras: PipesExtras | None) -> PipesClientCompletedInvocation:
        uri = None
        if is_retry(self._context):
            uri = self._job.adopt(self._identity.token, self._request)
        if uri is None:
            ensure_uploaded(self._request.uploads, self._store, self._emr.stop, self._say)
        for left in reversed(range(_CLUSTERS)):
            try:
                evidence, session, report = self._ended(uri, extras)
            except BaseException as raised:
                self._account.count(unclear=isinstance(raised, UnclearError))
                raise
            sentence = cause(evidence)
            self._account.count(wasted=sentence is not None)
            if sentence is None:
                return completed(
                    self._context,
                    session,
                    report,
                    self._costly_handle(),
                    writes_output=self._request.writes_output,
                    waste=self._costs.spoiled,
                )
            again = left and self._job.own and not self._job.adopted and may_pass(evidence)
            if not again or self._emr.stop.is_set():
                break
            self._say(f"a second cluster is started, because {sentence}")
        tail = self._tail(evidence)
        if tail is not None:  # it may say more than EMR does
            evidence = replace(evidence, tail=tail.lines)
            sentence = cause(evidence) or sentence
        raise Failure(
            sentence,
            metadata=self._failed_metadata(evidence, tail),
            allow_retries=not is_in_vain(evidence),
        ) from None

    def _ended(
        self, uri: str | None, extras: PipesExtras | None
    ) -> tuple[Evidence, PipesSession, Report]:
        """How one submission has ended, and what it has reported.

        Args:
            uri: of the messages of the step that is taken over; None to submit one.
            extras: for the step.
        """
        uri = self._own_folder() if uri is None else uri
        with folder_session(
            self._context,
            self._store,
            uri,
            extras,
            adopted=self._job.adopted,
            poll_s=self._request.poll_s,
        ) as opened:
            now = self._emr.clock.now()
            self._identity = submitted_identity(self._identity, self._request, now)
            request = self._request.of(self._identity, bootstrap_words(opened.session))
            evidence = self._attempt(request, opened.reader, opened.injector)
        report = opened.reader.report
        evidence = replace(
            evidence,
            opened=report.opened,
            closed=report.closed,
            exception=reported_exception(report),
        )
        return evidence, opened.session, report

    def _own_folder(self) -> str:
        """A folder that nothing else submitted has: by it, what is submitted here is known, and its
        messages are no other's."""
        base = self._request.of(self._identity).messages_uri.rstrip("/")
        return f"{base}/{secrets.token_hex(4)}"

    def _attempt(
        self, request: EmrRequest, reader: FolderReader, injector: FolderContextInjector
    ) -> Evidence:
        job = self._job
        try:
            if not job.adopted:
                job.submit(request)
            self._announce()
            look, own = waited(
                self._emr,
                job,
                request,
                reader,
                say=self._say,
                warn=self._context.log.warning,
            )
            cluster = state_of(look.cluster)
            if own is None:
                left = job.leave(cluster, look.step)
            else:
                left = job.end(unstarted=request.cluster_id is None and cluster not in STARTED)
        except BaseException as raised:
            self._lament((*self._unclear(raised), *self._ended_late()), injector)
            raise
        self._lament(left, injector)
        return self._seen(look, own)

    def _seen(self, look: Look, own: str | None) -> Evidence:
        """How it ended, by EMR's own account."""
        step, cluster = look.step, look.cluster
        cluster_id, step_id = self._job.cluster_id, self._job.step_id
        if state_of(step) != "COMPLETED":
            assert cluster_id is not None
            assert step_id is not None
            out = self._emr.on_the_way_out()
            try:
                if own is not None:
                    last = out.patient(lambda: out.steps(cluster_id, [step_id]).get(step_id, {}))
                    if state_of(last) == "COMPLETED":
                        step, own = last, None  # it had ended before it could be ended
                cluster = out.patient(lambda: out.cluster(cluster_id))
            except AWS_FAULTS as fault:  # what the last look has shown will do
                self._context.log.warning(f"{cluster_id} cannot be described ({words(fault)})")
        deadline = self._identity.deadline if self._job.own and not self._job.adopted else ""
        evidence = Evidence(
            step=self._request.step,
            seen=step,
            cluster=cluster,
            own=own,
            overdue=bool(deadline) and look.at >= datetime.fromisoformat(deadline).timestamp(),
        )
        logs = self._job.logs(cluster.get("LogUri"))
        return replace(evidence, bootstrap_log=logs.bootstrap_uri(evidence.reason[1]))

    def _tail(self, evidence: Evidence) -> LogTail | None:
        step_id = self._job.step_id
        if step_id is None or not evidence.begun:
            return None
        # What is known already needs no log, so nobody waits for it.
        known = evidence.exception is not None or evidence.own is not None
        return self._job.logs(evidence.cluster.get("LogUri")).tail(
            step_id,
            wait_s=0.0 if known else self._request.log_wait_s,
            warn=self._context.log.warning,
        )

    # --- telling -----------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        self._context.log.info(f"{self._request.step}: {line}")
        self._tell(f"{self._request.step}: {line}")

    def _warn(self, line: str) -> None:
        self._context.log.warning(f"{self._request.step}: {line}")
        self._tell(f"{self._request.step}: {line}")

    def _announce(self) -> None:
        job = self._job
        line = f"{self._request.step} is step {job.step_id} of EMR cluster {job.cluster_id}"
        announce(self._context, line, self._handle())

    def _unclear(self, raised: BaseException) -> tuple[StillRunning, ...]:
        """What may run though nobody can tell whether it was submitted."""
        job, place = self._job, self._request.place
        if not isinstance(raised, UnclearError) or (job.own and job.cluster_id is not None):
            return ()
        if job.cluster_id is None:
            return (perhaps_a_cluster(place, str(raised)),)
        return (perhaps_a_step(job.cluster_id, place, str(raised)),)

    def _ended_late(self) -> tuple[StillRunning, ...]:
        """End it after a fault; what may still run. Whatever keeps us from ending it is told."""
        try:
            return self._job.end()
        except Exception as fault:
            if self._job.cluster_id is not None:
                why = exception_words(type(fault).__name__, str(fault))
                place = self._request.place
                self._left.report(cluster_left(self._job.cluster_id, place, why))
            raise

    def _lament(self, left: tuple[StillRunning, ...], injector: FolderContextInjector) -> None:
        self._account.left = left
        if write_may_go_on(left):
            injector.end_unseen()
        for one in left:
            if self._job.ends_with_launch:
                self._left.mention(one, "Its cluster is ended with the launch.")
            else:
                self._left.report(one)

    def _handle(self) -> Handle:
        """Where to find it: to be shown whether it succeeds or fails."""
        region, cluster_id = self._request.place.region, self._job.cluster_id or "?"
        step_id = self._job.step_id or "?"
        log_uri = (self._request.run_job_flow or {}).get("LogUri")
        return {
            "emr/cluster_id": MetadataValue.text(cluster_id),
            "emr/step_id": MetadataValue.text(step_id),
            "emr/console": MetadataValue.url(
                f"https://{region}.console.aws.amazon.com/emr/home?region={region}"
                f"#/clusterDetails/{cluster_id}"
            ),
            "emr/logs": MetadataValue.text(self._job.logs(log_uri).step_uri(step_id) or "(none)"),
        }

    def _failed_metadata(self, evidence: Evidence, tail: LogTail | None) -> Handle:
        lines = "\n".join(tail.lines) or "(nothing)" if tail else "(no log)"
        return {
            **self._costly_handle(),
            "emr/step_state": MetadataValue.text(evidence.state or "unknown"),
            "emr/log_tail": MetadataValue.text(lines),
            "emr/log_files": MetadataValue.text("\n".join(tail.uris) if tail else "(none)"),
        }
