"""The comparison of a sweep as one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.costs.frontier import Place
from ascii_hydra.engines.wording import money, money_of, part_of
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.compared_rows import ComparedRow
from ascii_hydra.report.comparison_table import (
    LEFT,
    cost_text,
    left_remarks,
    overrides_text,
    remarks,
)
from ascii_hydra.report.progress import nearby

_TEMPLATE = "comparison.html.jinja"
_PARTS = {
    Part.compute: "compute",
    Part.platform: "platform fee",
    Part.storage: "storage",
    Part.startup_idle: "start-up and idle",
}


@dataclass(frozen=True)
class _Account:
    """The bill of a step, or of what steps shared, as the page shows it; `doubted` if all of its
    quantities are estimates."""

    name: str
    total: str
    error: str | None
    bill: Bill
    doubted: bool


def page(
    folder: Path,
    rows: Sequence[ComparedRow],
    columns: Mapping[str, Sequence[str]],
    drawing: str | None,
    undrawn: str | None = None,
) -> str:
    """The page as text.

    Args:
        folder: the sweep's.
        rows, columns: the table.
        drawing: the chart as an SVG element; None if there is none.
        undrawn: why not, if it could not be drawn.
    """
    environment = Environment(
        loader=PackageLoader("ascii_hydra.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"money": money, "quantity": _quantity, "part": _PARTS.__getitem__}
    return environment.get_template(_TEMPLATE).render(
        title=f"Comparison of {len(rows)} {'row' if len(rows) == 1 else 'rows'}",
        works="; ".join(
            dict.fromkeys(f"{o.pipeline}, {o.mode}" for o in (r.outcome for r in rows))
        ),
        folder=nearby(str(folder)),
        headings=list(columns),
        left=LEFT,
        rows=[
            {
                "row": one,
                "cells": [column[index] for column in columns.values()],
                "dominated": one.place == Place.dominated,
                "front": one.standing is not None and one.standing.on_front,
                "overrides": overrides_text(one),
                "cost": cost_text(one) or "cost not known",
                "parts": _parts(one),
                "accounts": list(_accounts(one.outcome)),
            }
            for index, one in enumerate(rows)
        ],
        remarks=[*remarks(rows), *left_remarks(rows)],
        drawing=drawing,
        undrawn=undrawn or "No row has both a cost and a duration to be compared by.",
    )


def _parts(row: ComparedRow) -> list[tuple[str, str]]:
    """Each part of a bill by name and amount, with its share of a whole that is known."""
    bill, found = row.bill, []
    if bill is None or not bill.known_usd:
        return []
    planned = row.outcome.ending is Ending.planned
    for part, name in _PARTS.items():
        amount = part_of(bill, part)
        if amount is not None:
            share = "" if bill.usd is None else f" ({bill.of(part) / bill.usd:.0%})"
            found.append((name, f"{_marked(amount, planned and bill.of(part) > 0)}{share}"))
    return found


def _marked(amount: str, estimated: bool) -> str:
    return amount if not estimated or "~" in amount else amount.replace("$", "~$", 1)


def _accounts(outcome: Outcome) -> Iterator[_Account]:
    planned = outcome.ending is Ending.planned
    for step in outcome.steps:
        where = "" if step.partition is None else f" [{step.partition}]"
        name = f"{step.step}{where} on {step.engine} {step.cluster}: {step.ending.value}"
        yield _account(name, step.bill, step.error, planned)
    if outcome.shared is not None:
        yield _account("besides the steps", outcome.shared, None, planned)


def _account(name: str, bill: Bill | None, error: str | None, planned: bool) -> _Account:
    if bill is None:
        return _Account(name, "cost not known", error, Bill(), doubted=planned)
    total = _marked(money_of(bill), planned and bill.known_usd > 0)
    return _Account(name, total, error, bill, doubted=planned or bool(bill.assumed))


def _quantity(line: BillLine) -> str:
    return f"{line.quantity:,.4g} {line.unit}"
