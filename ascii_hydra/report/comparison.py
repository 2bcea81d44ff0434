"""The rows of a sweep side by side: on the terminal, as Markdown, CSV, JSON, HTML and a chart."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ascii_hydra.costs.frontier import Place
from ascii_hydra.engines.wording import exception_words
from ascii_hydra.outcome import Ending
from ascii_hydra.report.break_even import break_evens
from ascii_hydra.report.compared_rows import ComparedRow, compared_rows, lacking
from ascii_hydra.report.comparison_table import (
    LEFT,
    left_remarks,
    overrides_text,
    remarks,
    table_columns,
)
from ascii_hydra.report.progress import nearby, show_left, wide_console
from ascii_hydra.report.sweep_folder import swept_rows

_STYLES = {
    Ending.succeeded: "green",
    Ending.failed: "red",
    Ending.canceled: "yellow",
    Ending.not_started: "dim",
    Ending.planned: "cyan",
}
# What a narrow terminal keeps, the most needed first.
_BY_NEED = (
    *("#", "engine", "cluster", "ending", "duration", "cost", "front", "cost band", "time band"),
    *("overrides", "estimated", "wasted", "start-up", "$/node-h", "workers", "$/GB", "read"),
)
_BAR = r"\|"


def compared(folder: Path, console: Console | None = None) -> bool:
    """Print the table of a sweep and write comparison.md, .csv, .json and .html; .svg too, if there
    is something to draw.

    Args:
        folder: the sweep's folder; each row has one of its own in it, `<number>-...`.
        console: where the table is printed.

    Returns:
        Whether every row went well.
    """
    rows = compared_rows(swept_rows(folder))
    console = console or wide_console()
    columns = table_columns(rows)
    written = _written(folder, rows, columns)
    shown = _fitting(columns, console.width)
    _show(rows, {name: columns[name] for name in shown}, console)
    hidden = [name for name in columns if name not in shown]
    pictured, undrawn = _pictured(folder, rows, columns)
    written += pictured
    if undrawn is not None:
        console.print(undrawn, markup=False, highlight=False, soft_wrap=True)
    more = f" (there too: {', '.join(hidden)})" if hidden else ""
    kinds = ", ".join(f".{path.suffix[1:]}" for path in written[1:])
    console.print(
        f"Written to {nearby(str(written[0]))}, {kinds}{more}", highlight=False, soft_wrap=True
    )
    show_left(console, {f"#{one.number}": one.outcome.left for one in rows})
    return all(one.went_well for one in rows)


# --- terminal ------------------------------------------------------------------------------------


def _fitting(columns: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """The columns that a terminal has room for, in their order."""
    left, taken = width, set()
    for need in _BY_NEED:
        for name, column in columns.items():
            if name.partition(" (")[0] != need:
                continue
            wide = max(len(one) for one in (name, *column)) + 2
            if wide <= left + 2 or need in {"#", "engine"}:
                taken.add(name)
                left -= wide
    return [name for name in columns if name in taken]


def _show(
    rows: Sequence[ComparedRow], columns: Mapping[str, Sequence[str]], console: Console
) -> None:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    for index, row in enumerate(rows):
        dominated = row.standing is not None and row.standing.place is Place.dominated
        table.add_row(
            *(
                Text(column[index], _STYLES[row.outcome.ending] if name == "ending" else "")
                for name, column in columns.items()
            ),
            style="dim" if dominated else None,
        )
    console.print(table)
    console.print()
    if "overrides" not in columns:
        for row in rows:
            if differs := overrides_text(row, own=("engine", "cluster")):
                console.print(f"#{row.number}: {differs}", markup=False, highlight=False)
    for remark in remarks(rows):
        console.print(remark, markup=False, highlight=False, soft_wrap=not console.is_terminal)


# --- files ---------------------------------------------------------------------------------------


def _written(
    folder: Path, rows: Sequence[ComparedRow], columns: Mapping[str, Sequence[str]]
) -> list[Path]:
    """What needs nothing but the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    evens = break_evens(rows)
    data = [
        {
            **row.as_data(),
            "break_even": [
                {
                    "against": one.against,
                    "speed": one.speed,
                    "expected_speed": one.expected_speed,
                    "startup_counts": one.startup_counts,
                }
                for one in evens
                if one.row == row.number
            ],
        }
        for row in rows
    ]
    paths = [folder / f"comparison.{suffix}" for suffix in ("md", "csv", "json")]
    paths[0].write_text(markdown(rows, columns), encoding="utf-8")
    with paths[1].open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, data[0] if data else ["row"])
        table.writeheader()
        table.writerows({key: _cell(value) for key, value in one.items()} for one in data)
    paths[2].write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return paths


def _cell(value: Any) -> Any:
    """A value of CSV; lists as JSON, and empty if they are."""
    return (json.dumps(value) if value else "") if isinstance(value, list) else value


def _pictured(
    folder: Path, rows: Sequence[ComparedRow], columns: Mapping[str, Sequence[str]]
) -> tuple[list[Path], str | None]:
    """The page and the chart, and why there is no chart, if it could not be drawn."""
    from ascii_hydra.report.chart import charted
    from ascii_hydra.report.page import page

    drawn = undrawn = None
    try:
        drawn = charted(rows)
    except Exception as fault:  # noqa: BLE001 - it is told; the sweep has been paid for
        why = exception_words(type(fault).__name__, str(fault))
        undrawn = f"The chart could not be drawn: {why}"
    element = None if drawn is None else drawn.for_page
    paths = [folder / "comparison.html"]
    paths[0].write_text(page(folder, rows, columns, element, undrawn), encoding="utf-8")
    if drawn is not None:
        paths.append(folder / "comparison.svg")
        paths[1].write_text(drawn.svg, encoding="utf-8")
    return paths, undrawn


def markdown(rows: Sequence[ComparedRow], columns: Mapping[str, Sequence[str]]) -> str:
    """The table and what must be known of it as Markdown."""
    lines = [f"| {' | '.join(columns)} |"]
    lines.append("|" + "".join(" --- |" if one in LEFT else " ---: |" for one in columns))
    for index, row in enumerate(rows):
        cells = {name: column[index] for name, column in columns.items()}
        if (what := lacking([row]).get(row.number)) is not None and "cost" in cells:
            cells["cost"] += f", lacking {what}"
        lines.append(f"| {' | '.join(one.replace('|', _BAR) for one in cells.values())} |")
    told = (*remarks(rows), *left_remarks(rows))
    listed = [f"- {one.replace('|', _BAR)}" for one in told]
    return "\n".join([*lines, *(["", *listed] if listed else [])]) + "\n"
