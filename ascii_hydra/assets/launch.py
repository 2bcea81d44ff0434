"""A headless run of the same job that the UI shows, in the same history.

The run is created with the origin that the UI's own runs have, so that it can be executed again
from there. Dagster works in a thread, and the main thread draws and listens: a Ctrl-C marks the
run as being cancelled before anything else happens, which is what makes it end as CANCELED.
"""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from ascii_hydra.assets.abandoned import process_tags
from ascii_hydra.assets.attended import attended
from ascii_hydra.assets.command_line import record_overrides
from ascii_hydra.assets.definitions import (
    RESOURCE,
    build_definitions,
    pipeline_jobs,
    pipeline_structure,
    structure_problems,
)
from ascii_hydra.assets.failures import run_failure
from ascii_hydra.assets.history import job_origin, opened_instance
from ascii_hydra.assets.launchpad import (
    SHARED,
    SparkPipesClient,
    launch_choice,
    shared_ended,
)
from ascii_hydra.assets.partitions import dimension_name
from ascii_hydra.assets.runs import PlannedRun, lacks_input, planned_runs
from ascii_hydra.assets.step_outcomes import clock_for, followed, not_started
from ascii_hydra.aws.place import input_opener
from ascii_hydra.config.launchpad_rule import refused_overrides
from ascii_hydra.config.partitions import dimension_values, partition_key
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.settle import Settings
from ascii_hydra.costs.bill import Bill, together
from ascii_hydra.dagster_home import dagster_home
from ascii_hydra.engines.step_costs import told_shared
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.still_running_events import report_still_running
from ascii_hydra.outcome import BrokenLaunchError, Ending, Outcome, StepOutcome
from ascii_hydra.report.progress import Progress

_BEFORE_ITS_STEPS = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launched(
    settings: Settings,
    *,
    option: str,
    overrides: Sequence[str],
    conf: Path,
    progress: Progress,
) -> Outcome:
    """Run a pipeline to its end.

    Args:
        settings: what was settled.
        option: the pipeline's name in the group `pipeline`.
        overrides: what another process composes these settings from.
        conf: the folder of the configuration.
        progress: is told of every start and end.

    Raises:
        ConfigError: the partitions cannot be found, or DAGSTER_HOME cannot be used.
        BrokenLaunchError: see there; it has what may still run.
    """
    problems = list(structure_problems(settings.config.pipeline, pipeline_structure(conf, option)))
    if problems:
        raise ConfigError(problems)
    values = dimension_values(settings.config.pipeline, input_opener(settings))
    runs = planned_runs(settings, values)
    launch = _Launch(settings, option, overrides, conf, progress)
    launch.register(values)
    for name, step in settings.steps.items():
        progress.expect(
            name,
            engine=step.engine.name.value,
            cluster=step.cluster.size.value,
            output=f"{settings.config.pipeline.output}/{name}",
            total=sum(name in run.steps for run in runs),
        )
    now = launch.clock()
    begun = now()
    try:
        with launch.interruptible():
            try:
                for run in runs:
                    launch.execute(run)
            finally:
                launch.close()
    except Exception as fault:
        raise BrokenLaunchError(launch.outcome(now() - begun, fault)) from fault
    return launch.outcome(now() - begun)


