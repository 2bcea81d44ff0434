"""The bill of one run of a step, as a client adds it up, and how Dagster is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, MetadataValue
from dagster._core.events import EngineEventData

from ascii_hydra.costs.bill import Bill, Part, bill, together
from ascii_hydra.costs.ledger import Sample, record
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines import budget
from ascii_hydra.engines.costing import BILL_KEY, Costing
from ascii_hydra.engines.wording import exception_words, money, money_of, wasted_of
from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ascii_hydra.engines.pipes_run import Context, Handle

SHARED_KEY = "cost/shared_bill"
"""Of what the steps of a launch have shared, in the history of its last run: a bill as JSON."""
_UNTOLD = "which has executed, and of which nobody tells what it has used"
ESTIMATED_KEY, VCPUS_KEY, MEMORY_KEY = "cost/estimated_usd", "cost/vcpus", "cost/memory_gib"


class StepCosts:
    """What one run of a step costs. Make one for every run, and tell it on every way out.

    Dagster's retries of a step in one run are told together: the bill of each try holds those of
    the tries before it, as wasted. So of several bills of a step in a run the last one counts.

    Args:
        context: of the asset.
        costing: which prices count, and what was expected.
        step: the step's name as people know it.
        engine: where it runs.
        say: takes a line for people, which follows the step's name.
    """

    def __init__(
        self,
        context: Context,
        costing: Costing,
        step: str,
        engine: Engine,
        say: Callable[[str], None],
    ) -> None:
        self._context = context
        self._costing = costing
        self._step = step
        self._engine = engine
        self._say = say
        self._usages: list[Usage] = []
        self._told = False

    @cached_property
    def _step_key(self) -> str:
        return self._context.get_step_execution_context().step.key

    def add(self, usage: Usage) -> None:
        """One attempt has ended: what it used. The last one has made the asset, unless it is
        `wasted`.

        One that has executed has used something. If nobody tells what, its cost is unknown, and
        never $0.00.
        """
        executed = usage.run_s > 0 or not usage.wasted
        if self._engine is not Engine.pyspark and executed and not usage.is_told:
            usage = replace(usage, not_counted=(f"{self._step}, {_UNTOLD}",))
        self._usages.append(usage)
        self.__dict__.pop("bill", None)
        budget.settled(self.bill.known_usd)

    def spoiled(self) -> None:
        """The asset was not made after all, though the last attempt looked like it."""
        self._usages = [replace(one, wasted=True) for one in self._usages]
        self.__dict__.pop("bill", None)

    @cached_property
    def bill(self) -> Bill:
        """Of all attempts, those of Dagster's earlier tries in this run among them."""
        try:
            own = bill(self._usages, self._costing.prices)
        except Exception as fault:  # noqa: BLE001 - it is named, and no reason for a step to fail
            own = Bill(unpriced=(f"all of it, {unmade(fault)}",))
        return own if self._earlier is None else together([self._earlier, own])

    @cached_property
    def _earlier(self) -> Bill | None:
        """What this run's earlier tries at the step have cost: all of it was in vain."""
        if self._context.retry_number == 0:
            return None
        try:
            told = told_costs(self._context.instance, self._context.run.run_id, self._step_key)
            known = None if told is None else bill_in(told)
        except Exception as fault:  # noqa: BLE001 - it is named, and no reason for a step to fail
            return Bill(unpriced=(f"earlier tries, {unmade(fault)}",))
        if known is None:
            return None
        lines = tuple(replace(one, wasted=True) for one in known.lines)
        return replace(known, lines=lines, startup_s=0.0, run_s=0.0, tried_s=known.took_s)

    @property
    def _made(self) -> bool:
        return bool(self._usages) and not self._usages[-1].wasted

    def metadata(self) -> Handle:
        """The bill as Dagster's metadata: for the materialisation, or for the failure.

        What is plotted is a float. Sums are lacking if anything has no price.
        """
        made, estimate = self.bill, self._costing.estimate
        told: Handle = {}
        if made.usd is None:
            told["cost/known_usd"] = MetadataValue.float(made.known_usd)
            told["cost/unpriced"] = MetadataValue.text("; ".join(made.unpriced))
        else:
            told["cost/usd"] = MetadataValue.float(made.usd)
            for part in Part:
                told[f"cost/{part.value}_usd"] = MetadataValue.float(made.of(part))
            told["cost/wasted_usd"] = MetadataValue.float(made.wasted_usd)
            told["cost/instance_hours"] = MetadataValue.float(float(made.instance_hours))
            told["cost/dbu"] = MetadataValue.float(float(made.dbu))
        told["duration/startup_s"] = MetadataValue.float(float(made.startup_s))
        told["duration/run_s"] = MetadataValue.float(float(made.run_s))
        told["cost/is_estimate"] = MetadataValue.bool(made.estimated)
        if made.price_dates is not None:
            oldest, newest = made.price_dates
            shown = oldest if oldest == newest else f"{oldest} to {newest}"
            told["cost/price_date"] = MetadataValue.text(shown)
        if estimate is not None:
            told[VCPUS_KEY] = MetadataValue.float(float(estimate.vcpus))
            told[MEMORY_KEY] = MetadataValue.float(float(estimate.memory_gib))
            if estimate.usd is not None:
                told[ESTIMATED_KEY] = MetadataValue.float(float(estimate.usd))
                if made.usd:
                    error = 100.0 * (estimate.usd - made.usd) / made.usd
                    told["cost/estimate_error_pct"] = MetadataValue.float(error)
        told[BILL_KEY] = MetadataValue.json(made.as_json())
        return told

    def told(self) -> None:
        """The run of the step is over: put its bill into Dagster's history, tell people, and keep
        the durations for later plans if it has made the asset. Only the first call counts.

        A step that has succeeded does not fail for it: what could not be done is logged.
        """
        if self._told:
            return
        self._told = True
        line = self._line()
        try:
            self._context.instance.report_engine_event(
                f"{self._step} {line}",
                dagster_run=self._context.run,
                engine_event_data=EngineEventData(metadata=self.metadata()),
                step_key=self._step_key,
            )
        except Exception as fault:  # noqa: BLE001 - of any storage that Dagster may have
            self._context.log.error(
                f"{self._step}: {line}. This could not be put into the run's history: {_of(fault)}"
            )
        if self._engine is not Engine.pyspark:
            self._say(line)
        if self._made and self._usages[-1].run_s > 0:  # else nobody knows how long it took
            self._recorded()

    def _line(self) -> str:
        made, estimate = self.bill, self._costing.estimate
        notes = []
        if estimate is not None and estimate.usd is not None:
            notes.append(f"estimated {money(estimate.usd)}")
        if made.wasted_usd:
            whole = made.wasted_usd == made.known_usd
            notes.append("all of it" if whole else f"{wasted_of(made)} of it")
            notes[-1] += " wasted"
        notes += list(dict.fromkeys(_reasons(made)))
        return f"cost {money_of(made)}" + (f" ({'; '.join(notes)})" if notes else "")

    def _recorded(self) -> None:
        """Keep this run's durations, by which later plans are made."""
        context, costing, made = self._context, self._costing, self.bill
        if context.instance.is_ephemeral or not made.run_s:  # not kept, or not known
            return
        estimate = costing.estimate
        sample = Sample(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            endpoint=costing.endpoint,
            pipeline=costing.pipeline,
            step=self._step,
            partition=context.partition_key if context.has_partition_key else None,
            mode=costing.mode,
            engine=self._engine.value,
            cluster=costing.cluster,
            vcpus=0.0 if estimate is None else estimate.vcpus,
            startup_s=made.startup_s if self._usages[-1].fresh else 0.0,
            run_s=made.run_s,
            usd=made.usd,
            estimated_usd=None if estimate is None else estimate.usd,
            run_id=context.run.run_id,
            photon=self._usages[-1].photon,
        )
        try:
            record(Path(context.instance.root_directory), sample)
        except OSError as fault:  # a step that has succeeded does not fail for it
            self._say(f"how long it took could not be kept ({fault.strerror})")


