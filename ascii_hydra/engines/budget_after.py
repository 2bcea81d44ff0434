"""`launch.budget_usd` once everything has ended: whether it was passed all the same."""

from __future__ import annotations

from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.wording import money

_MOST_DIGITS = 4


def over_budget(
    budget_usd: float, bill: Bill, shared: Bill | None, *, earlier_usd: float, stopped: bool
) -> str | None:
    """That more was spent than was allowed, and why; None if it was not, as far as is known.

    Args:
        budget_usd: what the launch, or the whole sweep, might cost.
        bill: what it has cost, without earlier rows of a sweep.
        shared: of it, what its steps have shared: clusters' idle time, instances that waited in
            pools.
        earlier_usd: what earlier rows of a sweep have cost.
        stopped: a step was stopped, or not begun, for the budget.
    """
    spent_usd = earlier_usd + bill.known_usd
    if round(spent_usd, _MOST_DIGITS) <= budget_usd:
        return None
    # As exact as the budget was told, and more exact until the two differ.
    digits = max(2, len(f"{budget_usd:g}".partition(".")[2]))
    while digits < _MOST_DIGITS and round(spent_usd, digits) <= budget_usd:
        digits += 1
    shared_usd = 0.0 if shared is None else shared.known_usd
    if stopped:
        why = "what was stopped is paid for until it has ended"
    elif shared_usd and spent_usd - shared_usd <= budget_usd:
        part = money(shared_usd)
        why = f"what the steps shared is paid for until the launch ends ({part} besides the steps)"
    else:
        why = "the last of it was seen only when nothing was left to stop"
    rows = f", {money(earlier_usd)} of it by earlier rows" if earlier_usd else ""
    marks = f"{'more than ' if bill.unpriced else ''}{'~' if bill.estimated else ''}"
    amount = f"{marks}${spent_usd:,.{digits}f} were spent{rows}"
    return f"launch.budget_usd={budget_usd:g} was passed: {amount}, because {why}."
