"""What is expected of a step before it runs, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ascii_hydra.costs.bill import Bill


class Basis(StrEnum):
    """What an expected duration is made of."""

    told = "told"
    """Somebody said so: the same for every size and engine."""
    runs = "runs"
    """Earlier runs on as many vCPU of the same engine."""
    scaled = "scaled"
    """Earlier runs on other sizes of the same engine, by a law."""


@dataclass(frozen=True)
class Expected:
    """How long one run of a step is expected to take.

    Attributes:
        run_s: its execution; None if nobody knows.
        low_s, high_s: its spread.
        startup_s: from the submission to the step's first moment.
        source: where the figures are from, for people: `3 runs here`, `scaled from ...`.
        samples: of how many runs.
        startup_source: where `startup_s` is from, for people.
        basis: what `run_s` is made of; None if nobody knows it.
    """

    run_s: float | None
    low_s: float | None
    high_s: float | None
    startup_s: float
    source: str
    samples: int = 0
    startup_source: str = ""
    basis: Basis | None = None


@dataclass(frozen=True)
class Estimate:
    """What one run of a step is expected to cost.

    Attributes:
        expected: how long it takes.
        bill: what it costs then; without its execution if nobody knows how long that is.
        low_usd, high_usd: the spread, from that of the duration; None where it is not known.
        usd_per_hour: what an hour of its execution costs; None if anything has no price.
        vcpus: of all workers; 0 if not known.
        executor_vcpus: what Spark's executors get of them, by which durations are scaled and rows
            compared; 0 if not known.
        memory_gib: of all workers.
        computing: the machines, without how they are paid for: what of a plan on one says nothing
            of another.
    """

    expected: Expected
    bill: Bill
    low_usd: float | None
    high_usd: float | None
    usd_per_hour: float | None
    vcpus: float
    executor_vcpus: float
    memory_gib: float
    computing: str = ""

    @property
    def usd(self) -> float | None:
        """The whole, or None if its duration or a price is not known. What costs nothing an hour
        needs no duration."""
        unknown = self.expected.run_s is None and self.usd_per_hour != 0
        return None if unknown else self.bill.usd
