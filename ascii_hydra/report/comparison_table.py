"""The table of a comparison as people see it, and what stands below it, wherever it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from ascii_hydra.costs.estimate import Basis
from ascii_hydra.costs.frontier import MARGIN, Band, Place, Standing
from ascii_hydra.engines.wording import marked, money, money_of, wasted_of
from ascii_hydra.outcome import Ending
from ascii_hydra.report.break_even import BreakEven, break_evens
from ascii_hydra.report.compared_rows import ComparedRow, lacking, not_told_apart, notes
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
        "cost band": lambda row: _band(row, 0, _usd_range),
        "duration": lambda row: _duration(row, virtual=row.outcome.virtual and not all_virtual),
        "time band": lambda row: _band(row, 1, _time_range),
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
    for name in ("cost band", "time band"):  # what is the same for all is told below
        if set(made.get(name, ())) <= {"", _AS_TOLD, _UNKNOWN, _MARGIN}:
            made.pop(name, None)
    return {
        _headed(name, all_virtual): [one or "-" for one in column] for name, column in made.items()
    }


def remarks(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """What stands below the table: why rows did not go well, what has no price, and notes."""
    for one in rows:
        if one.reason is not None:
            yield f"#{one.number} {one.outcome.ending.value}: {one.reason}"
        if one.outcome.over_budget is not None:
            yield f"#{one.number}: {one.outcome.over_budget}"
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
    if any(one.standing is not None and one.standing.place in _RANKED for one in rows):
        yield (
            "front: no other row beats it in cost or time without losing in the other; per hour:"
            " what each hour saved costs against the next cheaper row of the front."
        )
    yield from not_told_apart(rows)
    yield from _break_even_lines(rows)
    if (line := _margin_line(rows)) is not None:
        yield line
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
    """Its place; of one on the front, what each hour saved costs."""
    per_hour = standing.usd_per_hour_saved
    if per_hour is None:
        return standing.place.value
    return f"{'~' if standing.estimated else ''}{money(per_hour)} per hour"


# --- bands and break-evens ----------------------------------------------------------------------

_AS_TOLD, _UNKNOWN, _MARGIN = "as told", "unknown", f"±{MARGIN:.0%}".replace("%", " %")
_RANKED = {Place.cheapest, Place.front, Place.dominated}


def _band(row: ComparedRow, which: int, text: Callable[[Band], str]) -> str:
    """The band of a row's cost (0) or duration (1); a word where it is not from a spread."""
    if (point := row.point) is None:
        return ""
    band, value = point.bands[which], (point.usd, point.duration_s)[which]
    if not band.is_known:
        return _UNKNOWN
    if row.bases == (Basis.told,):
        return _AS_TOLD
    return _MARGIN if band == Band.around(value) else text(band)


def _usd_range(band: Band) -> str:
    return f"{money(band.low)}-{money(band.high).removeprefix('$')}"


def _time_range(band: Band) -> str:
    """`51-98 min`: both ends in the same unit."""
    unit, unit_s = next(
        (unit, unit_s)
        for unit, unit_s in (("h", 3600.0), ("min", 60.0), ("s", 1.0))
        if band.high >= 2 * unit_s or unit_s == 1.0
    )
    low, high = (f"{one / unit_s:.{1 if unit == 'h' else 0}f}" for one in (band.low, band.high))
    return f"{low}-{high} {unit}"


def _margin_line(rows: Sequence[ComparedRow]) -> str | None:
    """What MARGIN means, if it is the band of rows that are compared."""
    at = [
        f"#{one.number}"
        for one in rows
        if one.standing is not None
        and one.standing.place is not Place.alone
        and _MARGIN in (_band(one, 0, _usd_range), _band(one, 1, _time_range))
    ]
    if not at:
        return None
    less = f"{2 * MARGIN:.0%}".replace("%", " %")
    return (
        f"band of {', '.join(at)}: {_MARGIN}, as of one run, or of several that hardly differ; what"
        f" differs by less than {less} is not told apart."
    )


def _break_even_lines(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """From which speed a row pays that is not told apart from another; a line for each size and
    each engine."""
    numbered = {one.number: one for one in rows}
    lines: dict[str, list[str]] = {}
    for one in break_evens(rows):
        row, base = numbered[one.row], numbered[one.against]
        where = f"engine={row.engine}" if one.of_sizes else f"cluster={row.outcome.cluster}"
        aside = "" if one.startup_counts else ", start-up aside"
        lines.setdefault(f"break-even ({where}{aside})", []).append(_break_even(one, row, base))
    for where, clauses in lines.items():
        yield f"{where}: {'; '.join(clauses)}."


def _break_even(one: BreakEven, row: ComparedRow, base: ComparedRow) -> str:
    own, its = (_short(it, of_sizes=one.of_sizes) for it in (row, base))
    if one.speed is None:
        return f"{own} costs more than {its} at any speed, by its start-up alone"
    expected = one.expected_speed
    # Of the same told minutes everybody knows.
    known = expected is None or math.isclose(expected, 1.0)
    beside = "" if known or expected is None else f" (expected: {_times(expected)})"
    return f"{own} pays from {_times(one.speed)} the speed of {its}{beside}"


def _times(speed: float) -> str:
    return f"{speed:.2f} x" if speed < 10 else f"{speed:.0f} x"  # noqa: PLR2004


def _short(row: ComparedRow, *, of_sizes: bool) -> str:
    differs = overrides_text(row, own=("engine", "cluster"))
    name = row.outcome.cluster if of_sizes else row.engine
    return f"#{row.number} {name}{f' ({differs})' if differs and not of_sizes else ''}"


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