def _reasons(made: Bill) -> Iterator[str]:
    """Why a bill is no exact one."""
    for one in made.lines:
        if one.estimated:
            yield f"price of {one.what.partition(' x ')[2] or one.what} estimated"
    for clause in made.assumed:
        yield f"assumed: {clause}"


def told_shared(instance: DagsterInstance, run: DagsterRun | None, shared: Bill) -> str:
    """Put the bill of what the steps of a launch have shared into the history of its last run;
    returns the line for people."""
    line = f"what the steps shared cost {money_of(shared)} besides them (start, idle time, end)"
    if run is not None:
        data: Handle = {SHARED_KEY: MetadataValue.json(shared.as_json())}
        if shared.usd is not None:
            data["cost/shared_usd"] = MetadataValue.float(shared.usd)
        event_data = EngineEventData(metadata=data)
        instance.report_engine_event(line, dagster_run=run, engine_event_data=event_data)
    return line


def told_costs(
    instance: DagsterInstance, run_id: str, step_key: str
) -> Mapping[str, MetadataValue[Any]] | None:
    """The metadata of the last bill of a step in a run; None if there is none."""
    last = None
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is not None and event.step_key == step_key:
            metadata = event.engine_event_data.metadata
            last = metadata if BILL_KEY in metadata else last
    return last


def unmade(fault: Exception) -> str:
    """Why a bill could not be made: a clause that follows of what."""
    return f"whose bill could not be made ({_of(fault)})"


def _of(fault: Exception) -> str:
    return exception_words(type(fault).__name__, str(fault))


def bill_in(metadata: Mapping[str, MetadataValue[Any]], key: str = BILL_KEY) -> Bill | None:
    """The bill that metadata holds, or None."""
    found = metadata.get(key)
    if found is None:
        return None
    value = found.value
    return Bill.from_json(json.loads(value) if isinstance(value, str) else dict(value))