class _Launch:
    """The runs of one command, one after the other."""

    def __init__(
        self,
        settings: Settings,
        option: str,
        overrides: Sequence[str],
        conf: Path,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._stop = threading.Event()
        self._interrupted = False
        self._home = dagster_home()
        self._instance = opened_instance(self._home)
        self._conf = conf
        self._option = option
        # Names the runs of this command: they share what launch.reuse_cluster=run lets them share.
        self._id = str(uuid.uuid4())
        # By resource. Kept here, for Dagster's storage may be what breaks.
        self._left: dict[str, StillRunning] = {}
        client = attended(conf, self._id, self._stop, progress.note, progress.warn, self._keep)
        self._definitions = build_definitions(conf, [option], client)
        self._jobs = {
            step: self._definitions.resolve_job_def(name)
            for name, steps in pipeline_jobs(settings.config.pipeline).items()
            for step in steps
        }
        self._choice = launch_choice(settings, overrides)
        # The launchpad takes what was typed here, so that these runs can be executed again there.
        record_overrides(self._home, refused_overrides(self._choice["overrides"], (), conf))
        # What the run config makes another process compose must be what was settled here.
        again = SparkPipesClient(**self._choice).settings(conf, option)
        assert again.digest == settings.digest, f"{again.yaml} is not {settings.yaml}"
        self._run_ids: list[str] = []
        self._steps: list[StepOutcome] = []
        self._error: str | None = None
        # Of what the runs have shared.
        self._shared: list[Bill] = []

    def clock(self) -> Callable[[], float]:
        """The time by which the whole is measured: a rehearsed cloud's, if any step is on it."""
        clocks = [clock_for(step) for step in self._settings.steps.values()]
        return next((one for one in clocks if one is not time.monotonic), time.monotonic)

    def close(self) -> None:
        """End what the runs have shared."""
        left = []
        for one in shared_ended(self._id, self._shared.append):
            if not isinstance(one, StillRunning):
                self._progress.note(one)
                continue
            self._keep(one)
            left.append(one)
            self._progress.warn(f"{SHARED}: {one.sentence}")
        # Only now, when all has been ended: Dagster's storage may be what breaks.
        run = self._instance.get_run_by_id(self._run_ids[-1]) if self._run_ids else None
        for one in left:
            if run is not None:
                report_still_running(self._instance, run, one, who=SHARED)
        if self._shared and run is not None:
            self._progress.note(told_shared(self._instance, run, together(self._shared)))

    def register(self, values: Mapping[str, Sequence[str]]) -> None:
        """Let Dagster know every partition, so that the UI shows those not made yet too."""
        for dimension, each in values.items():
            name = dimension_name(self._settings.config.pipeline.name, dimension)
            self._instance.add_dynamic_partitions(name, list(each))

    def execute(self, planned: PlannedRun) -> None:
        """Run one Dagster run, unless something it needs has failed."""
        if self._interrupted or lacks_input(planned, self._settings, self._steps):
            for step in planned.steps:
                self._end(not_started(self._settings, planned, step))
            return
        run = self._created(planned)
        self._run_ids.append(run.run_id)
        worker = _Worker(lambda: self._work(planned, run))
        worker.start()
        try:
            while worker.is_alive():
                worker.join(0.1)
                if self._interrupted and not self._stop.is_set():
                    self._cancel(run.run_id)
        except BaseException:
            self._stop.set()  # whatever cannot be told to Dagster, the step is stopped
            worker.join()
            raise
        if worker.fault is not None:
            raise worker.fault
        ended = self._instance.get_run_by_id(run.run_id)
        known = {
            one.step for one in self._steps if one.partition == partition_key(planned.partition)
        }
        for step in planned.steps:
            if step not in known:
                self._end(not_started(self._settings, planned, step))
        if ended is not None and ended.status is dg.DagsterRunStatus.CANCELING:
            # It had ended by itself, just before it was marked.
            self._instance.report_run_canceled(ended)
        if ended is None or not ended.is_success:
            self._error = self._error or run_failure(self._instance, run.run_id)

    def _cancel(self, run_id: str) -> None:
        """Mark a run as being cancelled, then stop its step: Dagster asks for the run's state as
        soon as the step has ended. A run that has not come so far is cancelled the next time."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and run.status in _BEFORE_ITS_STEPS:
            return
        self._progress.note("stopping: ending what was started")
        if run is not None and run.status is dg.DagsterRunStatus.STARTED:
            self._instance.report_run_canceling(run)
        self._stop.set()

    def _keep(self, left: StillRunning) -> None:
        self._left[left.resource] = left

    def outcome(self, duration_s: float, fault: Exception | None = None) -> Outcome:
        """How everything ended.

        Args:
            duration_s: how long it took, in seconds.
            fault: what the launch broke by.
        """
        config = self._settings.config
        unhappy = [one for one in self._steps if one.ending is not Ending.succeeded]
        failed = bool(unhappy) or fault is not None
        ending = (
            Ending.canceled if self._interrupted else Ending.failed if failed else Ending.succeeded
        )
        shared = list(self._shared)
        if fault is not None:
            self._error = f"{type(fault).__name__}: {fault}"
            shared.append(Bill(unpriced=("what it had cost when it broke",)))
        told = any(one.error for one in self._steps)
        return Outcome(
            ending=ending,
            engine=config.engine.name.value,
            mode=config.mode.name.value,
            cluster=config.cluster.size.value,
            pipeline=config.pipeline.name,
            digest=self._settings.digest,
            steps=tuple(self._steps),
            duration_s=duration_s,
            virtual=self._settings.virtual,
            shared=together(shared) if shared else None,
            run_ids=tuple(self._run_ids),
            dagster_home=str(self._home),
            error=None if told or ending is not Ending.failed else self._error,
            left=tuple(self._left.values()),
        )

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it, Ctrl-C, SIGTERM and a closed terminal cancel the run."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self._interrupted = True

        heard = [one for one in _INTERRUPTS if signal.getsignal(one) is not signal.SIG_IGN]  # nohup
        before = {one: signal.signal(one, interrupt) for one in heard}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _created(self, planned: PlannedRun) -> dg.DagsterRun:
        keys = {dg.AssetKey([self._settings.config.pipeline.name, one]) for one in planned.steps}
        job = self._jobs[planned.steps[0]]
        whole = keys == set(job.asset_layer.selected_asset_keys)
        config = self._settings.config
        return self._instance.create_run_for_job(
            job_def=job if whole else job.get_subset(asset_selection=keys),
            asset_selection=None if whole else frozenset(keys),
            run_config={
                "resources": {RESOURCE: {"config": self._choice}},
                # The terminal shows the steps; Dagster's own account of them is in the UI.
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            tags={
                **self._partition_tags(planned),
                **process_tags(),
                "ascii_hydra/engine": config.engine.name.value,
                "ascii_hydra/mode": config.mode.name.value,
                "ascii_hydra/cluster": config.cluster.size.value,
                "ascii_hydra/config_digest": self._settings.digest,
            },
            remote_job_origin=job_origin(job.name),
        )

    def _partition_tags(self, planned: PlannedRun) -> Mapping[str, str]:
        if not planned.partition:
            return {}
        definition = self._jobs[planned.steps[0]].partitions_def
        assert definition is not None
        return definition.get_tags_for_partition_key(
            dg.MultiPartitionKey(planned.partition)
            if len(planned.partition) > 1
            else next(iter(planned.partition.values()))
        )

    def _work(self, planned: PlannedRun, run: dg.DagsterRun) -> None:
        job = self._jobs[planned.steps[0]]
        for outcome in followed(
            self._settings,
            planned,
            execute_run_iterator(InMemoryJob(job), run, self._instance),
            self._instance,
            run_id=run.run_id,
            started=self._progress.started,
            stopped=self._stop.is_set,
        ):
            self._end(outcome)

    def _end(self, outcome: StepOutcome) -> None:
        self._steps.append(outcome)
        self._progress.ended(outcome)


class _Worker(threading.Thread):
    """A thread that keeps what its work raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="dagster", daemon=True)
        self._work = work
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            self.fault = fault
