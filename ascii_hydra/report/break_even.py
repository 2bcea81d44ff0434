"""From which speed a row costs no more than another from which it is not told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ascii_hydra.config.arguments import override_key
from ascii_hydra.costs.bill import Bill, Part
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.compared_rows import ComparedRow


@dataclass(frozen=True)
class BreakEven:
    """From which speed a row costs no more than another.

    Attributes:
        row, against: their numbers; `against` is the one that is cheaper as they stand.
        speed: how many times as fast the row's steps must execute as those of `against`; None if it
            costs more at any speed, because its start-up alone does.
        expected_speed: as their plans have it, weighted by the costs of the row's steps; None of a
            rehearsal, which tells no speed.
        startup_counts: the start-ups of both count; not of a rehearsal, where only the prices of an
            hour of execution can be compared.
        of_sizes: both have the same engine, and not the same size.
    """

    row: int
    against: int
    speed: float | None
    expected_speed: float | None
    startup_counts: bool
    of_sizes: bool


def break_evens(rows: Sequence[ComparedRow]) -> list[BreakEven]:
    """Of rows that are planned or rehearsed and not told apart: on each size, every row against the
    cheapest; on each engine, every size against the next cheaper one."""
    doubtful = sorted(
        (one for one in rows if _is_doubtful(one)), key=lambda one: (_price(one), one.number)
    )
    by_size: dict[tuple[object, ...], list[ComparedRow]] = {}
    by_engine: dict[tuple[object, ...], list[ComparedRow]] = {}
    for one in doubtful:
        own = tuple(it for it in one.overrides if override_key(it) not in {"engine", "cluster"})
        by_size.setdefault((one.work, one.outcome.cluster), []).append(one)
        by_engine.setdefault((one.work, one.engine, own), []).append(one)
    found = [
        *(made for group in by_size.values() for one in group[1:] for made in _made(group[0], one)),
        *(
            made
            for group in by_engine.values()
            for base, one in pairwise(group)
            if base.outcome.cluster != one.outcome.cluster
            for made in _made(base, one, of_sizes=True)
        ),
    ]
    return sorted(found, key=lambda one: (one.of_sizes, one.row, one.against))


def break_even_speed(base: Outcome, other: Outcome) -> float | None:
    """How many times as fast as `base` the other's steps must execute to cost no more; None if no
    speed is enough.

    A bill is what start-up and idle cost, and what execution costs, which is in proportion to its
    time. With `S` and `X_i` of the other (start-up; execution of step i, that takes `t_i`), `C` the
    whole cost of `base` and `T_i` its executions, the speed is `sum(X_i * T_i / t_i) / (C - S)`.
    In a rehearsal, start-ups are left out of both.

    Raises ValueError if they have other steps, or one of which no execution is known.
    """
    at_base_usd = _execution_at(base, other)
    if base.virtual:
        left_usd = _executions_usd(base)
    else:
        left_usd = (base.cost_usd or 0.0) - (other.bill or Bill()).of(Part.startup_idle)
    return at_base_usd / left_usd if left_usd > 0 else None


def _execution_at(base: Outcome, other: Outcome) -> float:
    """What the other's steps would cost if they executed as long as those of `base`."""
    theirs, ours = (
        {(step.step, step.partition): step.bill or Bill() for step in one.steps}
        for one in (base, other)
    )
    if theirs.keys() != ours.keys():
        raise ValueError("they have other steps")
    if any(one.run_s <= 0 for one in (*theirs.values(), *ours.values())):
        raise ValueError("the execution of a step is not known")
    return sum(_execution_usd(one) * theirs[key].run_s / one.run_s for key, one in ours.items())


def _executions_usd(outcome: Outcome) -> float:
    return sum(_execution_usd(one.bill) for one in outcome.steps if one.bill is not None)


def _is_doubtful(row: ComparedRow) -> bool:
    if row.standing is None or not row.standing.alike:
        return False
    return row.outcome.virtual or row.outcome.ending is Ending.planned


def _price(row: ComparedRow) -> float:
    """What decides which row is the cheaper one: its cost, or what a second of a rehearsed
    one's execution costs."""
    if not row.outcome.virtual:
        return row.outcome.cost_usd or 0.0
    run_s = sum(one.bill.run_s for one in row.outcome.steps if one.bill is not None)
    return _executions_usd(row.outcome) / run_s if run_s else 0.0


def _execution_usd(bill: Bill) -> float:
    """What the execution of the attempt that made the asset costs."""
    return sum(
        one.usd for one in bill.lines if one.part is not Part.startup_idle and not one.wasted
    )


def _made(base: ComparedRow, row: ComparedRow, *, of_sizes: bool = False) -> Iterator[BreakEven]:
    if row.number not in base.alike:
        return
    planned = not base.outcome.virtual
    try:
        speed = break_even_speed(base.outcome, row.outcome)
        expected = _execution_at(base.outcome, row.outcome) / _executions_usd(row.outcome)
    except (ValueError, ZeroDivisionError):  # a rehearsal of no time, or that cost nothing
        return
    yield BreakEven(
        row.number, base.number, speed, expected if planned else None, planned, of_sizes
    )
