"""The comparison of a sweep as one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.engines.wording import money, money_of
from ascii_hydra.outcome import Outcome
from ascii_hydra.report.compared_rows import ComparedRow
from ascii_hydra.report.comparison_table import LEFT, cost_text, overrides_text, remarks
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
    """The bill of a step, or of what steps shared, as the page shows it."""

    name: str
    total: str
    error: str | None
    bill: Bill


def page(
    folder: Path,
    rows: Sequence[ComparedRow],
    columns: Mapping[str, Sequence[str]],
    drawing: str | None,
) -> str:
    """The page as text.

    Args:
        folder: the sweep's.
        rows, columns: the table.
        drawing: the chart as an SVG element; None if there is none.
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
        folder=nearby(str(folder)),
        headings=list(columns),
        left=LEFT,
        rows=[
            {
                "row": one,
                "cells": [column[index] for column in columns.values()],
                "dominated": one.standing is not None and not one.standing.on_front,
                "overrides": overrides_text(one),
                "cost": cost_text(one) or "cost not known",
                "parts": _parts(one.bill),
                "accounts": list(_accounts(one.outcome)),
            }
            for index, one in enumerate(rows)
        ],
        remarks=list(remarks(rows)),
        drawing=drawing,
        undrawn=None if drawing else "No row has both a cost and a duration to be compared by.",
    )


def _parts(bill: Bill | None) -> list[tuple[str, str, str]]:
    """Each part of a bill by name, amount and share."""
    if bill is None or not bill.known_usd:
        return []
    return [
        (name, money(bill.of(part)), f"{bill.of(part) / bill.known_usd:.0%}")
        for part, name in _PARTS.items()
    ]


def _accounts(outcome: Outcome) -> Iterator[_Account]:
    for step in outcome.steps:
        where = "" if step.partition is None else f" [{step.partition}]"
        name = f"{step.step}{where} on {step.engine} {step.cluster}: {step.ending.value}"
        total = "cost not known" if step.bill is None else money_of(step.bill)
        yield _Account(name, total, step.error, step.bill or Bill())
    if outcome.shared is not None:
        yield _Account("shared by steps", money_of(outcome.shared), None, outcome.shared)


def _quantity(line: BillLine) -> str:
    return f"{line.quantity:,.4g} {line.unit}"
