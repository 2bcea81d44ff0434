"""The local engine: a Dagster Pipes client that runs one Spark step as a process of this machine.

A step is green only if its process ended with 0 and its Pipes messages were read to their closing
mark. On every way out, nothing of the step is left running.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from dagster import (
    Failure,
    MetadataValue,
    PipesClient,
    PipesEnvContextInjector,
    open_pipes_session,
)
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster_pipes import PipesException, PipesExtras

from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines import output_lock, s3_jars, spark_jvm
from ascii_hydra.engines.jvm_spec import JvmSpec, launch_settings, temporary_folder
from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.pipes_arguments import bootstrap_words
from ascii_hydra.engines.pipes_reader import FileReader
from ascii_hydra.engines.pipes_run import (
    Context,
    Handle,
    StepError,
    completed,
    dagsters_faults,
    reported_exception,
)
from ascii_hydra.engines.process_tree import ProcessTree
from ascii_hydra.engines.script_frame import script_frame
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError, step_environment
from ascii_hydra.engines.step_costs import StepCosts
from ascii_hydra.engines.step_failure import (
    CAUSED_BY,
    FAILED_AT,
    LOGS,
    OUTPUT_TAIL,
    captured_logs,
    java_cause,
)
from ascii_hydra.engines.step_output import Sink, StepOutput, to_own_output
from ascii_hydra.engines.step_verdict import Evidence, cause, ending
from ascii_hydra.step.choices import Engine

__all__ = ["LocalRequest", "LocalSparkClient", "local_conf"]

_TICK_S = 0.1  # how soon a stop or a fault is noticed; the end of the step is noticed at once
_JVM_EXIT_S = 5.0  # a JVM that belongs to the step tidies up when the step has ended
_ORPHAN_GRACE_S = "1"  # per rung, once nobody is left to wait for the step
_OUTPUT_LINES = 10  # of its own output, told with a failure


class LocalSparkClient(PipesClient):
    """Runs steps on local Spark. It keeps no state: several threads may share one.

    Args:
        sink: where the steps' output goes, line by line; by default our own stdout and stderr.
        stop: once set, running steps are stopped and DagsterExecutionInterruptedError is raised.
        log_folder: keeps each step's whole output in `<step>.stdout.log` and `<step>.stderr.log`.
    """

    def __init__(
        self,
        *,
        sink: Sink = to_own_output,
        stop: threading.Event | None = None,
        log_folder: Path | None = None,
    ) -> None:
        self._sink = sink
        self._stop = stop or threading.Event()
        self._log_folder = log_folder

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        request: LocalRequest,
        extras: PipesExtras | None = None,
    ) -> PipesClientCompletedInvocation:
        """Run one step to its end.

        The results are what the step reported; an asset it did not speak of counts as
        materialised, since the step is known to have succeeded.

        Raises dagster.Failure if the step failed, and DagsterExecutionInterruptedError or
        KeyboardInterrupt if it was interrupted; by then the step has been stopped.
        """
        costing = request.costing
        if costing is None:
            return self._locked(context, request, extras, None)
        costs = StepCosts(context, costing, request.step, Engine.pyspark, context.log.info)
        try:
            return self._locked(context, request, extras, costs)
        finally:
            costs.told()

    def _locked(
        self,
        context: Context,
        request: LocalRequest,
        extras: PipesExtras | None,
        costs: StepCosts | None,
    ) -> PipesClientCompletedInvocation:
        with dagsters_faults(request.step):
            try:
                with output_lock.locked(request.output, request.step, context.log.warning):
                    return self._run(context, request, extras, costs)
            except output_lock.OutputTakenError as taken:
                raise StepError(
                    f"cannot start: {request.output} is being written by another run (process"
                    f" {taken.holder}); wait for it, or choose another output."
                ) from None

    def _run(
        self,
        context: Context,
        request: LocalRequest,
        extras: PipesExtras | None,
        costs: StepCosts | None,
    ) -> PipesClientCompletedInvocation:
        reader = FileReader(warn=context.log.warning)
        output = StepOutput(self._sink, folder=self._log_folder, name=request.step)
        with open_pipes_session(
            context=context,
            context_injector=PipesEnvContextInjector(),
            message_reader=reader,
            extras=extras,
        ) as session:
            try:
                if request.place is not None:
                    s3_jars.ensured(context.log.info)
                run = _Run(request, bootstrap_words(session), reader, output, self._stop)
                begun = time.monotonic()
                evidence = run.evidence()
                run_s = time.monotonic() - begun
            except (spark_jvm.JvmStartError, SparkMissingError, s3_jars.JarsMissingError) as fault:
                raise StepError(f"could not start: {fault}") from None
            if run.left_behind:
                context.log.warning(
                    f"{request.step} left {run.left_behind} process(es) running; they were ended"
                )
        sentence = cause(evidence)
        costly: Handle = {}
        if costs is not None:
            # Nothing is rented.
            costs.add(Usage(Engine.pyspark, "", run_s=run_s, wasted=sentence is not None))
            costly = costs.metadata()
        if sentence is not None:
            exception = reader.report.exception
            metadata = {
                **_metadata(request, evidence, output.files or captured_logs(context)),
                **_place(request, sentence, exception, output),
                **costly,
            }
            raise Failure(sentence, metadata=metadata) from None
        return completed(
            context,
            session,
            reader.report,
            costly,
            writes_output=request.writes_output,
            waste=(lambda: None) if costs is None else costs.spoiled,
        )


class _Run:
    """One run of one step."""

    def __init__(
        self,
        request: LocalRequest,
        bootstrap: Sequence[str],
        reader: FileReader,
        output: StepOutput,
        stop: threading.Event,
    ) -> None:
        self._request = request
        self._bootstrap = bootstrap
        self._reader = reader
        self._output = output
        self._stop = stop
        self._tree = ProcessTree()
        self._timed_out = False
        self._last_words: tuple[str, ...] = ()
        self.left_behind = 0

    def evidence(self) -> Evidence:
        """Run the step and say how it ended. Raises InterruptedError once stopped."""
        with ExitStack() as stack:
            lease = None
            if self._request.reuse_jvm:
                spec = JvmSpec.of(self._request)
                lease = stack.enter_context(spark_jvm.leased(spec, self._stop))
                conf, variables = dict(self._request.spark_conf), lease.environment(self._stop)
            else:
                conf, variables = self._own_jvm(stack)
            self._run(conf, variables, stack, None if lease is None else lease.jvm)
            report = self._reader.drain()
            self._raise_faults()
            seen = Evidence(
                step=self._request.step,
                exit_code=self._tree.exit_code,
                opened=report.opened,
                closed=report.closed,
                exception=reported_exception(report),
                timed_out_after_s=self._request.timeout_s if self._timed_out else None,
                jvm_exit_code=None if lease is None else lease.jvm.exit_code,
                stderr=self._last_words or self._output.tail("stderr"),
                driver_memory_mib=self._request.driver_memory_mib,
                place=self._request.place,
            )
            if lease is not None:
                lease.keep = cause(seen) is None
            return seen

    def _own_jvm(self, stack: ExitStack) -> tuple[dict[str, str], dict[str, str]]:
        """Settings and variables with which the step's pyspark starts a JVM itself."""
        installed = Installation.found()
        spec = JvmSpec.of(self._request)
        temporary = stack.enter_context(temporary_folder(spec))
        settings = launch_settings(spec, installed, temporary)
        variables = {**installed.environment(), "SPARK_LOCAL_DIRS": str(temporary)}
        return {**settings, **self._request.spark_conf, **_only_launch(settings)}, variables

    def _run(
        self,
        conf: Mapping[str, str],
        variables: Mapping[str, str],
        stack: ExitStack,
        jvm: spark_jvm.SparkJvm | None,
    ) -> None:
        request = self._request
        reading, writing = os.pipe()  # its end tells the step that we are gone
        stack.callback(os.close, writing)
        settings = [word for k, v in conf.items() for word in ("--spark-conf", f"{k}={v}")]
        begun = time.monotonic()
        try:
            with os.fdopen(reading, "rb") as pipe:
                process = self._tree.start(
                    [
                        *(sys.executable, "-m", "ascii_hydra.engines.step_process"),
                        *(str(pipe.fileno()), _ORPHAN_GRACE_S, request.script),
                        *(*request.arguments, *settings, *self._bootstrap),
                    ],
                    {
                        **step_environment(
                            request.environment,
                            on_this_machine=request.on_this_machine,
                            place=request.place,
                        ),
                        **variables,
                        "PYTHONUNBUFFERED": "1",
                    },
                    pass_fds=[pipe.fileno()],
                )
            assert process.stdout is not None
            assert process.stderr is not None
            self._output.read(process.stdout, process.stderr, None if jvm is None else jvm.log)
            while not self._tree.ended.wait(_TICK_S):
                if self._stop.is_set():
                    raise InterruptedError(f"{request.step} was stopped")
                self._raise_faults()
                if time.monotonic() - begun > request.timeout_s:
                    # What it said by itself, before it is stopped and complains of that.
                    self._timed_out, self._last_words = True, self._output.tail("stderr")
                    break
            if not self._timed_out:
                self.left_behind = self._settled(0.0 if jvm else _JVM_EXIT_S)
            if self._timed_out or self.left_behind:
                self._tree.stop(request.stop_grace_s)
        except BaseException:
            self._tree.stop(request.stop_grace_s)
            raise
        finally:
            self._output.finish()

    def _settled(self, patience_s: float) -> int:
        """How many of the step's processes live on after it, and after some patience."""
        deadline = time.monotonic() + patience_s
        while (alive := len(self._tree.alive())) and time.monotonic() < deadline:
            time.sleep(_TICK_S / 5)
        return alive

    def _raise_faults(self) -> None:
        for fault in (self._reader.fault, self._output.fault):
            if fault is not None:
                raise fault


