"""How a run ended, as a value that is shown, written to result.json and compared."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ascii_hydra.costs.bill import Bill, together
from ascii_hydra.costs.estimate import Basis
from ascii_hydra.engines.still_running import StillRunning

EXIT_LEFT_RUNNING, EXIT_INTERRUPTED = 3, 130


class Ending(StrEnum):
    """How a step, a run or a row of a sweep ended."""

    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"
    not_started = "not started"
    planned = "planned"


@dataclass(frozen=True)
class StepOutcome:
    """How one step of one partition ended.

    Attributes:
        step: the step's name.
        partition: the partition's key, or None.
        engine, cluster: where it ran and with how much computing.
        ending: how it ended.
        duration_s: seconds from its start to its end; None if it was not started.
        rows: how many rows it made, if it said so.
        bill: what it cost; None if that is not known.
        estimated_usd: what it was expected to cost; None if that was not known.
        input_gb: what it read, if it said so; of 10^9 bytes.
        vcpus: what Spark's executors get of those of all workers.
        memory_gib: of all workers.
        spread_usd, spread_s: of a plan, the least and the most of cost and duration by what is
            known of earlier runs; None if that tells no spread.
        duration_basis, duration_source: of a plan, what its duration is made of, and in words.
        computing: of a plan, its machines.
        output: folder or URI of what it made.
        error: what went wrong, for a person.
    """

    step: str
    partition: str | None
    engine: str
    cluster: str
    ending: Ending
    duration_s: float | None = None
    rows: int | None = None
    bill: Bill | None = None
    estimated_usd: float | None = None
    input_gb: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    output: str | None = None
    error: str | None = None
    spread_usd: tuple[float, float] | None = None
    spread_s: tuple[float, float] | None = None
    duration_basis: Basis | None = None
    duration_source: str | None = None
    computing: str | None = None

    @property
    def cost_usd(self) -> float | None:
        """What it cost, or None if anything has no price."""
        return None if self.bill is None else self.bill.usd


@dataclass(frozen=True)
class Outcome:
    """How everything that one command, or one row of a sweep, asked for ended.

    Attributes:
        ending: failed if any step failed, canceled if it was interrupted.
        engine, mode, cluster, pipeline: what was chosen.
        digest: names the configuration.
        steps: every step of every partition.
        duration_s: seconds from the first start to the last end.
        virtual: the durations are of a rehearsed cloud's time, which passes faster.
        shared: what a cluster that several steps shared cost besides the steps themselves.
        resumed_from: the folder of the row that this one was taken over from.
        estimated_usd: what the whole was expected to cost before; None if that was not known.
        keeps_promise: what is asked for keeps, for every step, what its size promises.
        run_ids: Dagster's runs, in the history of `dagster_home`.
        over_budget: that launch.budget_usd was passed, and why: a sentence; else None.
        error: what went wrong before or beside the steps.
        left: what may still run and cost money.
    """

    ending: Ending
    engine: str
    mode: str
    cluster: str
    pipeline: str
    digest: str
    steps: tuple[StepOutcome, ...] = ()
    duration_s: float | None = None
    virtual: bool = False
    shared: Bill | None = None
    resumed_from: str | None = None
    estimated_usd: float | None = None
    keeps_promise: bool = True
    run_ids: tuple[str, ...] = ()
    dagster_home: str | None = None
    over_budget: str | None = None
    error: str | None = None
    left: tuple[StillRunning, ...] = ()

    @property
    def exit_code(self) -> int:
        """What a process ends with that did this and nothing else."""
        if self.left:
            return EXIT_LEFT_RUNNING
        if self.ending is Ending.canceled:
            return EXIT_INTERRUPTED
        return int(self.ending not in {Ending.succeeded, Ending.planned})

    @property
    def bill(self) -> Bill | None:
        """What is known of the whole's cost; None if nothing is. A step that was not started has
        cost nothing; any other without a bill is named as lacking."""
        told = [one for one in self.steps if one.ending is not Ending.not_started or one.bill]
        bills = [*(one.bill for one in told), self.shared]
        known = [one for one in bills if one is not None]
        if not known:
            return None
        unknown = [f"the cost of {one.step}" for one in told if one.bill is None]
        return together([Bill(unpriced=tuple(unknown)), *known])

    @property
    def cost_usd(self) -> float | None:
        """What the whole cost, or None if anything has no price: an unknown cost is not zero."""
        whole = self.bill
        return None if whole is None else whole.usd

    def written(self, folder: Path) -> Path:
        """Write result.json into a folder and return its path."""
        path = folder / "result.json"
        data = asdict(self)
        for step, told in zip(self.steps, data["steps"], strict=True):
            told["bill"] = None if step.bill is None else step.bill.as_json()
            told["cost_usd"] = step.cost_usd
        data["shared"] = None if self.shared is None else self.shared.as_json()
        data["cost_usd"] = self.cost_usd
        # Whole or not there: a sweep is resumed from it, whatever ended the process.
        half = path.with_suffix(".part")
        half.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        half.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """The outcome that `written` wrote."""
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        del data["cost_usd"]
        for one in data["steps"]:
            del one["cost_usd"]
            one |= {"ending": Ending(one["ending"]), "bill": _bill(one["bill"])}
            if (basis := one.get("duration_basis")) is not None:
                one["duration_basis"] = Basis(basis)
            for key in ("spread_usd", "spread_s"):
                one[key] = None if one.get(key) is None else tuple(one[key])
        return cls(
            **{
                **data,
                "ending": Ending(data["ending"]),
                "shared": _bill(data["shared"]),
                "steps": tuple(StepOutcome(**one) for one in data["steps"]),
                "run_ids": tuple(data["run_ids"]),
                "left": tuple(StillRunning(**one) for one in data.get("left", ())),
            }
        )


class BrokenLaunchError(Exception):
    """A launch ended by an exception, which is the cause of this one.

    Args:
        outcome: what is known of it, among it what may still run.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def _bill(data: dict[str, Any] | None) -> Bill | None:
    return None if data is None else Bill.from_json(data)
