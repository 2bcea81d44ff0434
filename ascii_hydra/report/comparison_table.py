"""The table of a comparison as people see it, and what stands below it, wherever it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ascii_hydra.costs.frontier import Standing
from ascii_hydra.engines.wording import marked, money, money_of, wasted_of
from ascii_hydra.outcome import Ending
from ascii_hydra.report.compared_rows import ComparedRow, lacking, notes
from ascii_hydra.report.plan_costs import duration_text
from ascii_hydra.report.progress import nearby

LEFT = frozenset({"#", "engine", "cluster", "overrides", "ending", "front"})
"""Headings of columns of words; the others are of figures."""
_LONGEST_VALUE = 40


def table_columns(rows: Sequence[ComparedRow]) -> dict[str, list[str]]:
    """The table as people see it: the cells of each column by its heading. A column in which no row
    has anything is left out, and so are overrides that only say what other columns do."""
    all_virtual = _all_virtual(rows)
    cells: dict[str, Callable[[ComparedRow], str]] = {
        "#": lambda row: str(row.number),
        "engine": lambda row: row.engine,
        "cluster": lambda row: row.outcome.cluster,
        "cost": cost_text,
        "duration": lambda row: _duration(row, virtual=row.outcome.virtual and not all_virtual),
        "front": front_text,
        "ending": _ending,
        "estimated": _estimated,
        "wasted": _wasted,
        "start-up": _startup,
        "$/node-h": lambda row: _money(row, row.usd_per_node_hour),
        "read": lambda row: "" if row.input_gb is None else _size(row.input_gb),
        "$/GB": lambda row: "" if (row.input_gb or 0.0) < 1 else _money(row, row.usd_per_gb),
        "workers": _workers,
        "overrides": lambda row: overrides_text(row, own=("engine", "cluster")),
    }
    made = {name: [cell(row) for row in rows] for name, cell in cells.items()}
    made = {name: column for name, column in made.items() if any(column)}
    if set(made.get("wasted", ())) <= {"", money(0.0)}:
        made.pop("wasted", None)
    return {
        _headed(name, all_virtual): [one or "-" for one in column] for name, column in made.items()
    }


def remarks(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """What stands below the table: why rows did not go well, what has no price, and notes."""
    for one in rows:
        if one.reason is not None:
            yield f"#{one.number} {one.outcome.ending.value}: {one.reason}"
        if one.outcome.resumed_from is not None:
            yield f"#{one.number} was taken over from {nearby(one.outcome.resumed_from)}"
    alike: dict[str, list[str]] = {}
    for number, what in lacking(rows).items():
        alike.setdefault(what, []).append(f"#{number}")
    for what, numbers in alike.items():
        yield f"{', '.join(numbers)}: the cost lacks {what}"
    planned = [step for one in rows for step in one.outcome.steps if step.ending is Ending.planned]
    if any(one.duration_s is None for one in planned):
        yield "Tell a duration by pipeline.steps.STEP.expected_minutes, or run the step once."
    if any(one.standing is not None for one in rows):
        yield (
            "front: no other row beats it in cost or time without losing in the other; per hour:"
            " what each hour saved costs against the next cheaper row of the front."
        )
    yield from notes(rows)


def left_remarks(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """What may still run and cost money, of each row."""
    return (f"#{one.number}: {left.sentence}" for one in rows for left in one.outcome.left)


def overrides_text(row: ComparedRow, own: Sequence[str] = ()) -> str:
    """The overrides by which a row differs, in a readable length.

    Args:
        row: the row.
        own: keys that are told elsewhere.
    """
    shown = []
    for one in row.overrides:
        key, _, value = one.partition("=")
        if key in own:
            continue
        if len(value) > _LONGEST_VALUE:
            tail = value.rpartition("/")[2]
            value = f"…/{tail}" if 0 < len(tail) < _LONGEST_VALUE else value[:_LONGEST_VALUE] + "…"
        shown.append(f"{key.removeprefix('pipeline.steps.')}={value}")
    return " ".join(shown)


def cost_text(row: ComparedRow) -> str:
    """What a row cost: `~` before an estimate, `>` before what lacks something."""
    whole = row.bill
    if whole is None:
        return ""
    text = money_of(whole)
    if not row.is_estimate or "~" in text or text == "unpriced":
        return text
    return text.replace("$", "~$", 1)


def front_text(row: ComparedRow) -> str:
    """Whether a row is on the front, and what each hour costs that it saves."""
    return "" if row.standing is None else standing_text(row.standing)


def standing_text(standing: Standing) -> str:
    """`dominated`, `cheapest`, or what each hour saved costs."""
    if not standing.on_front:
        return "dominated"
    per_hour = standing.usd_per_hour_saved
    if per_hour is None:
        return "cheapest"
    return f"{'~' if standing.estimated else ''}{money(per_hour)} per hour"


def _headed(name: str, all_virtual: bool) -> str:
    return f"{name} (virtual)" if name == "duration" and all_virtual else name


def _all_virtual(rows: Sequence[ComparedRow]) -> bool:
    timed = [one.outcome.virtual for one in rows if one.duration_s is not None]
    return bool(timed) and all(timed)


def _workers(row: ComparedRow) -> str:
    if row.workers is None:
        return "differ" if len({one.vcpus for one in row.outcome.steps}) > 1 else ""
    return f"{row.workers[0]:g} vCPU, {row.workers[1]:g} GiB"


def _ending(row: ComparedRow) -> str:
    return f"{row.outcome.ending.value}{' (resumed)' if row.outcome.resumed_from else ''}"


def _duration(row: ComparedRow, *, virtual: bool) -> str:
    if row.duration_s is None:
        return ""
    planned = "~" if row.outcome.ending is Ending.planned else ""
    return f"{planned}{duration_text(row.duration_s)}{' virtual' if virtual else ''}"


def _estimated(row: ComparedRow) -> str:
    if row.estimated_usd is None or row.is_local:
        return ""
    error = row.estimate_error_pct
    return f"~{money(row.estimated_usd)}{'' if error is None else f' ({round(error):+d} %)'}"


def _wasted(row: ComparedRow) -> str:
    whole = row.bill
    if whole is None or not whole.lines:
        return ""
    if whole.usd is None:
        return f"> {wasted_of(whole)}" if whole.wasted_usd else ""
    return wasted_of(whole)


def _startup(row: ComparedRow) -> str:
    share = row.startup_idle_share
    return "" if share is None else f"{'~' if row.is_estimate else ''}{share:.0%}"


def _money(row: ComparedRow, usd: float | None) -> str:
    return "" if usd is None else marked(usd, estimated=row.is_estimate)


def _size(gb: float) -> str:
    for unit, factor in (("GB", 1.0), ("MB", 1e3), ("kB", 1e6)):
        if gb * factor >= 1:
            return f"{gb * factor:.3g} {unit}"
    return f"{gb * 1e9:.0f} B"
