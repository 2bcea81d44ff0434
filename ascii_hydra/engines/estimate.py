"""What a run of a step is expected to cost: its request, its usage, its bill. Pure, but for reading
the history of durations: no network, no credentials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from ascii_hydra.config.cluster_schema import PySparkCluster
from ascii_hydra.config.partitions import chosen_partitions, dimension_values, local_file
from ascii_hydra.config.schema import PipelineConfig, StepConfig
from ascii_hydra.config.settle import Settings
from ascii_hydra.costs.bill import Bill, bill, times, together
from ascii_hydra.costs.estimate import Estimate
from ascii_hydra.costs.ledger import Sample, samples
from ascii_hydra.costs.usage import Usage
from ascii_hydra.dagster_home import known_home
from ascii_hydra.engines.expected_run import expected_run, expected_startup, shared_flow
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.planned import Asked, capacity, planned_usage
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun, planned_run

if TYPE_CHECKING:
    from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
    from ascii_hydra.engines.emr.emr_request import EmrRequest

_HOUR_S = 3600.0
_MANAGERS = frozenset({"primary", "driver"})


@dataclass(frozen=True)
class PlannedStep:
    """What a step of a run is expected to cost.

    Attributes:
        step: its name.
        asked: the request of one run of it.
        estimate: of one run of it, which is that of one partition.
        hour: what an hour of its execution costs, without start-up.
        partitions: how many runs there will be; None where that is not known.
    """

    step: str
    asked: Asked
    estimate: Estimate
    hour: Bill
    partitions: int | None

    @property
    def bill(self) -> Bill:
        """Of all partitions; of one, if their number is not known."""
        count = 1 if self.partitions is None else self.partitions
        return times(self.estimate.bill, count)

    @property
    def usd(self) -> float | None:
        """Of all partitions; None if their number, the duration or a price is not known."""
        one = self.estimate.usd
        if one == 0 or self.partitions is None or one is None:
            return 0.0 if one == 0 else None
        return one * self.partitions

    @property
    def lacking(self) -> tuple[str, ...]:
        """What `usd` is None for the want of."""
        if self.usd is not None:
            return ()
        found = [f"a price ({one})" for one in self.estimate.bill.unpriced]
        if self.estimate.expected.run_s is None:
            found.append("the duration")
        if self.partitions is None:
            found.append("the number of partitions")
        return tuple(found)

    @property
    def duration_s(self) -> float | None:
        """Of all partitions, one after another; None if that is not known."""
        takes = self.estimate.expected
        if takes.run_s is None or self.partitions is None:
            return None
        return self.partitions * (takes.startup_s + takes.run_s)

    @property
    def spread_usd(self) -> tuple[float, float] | None:
        """`usd` at both ends of the spread of its duration; None if that is not known."""
        low, high = self.estimate.low_usd, self.estimate.high_usd
        if self.usd is None or self.partitions is None or low is None or high is None:
            return None
        return low * self.partitions, high * self.partitions

    @property
    def spread_s(self) -> tuple[float, float] | None:
        """`duration_s` likewise."""
        takes = self.estimate.expected
        if self.partitions is None or takes.low_s is None or takes.high_s is None:
            return None
        low_s, high_s = takes.startup_s + takes.low_s, takes.startup_s + takes.high_s
        return self.partitions * low_s, self.partitions * high_s


@dataclass(frozen=True)
class PlannedRun:
    """What a run is expected to cost.

    Attributes:
        steps: every step.
        shared: the start-up of clusters that steps share.
        shared_source: where its duration is from, for people.
    """

    steps: tuple[PlannedStep, ...]
    shared: Bill = field(default_factory=Bill)
    shared_source: str = ""

    @property
    def usd(self) -> float | None:
        """The whole; None if anything of it is not known."""
        costs = [self.shared.usd, *(one.usd for one in self.steps)]
        return None if None in costs else sum(one for one in costs if one is not None)

    @property
    def known_usd(self) -> float:
        """What is known of it: of a step of unknown duration, its start-up; of one with an unknown
        number of partitions, one of them."""
        return self.shared.known_usd + sum(one.bill.known_usd for one in self.steps)

    @property
    def lacking(self) -> tuple[str, ...]:
        """What `usd` is None for the want of: `the duration of step_1, step_2`."""
        found: dict[str, list[str]] = {}
        for one in self.steps:
            for what in one.lacking:
                found.setdefault(what, []).append(one.step)
        of_steps = [f"{what} of {', '.join(names)}" for what, names in found.items()]
        return (*(f"a price ({one})" for one in self.shared.unpriced), *of_steps)

    @property
    def spread_usd(self) -> tuple[float, float] | None:
        """The whole if every step takes as little, or as much, as its spread says; None if no
        spread is known, or the whole is not."""
        if self.usd is None or all(one.estimate.low_usd is None for one in self.steps):
            return None
        low = high = self.shared.known_usd
        for one in self.steps:
            spread = one.spread_usd or (one.usd or 0.0, one.usd or 0.0)
            low, high = low + spread[0], high + spread[1]
        return low, high

    @property
    def duration_s(self) -> float | None:
        """Of all steps, one after another; None if that of one is not known."""
        each = [one.duration_s for one in self.steps]
        waited = self.shared.startup_s
        return None if None in each else waited + sum(one for one in each if one is not None)

    @property
    def bill(self) -> Bill:
        """All that is known of it, as one bill."""
        return together([*(one.bill for one in self.steps), self.shared])


def estimated(run: StepRun, asked: Asked, history: Iterable[Sample] | None = None) -> Estimate:
    """What one run of a step is expected to cost. The start-up of a cluster that steps share is
    nobody's, and not in it.

    Args:
        run: the step's run.
        asked: what `request` made of it.
        history: earlier runs of any steps; the ledger's if None.
    """
    known = samples(known_home()) if history is None else history
    if isinstance(asked, LocalRequest):
        return _local(run, known)
    hour, has = planned_usage(asked, 0.0, _HOUR_S), capacity(asked)
    executor_vcpus = 0.0 if has is None else has.executor_vcpus
    takes = expected_run(run, asked, known, vcpus=executor_vcpus, photon=hour.photon)

    def cost(run_s: float) -> Bill:
        return bill([planned_usage(asked, takes.startup_s, run_s)], asked.costing.prices)

    return Estimate(
        expected=takes,
        bill=cost(takes.run_s or 0.0),
        low_usd=None if takes.low_s is None else cost(takes.low_s).usd,
        high_usd=None if takes.high_s is None else cost(takes.high_s).usd,
        usd_per_hour=_hour(asked).usd,
        vcpus=0.0 if has is None else has.vcpus,
        executor_vcpus=executor_vcpus,
        memory_gib=0.0 if has is None else has.memory_gib,
        computing=_computing(hour),
    )


def plan_estimates(
    settings: Settings,
    history: Iterable[Sample] | None = None,
    opened: Callable[[str], BinaryIO] = local_file,
) -> PlannedRun:
    """What a run is expected to cost.

    Args:
        settings: the run's.
        history: earlier runs of any steps; the ledger's if None.
        opened: opens a file of the pipeline's input; without another, the number of partitions
            that an input in a cloud makes is not known.

    Raises:
        ConfigError: for a step there is no request, or the input has no partitions.
    """
    known = list(samples(known_home()) if history is None else history)
    pipeline = settings.config.pipeline
    values = _dimension_values(pipeline, opened)
    steps: list[PlannedStep] = []
    shared: dict[str, tuple[Bill, str]] = {}
    for step in settings.steps.values():
        run = planned_run(settings, step)
        asked = request(run)
        steps.append(
            PlannedStep(
                step=step.name,
                asked=asked,
                estimate=estimated(run, asked, known),
                hour=_hour(asked),
                partitions=_partitions(step.config, pipeline, values),
            )
        )
        if not isinstance(asked, LocalRequest) and (flow := shared_flow(asked)) is not None:
            cluster = repr(flow)
            if cluster not in shared:
                shared[cluster] = _shared_startup(run, asked, known)
    bills = [one for one, _ in shared.values()]
    sources = dict.fromkeys(source for _, source in shared.values())
    waited_s = sum(one.startup_s for one in bills)
    whole = replace(together(bills), startup_s=waited_s)
    return PlannedRun(tuple(steps), whole, "; ".join(sources))


def _local(run: StepRun, known: Iterable[Sample]) -> Estimate:
    cluster = run.settings.cluster
    assert isinstance(cluster, PySparkCluster)
    takes = expected_run(run, None, known, vcpus=cluster.cores)
    nothing = 0.0 if takes.low_s is not None else None
    return Estimate(
        expected=takes,
        bill=Bill(run_s=takes.run_s or 0.0),
        low_usd=nothing,
        high_usd=nothing,
        usd_per_hour=0.0,
        vcpus=cluster.cores,
        executor_vcpus=cluster.cores,
        memory_gib=cluster.driver_memory_gib,
    )


def _hour(asked: Asked) -> Bill:
    if isinstance(asked, LocalRequest):
        return Bill(run_s=_HOUR_S)
    usage = planned_usage(asked, 0.0, _HOUR_S)
    return bill([usage], asked.costing.prices)


def _computing(usage: Usage) -> str:
    """The machines of a usage: `emr: 1 x m5d.xlarge (primary), 2 x m5d.xlarge (worker)`. A worker
    on spot, which EMR calls a task node, is as fast as one on demand."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in usage.instances:
        counts[one.role if one.role in _MANAGERS else "worker", one.instance_type] += one.count
    every = (f"{count} x {kind} ({role})" for (role, kind), count in sorted(counts.items()))
    photon = ", Photon" if usage.photon else ""
    return f"{usage.engine.value}: {', '.join(every)}{photon}"


def _shared_startup(
    run: StepRun, asked: EmrRequest | DatabricksRequest, known: Iterable[Sample]
) -> tuple[Bill, str]:
    """What the start-up of a cluster costs that steps share, and where its duration is from."""
    start = expected_startup(run, asked, known)
    usage = planned_usage(asked, start.startup_s, 0.0)
    return bill([usage], asked.costing.prices), start.startup_source


# --- partitions ---------------------------------------------------------------------------------


def _dimension_values(
    pipeline: PipelineConfig, opened: Callable[[str], BinaryIO]
) -> Mapping[str, tuple[str, ...]] | None:
    """The values of every dimension; None where reading them means asking a cloud."""
    here = "://" not in pipeline.input or pipeline.input.startswith("file://")
    listed = all(one.csv is None for one in pipeline.partition_dimensions.values())
    if opened is local_file and not here and not listed:
        return None
    return dimension_values(pipeline, opened)


def _partitions(
    step: StepConfig, pipeline: PipelineConfig, values: Mapping[str, tuple[str, ...]] | None
) -> int | None:
    if not step.partitions:
        return 1
    if values is None:
        return None
    return len(chosen_partitions(step.partitions, values, pipeline.partitions))
