"""What the Pipes clients of all clouds are: a clock, a stop, and somebody to tell."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dagster import (
    DagsterExecutionInterruptedError,
    Failure,
    MetadataValue,
    PipesClient,
    PipesSession,
    open_pipes_session,
)
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster_pipes import PipesExtras

from ascii_hydra.costs.bill import Bill, bill
from ascii_hydra.engines import budget
from ascii_hydra.engines.clock import Clock, SystemClock
from ascii_hydra.engines.costing import BILL_KEY, Costing
from ascii_hydra.engines.interrupts import deferred_interrupts
from ascii_hydra.engines.pipes_folder import FolderContextInjector, FolderReader, PipesFolder
from ascii_hydra.engines.pipes_run import Context
from ascii_hydra.engines.planned import planned_usage
from ascii_hydra.engines.step_costs import told_costs
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.store import Store


class Costed(Protocol):
    """What every cloud's request has."""

    @property
    def step(self) -> str:
        """The step's name as people know it."""
        ...

    @property
    def costing(self) -> Costing:
        """How it is priced."""
        ...


R = TypeVar("R", bound=Costed)


class CloudClient(PipesClient, ABC, Generic[R]):
    """Runs steps in a cloud. It keeps no state: several threads may share one.

    Args:
        clock: time in the cloud.
        stop: once set, running steps are cancelled and DagsterExecutionInterruptedError is raised.
        tell: takes a line for people at every change of a state.
        warn: takes a line for people that they must not miss: what may be left running. By default
            it is told as the others are.
        keep: takes what may be left running, at once.
        launch_id: names the runs that share what a launch lets them share; by default each run is
            on its own.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        stop: threading.Event | None = None,
        tell: Callable[[str], None] = lambda _line: None,
        warn: Callable[[str], None] | None = None,
        keep: Callable[[StillRunning], None] = lambda _left: None,
        launch_id: str | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._stop = stop or threading.Event()
        self._tell = tell
        self._warn = warn or tell
        self._keep = keep
        self._launch_id = launch_id

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        request: R,
        extras: PipesExtras | None = None,
    ) -> PipesClientCompletedInvocation:
        """Run one step to its end.

        The results are what the step reported; an asset it did not speak of counts as
        materialised, since the step is known to have succeeded.

        Raises dagster.Failure if the step failed, or was stopped because the budget of its launch
        is spent, and DagsterExecutionInterruptedError (or whatever the handler of a signal raises)
        if it was interrupted; by then what was started has been ended.
        """
        launch = self._launch_id or context.run.run_id
        with deferred_interrupts(self._stop) as stop:
            if request.costing.budget_usd is None:
                return self._ran(context, request, extras, launch, stop)
            return self._within_budget(context, request, extras, launch, stop)

    def _within_budget(
        self,
        context: Context,
        request: R,
        extras: PipesExtras | None,
        launch: str,
        stop: threading.Event,
    ) -> PipesClientCompletedInvocation:
        costing = request.costing
        assert costing.budget_usd is not None
        starting_s = 0.0 if costing.estimate is None else costing.estimate.expected.startup_s

        def planned(elapsed_s: float) -> Bill:
            startup_s = min(elapsed_s, starting_s)
            return bill([planned_usage(request, startup_s, elapsed_s - startup_s)], costing.prices)

        def say(line: str) -> None:
            context.log.warning(line)
            self._tell(line)

        step_key = context.get_step_execution_context().step.key
        shared = self._shared(request)
        with budget.watched(
            launch,
            shared or f"{context.run.run_id} {step_key}",
            costing.budget_usd,
            planned=planned,
            clock=self._clock,
            stop=stop,
            say=say,
            goes_on=shared is not None,
        ) as watch:
            if watch.reached or watch.fault:
                raise Failure(
                    watch.sentence(f"{request.step} was not begun"),
                    metadata={BILL_KEY: MetadataValue.json(Bill().as_json())},
                    allow_retries=False,
                )
            try:
                return self._ran(context, request, extras, launch, watch.stop)
            except DagsterExecutionInterruptedError:
                if stop.is_set() or not (watch.reached or watch.fault):
                    raise
                raise Failure(
                    watch.sentence(f"{request.step} was stopped"),
                    metadata=told_costs(context.instance, context.run.run_id, step_key),
                    allow_retries=False,
                ) from None

    def _shared(self, _request: R) -> str | None:
        """Names the cluster that this request shares with others of its launch, if there is one
        that costs money whether they run or not."""
        return None

    @abstractmethod
    def _ran(
        self,
        context: Context,
        request: R,
        extras: PipesExtras | None,
        launch: str,
        stop: threading.Event,
    ) -> PipesClientCompletedInvocation:
        """Run it; interrupts only set `stop` meanwhile."""


@dataclass(frozen=True)
class FolderSession:
    """A Pipes session by way of a folder that a step has to itself.

    Attributes:
        session: Dagster's.
        reader: of the step's messages.
        injector: of its context; told if the step could not be seen to end.
    """

    session: PipesSession
    reader: FolderReader
    injector: FolderContextInjector


@contextmanager
def folder_session(
    context: Context,
    store: Store,
    uri: str,
    extras: PipesExtras | None,
    *,
    adopted: bool,
    poll_s: float,
) -> Iterator[FolderSession]:
    """Within it, a step may run; at its end, all of its messages have been read.

    Args:
        context: of the asset.
        store: where the folder is.
        uri: of the folder.
        extras: for the step.
        adopted: the step is running already and has its context.
        poll_s: longest pause between two looks for messages, in seconds.

    Raises what the reading of its messages has ended with.
    """
    folder = PipesFolder(store, uri)
    injector = FolderContextInjector(folder, context.log.warning, adopted=adopted)
    # A step that runs already, maybe for hours, is not cancelled for one false refusal.
    reader = FolderReader(folder, context.log.warning, poll_s=poll_s, readable=adopted)
    with open_pipes_session(
        context=context, context_injector=injector, message_reader=reader, extras=extras
    ) as session:
        yield FolderSession(session, reader, injector)
        reader.drain()
        if reader.fault is not None:
            raise reader.fault
