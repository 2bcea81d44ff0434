"""The rows of a sweep side by side: on the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.progress import wide_console

COLUMNS = (
    "row",
    "overrides",
    "engine",
    "mode",
    "cluster",
    "pipeline",
    "ending",
    "duration_s",
    "cost_usd",
    "error",
)


def compared(folder: Path, rows_file: str, console: Console | None = None) -> bool:
    """Write comparison.md, .csv and .json of a sweep and print the table.

    Args:
        folder: the sweep's folder; each row has one of its own in it, `<number>-...`.
        rows_file: name of the file in it that lists every row's overrides.
        console: where the table is printed.

    Returns:
        Whether every row went well.
    """
    rows = _rows(folder, rows_file)
    _write(folder, rows)
    console = console or wide_console()
    table = Table(box=None, pad_edge=False)
    shown = ("row", "overrides", "ending", "duration_s", "cost_usd", "error")
    for name in shown:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row[name])) for name in shown))
    console.print(table)
    console.print(f"Written to {folder}/comparison.md, .csv and .json", highlight=False)
    return all(row["ending"] in {Ending.succeeded, Ending.planned} for row in rows)


def _rows(folder: Path, rows_file: str) -> list[dict[str, object]]:
    planned = folder / rows_file
    listed = json.loads(planned.read_text(encoding="utf-8")) if planned.is_file() else []
    written = {
        int(path.parent.name.partition("-")[0]): Outcome.read(path)
        for path in folder.glob("*/result.json")
    }
    numbers = sorted({*range(len(listed)), *written})
    return [_row(n, listed[n] if n < len(listed) else [], written.get(n)) for n in numbers]


def _row(number: int, overrides: list[str], outcome: Outcome | None) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(COLUMNS)
    row.update(row=number, overrides=" ".join(overrides))
    if outcome is None:
        return {**row, "ending": Ending.not_started, "error": "it wrote no result.json"}
    known = {name: value for name, value in asdict(outcome).items() if name in COLUMNS}
    errors = [step.error for step in outcome.steps if step.error]
    first = outcome.error or next(iter(errors), None)
    return {
        **row,
        **known,
        "cost_usd": outcome.cost_usd,
        "error": first.strip().splitlines()[0] if first else None,
    }


def _write(folder: Path, rows: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=2)
    (folder / "comparison.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = (_text(row[name]).replace("|", "\\|") for name in COLUMNS)
        lines.append(f"| {' | '.join(cells)} |")
    (folder / "comparison.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