def _only_launch(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings in which the caller's and ours are already merged."""
    names = ("spark.driver.memory", "spark.driver.extraJavaOptions")
    return {name: settings[name] for name in names}


def _place(
    request: LocalRequest, sentence: str, exception: PipesException | None, output: StepOutput
) -> Handle:
    """Where in the user's code it has failed, and what it said before."""
    told: Handle = {}
    frame = script_frame(exception, output.tail("stderr"), request.script, request.py_files)
    if frame is not None:
        told[FAILED_AT] = MetadataValue.text(str(frame))
    java = None if exception is None else java_cause(exception["message"] or "")
    if java is not None and java not in sentence:
        told[CAUSED_BY] = MetadataValue.text(java)
    script = None if exception is None else request.script
    lines = output.own_tail(_OUTPUT_LINES, traceback_of=script)
    if lines:
        told[OUTPUT_TAIL] = MetadataValue.text("\n".join(lines))
    return told


def _metadata(request: LocalRequest, seen: Evidence, files: Sequence[str]) -> Handle:
    settings = [
        word for k, v in request.spark_conf.items() for word in ("--spark-conf", f"{k}={v}")
    ]
    command = shlex.join([sys.executable, request.script, *request.arguments, *settings])
    logs = "\n".join(files) or "stdout and stderr of this run's step"
    return {
        "exit": MetadataValue.text(ending(seen.exit_code)),
        "command": MetadataValue.text(command),
        "stderr_tail": MetadataValue.text("\n".join(seen.stderr) or "(nothing)"),
        LOGS: MetadataValue.text(logs),
    }
