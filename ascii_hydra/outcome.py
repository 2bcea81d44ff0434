"""How a run ended, as a value that is shown, written to result.json and compared."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


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
        cost_usd: what it cost; None where no price is known.
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
    cost_usd: float | None = None
    output: str | None = None
    error: str | None = None


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
        run_ids: Dagster's runs, in the history of `dagster_home`.
        error: what went wrong before or beside the steps.
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
    run_ids: tuple[str, ...] = ()
    dagster_home: str | None = None
    error: str | None = None

    @property
    def cost_usd(self) -> float | None:
        """What all steps cost, or None if one has no price: an unknown cost is not zero."""
        costs = [step.cost_usd for step in self.steps]
        return None if None in costs or not costs else sum((cost for cost in costs if cost), 0.0)

    def written(self, folder: Path) -> Path:
        """Write result.json into a folder and return its path."""
        path = folder / "result.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """The outcome that `written` wrote."""
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        steps = tuple(
            StepOutcome(**{**one, "ending": Ending(one["ending"])}) for one in data["steps"]
        )
        return cls(
            **{
                **data,
                "ending": Ending(data["ending"]),
                "steps": steps,
                "run_ids": tuple(data["run_ids"]),
            }
        )
