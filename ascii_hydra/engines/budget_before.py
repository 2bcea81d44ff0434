"""`launch.budget_usd` before anything starts: what is expected to cost more is not begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ascii_hydra.config.problems import Problem
from ascii_hydra.engines.estimate import PlannedRun
from ascii_hydra.engines.wording import money

_INSTEAD = (
    "Raise it, or choose less: a smaller cluster, fewer partitions, or a mode with less data."
)


def _expected(planned: PlannedRun) -> str:
    known = money(planned.known_usd)
    if planned.usd is not None:
        return f"~{known}"
    return f"more than ~{known} (not known: {', '.join(planned.lacking)})"


def run_over_budget(budget_usd: float, planned: PlannedRun) -> Problem | None:
    """Why a single run is not begun, or None if it may be."""
    if planned.known_usd <= budget_usd:
        return None
    dearest = max(planned.steps, key=lambda one: one.bill.known_usd)
    most = (
        f", of which {dearest.step} is ~{money(dearest.bill.known_usd)}"
        if len(planned.steps) > 1
        else ""
    )
    return Problem(
        f"launch.budget_usd={budget_usd:g}",
        f"the run is expected to cost {_expected(planned)}{most}. {_INSTEAD}",
    )


def sweep_over_budget(budget_usd: float, rows: Mapping[str, PlannedRun]) -> Problem | None:
    """Why a sweep is not begun, or None if it may be.

    Args:
        budget_usd: what it may cost.
        rows: what each is expected to cost, by its name for people.
    """
    total_usd = sum(one.known_usd for one in rows.values())
    if total_usd <= budget_usd:
        return None
    unknown = any(one.usd is None for one in rows.values())
    total = f"{'more than ' if unknown else ''}~{money(total_usd)}"
    each = "".join(f"\n    {name}: {_expected(one)}" for name, one in rows.items())
    return Problem(
        f"launch.budget_usd={budget_usd:g}",
        f"the {len(rows)} rows are expected to cost {total} together. {_INSTEAD}{each}",
    )


def row_over_budget(budget_usd: float, planned: PlannedRun, spent_usd: float) -> str | None:
    """Why a row of a sweep is not begun after what the rows before it have cost, or None if it may
    be."""
    spent = f"launch.budget_usd={budget_usd:g}: {money(spent_usd)} were spent by earlier rows"
    if spent_usd >= budget_usd > 0:
        return spent
    if spent_usd + planned.known_usd <= budget_usd:
        return None
    return f"{spent}, and this one is expected to cost {_expected(planned)}"


def unchecked(budget_usd: float, rows: Sequence[PlannedRun]) -> str | None:
    """What a user should know of a budget that cannot be checked before, or None if it was."""
    unknown = [one for one in rows if one.usd is None]
    if not unknown:
        return None
    lacking = dict.fromkeys(what for one in unknown for what in one.lacking)
    of = f" for {len(unknown)} of {len(rows)} rows" if len(rows) > 1 else ""
    return (
        f"launch.budget_usd={budget_usd:g} cannot be checked before{of}, because this is not known:"
        f" {', '.join(lacking)}. It is watched while it runs."
    )
