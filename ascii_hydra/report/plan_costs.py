"""The money of a plan: what every step would cost, as a table, and how that is known, as notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from ascii_hydra.config.settle import Settings
from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.costs.estimate import Expected
from ascii_hydra.engines.estimate import PlannedRun, PlannedStep
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.wording import money

_HEADINGS = {
    Part.compute: "compute",
    Part.platform: "platform",
    Part.storage: "storage",
    Part.startup_idle: "start-up",
}
_MINUTE_S, _HOUR_S = 60, 3600
_NOTHING = "-"


def show_costs(settings: Settings, planned: PlannedRun, console: Console) -> None:
    """Print the table and its notes."""
    console.print()
    console.print(_table(planned))
    console.print()
    for note in _notes(settings, planned):
        # Words are kept together on a terminal; what is piped has its lines as they are.
        console.print(note, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def total_words(planned: PlannedRun) -> str:
    """What the whole run is expected to cost, in a few words."""
    if planned.usd is None:
        known = planned.known_usd
        least = f"> ~{money(known)}" if known else "cost not known"
        return f"{least}, lacking {'; '.join(planned.lacking)}"
    if all(isinstance(one.asked, LocalRequest) for one in planned.steps):
        return "$0.00, nothing is rented"
    spread = planned.spread_usd
    between = "" if spread is None else f" ({money(spread[0])} to {money(spread[1])})"
    return f"~{money(planned.usd)}{between}"


def duration_text(seconds: float) -> str:
    """A duration as exact as a plan is: `45 s`, `2 min 30 s`, `12 min`, `9 h 59 min`."""
    whole = round(seconds)
    if whole < 2 * _MINUTE_S:
        return f"{whole} s"
    if whole < 10 * _MINUTE_S:
        minutes, rest = divmod(whole, _MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / _MINUTE_S)
    if minutes < 120:  # noqa: PLR2004 - two hours
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _table(planned: PlannedRun) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "duration", *_HEADINGS.values(), "total"):
        left = heading in {"step", "duration"}
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "step")
    for one in planned.steps:
        table.add_row(*_row(one))
    if planned.shared.lines:
        cells = _amounts(planned.shared, certain=False)
        table.add_row("shared cluster", "", *cells, f"~{money(planned.shared.known_usd)}")
    if len(planned.steps) > 1 or planned.shared.lines:
        table.add_section()
        table.add_row("together", "", *_sums(planned), _total(planned))
    return table


def _row(one: PlannedStep) -> tuple[str, ...]:
    takes = one.estimate.expected
    count = "" if one.partitions in (None, 1) else f"{one.partitions} x "
    if takes.run_s is None:
        return one.step, f"{count}not known", *_hourly(one), _rate(one)
    took = _marked(duration_text(takes.run_s), not _told(takes))
    usd = one.usd if one.partitions is not None else one.estimate.usd
    shown = _least(one.bill) if usd is None else _marked(money(usd), usd > 0)
    return (
        one.step,
        f"{count}{took}",
        *_amounts(one.bill, certain=_told(takes)),
        _each(one, shown),
    )


def _each(one: PlannedStep, shown: str) -> str:
    return f"{shown} each" if one.partitions is None else shown


def _least(bill: Bill) -> str:
    return f"> {money(bill.known_usd)}" if bill.known_usd else "?"


def _rate(one: PlannedStep) -> str:
    rate = one.estimate.usd_per_hour
    if rate == 0:
        return money(0.0)
    if rate is None:
        return f"{_least(one.hour)}/h" if one.hour.known_usd else "?"
    return f"{_marked(money(rate), one.hour.estimated)}/h"


def _hourly(one: PlannedStep) -> Iterator[str]:
    """The parts an hour; start-up is what it costs once."""
    for part in _HEADINGS:
        if part is Part.startup_idle:
            yield _amount(one.bill, part, certain=False)
        else:
            amount = _amount(one.hour, part, certain=True)
            yield amount if amount == _NOTHING else f"{amount}/h"


def _amounts(bill: Bill, *, certain: bool) -> list[str]:
    return [_amount(bill, part, certain=certain) for part in _HEADINGS]


def _amount(bill: Bill, part: Part, *, certain: bool) -> str:
    lines = [one for one in bill.lines if one.part is part]
    if not lines:
        return _NOTHING
    doubted = not certain or part is Part.startup_idle or bool(bill.assumed)
    return _marked(money(bill.of(part)), doubted or any(one.estimated for one in lines))


def _sums(planned: PlannedRun) -> Iterator[str]:
    """Of all steps, of which every duration and number of partitions must be known."""
    known = all(
        one.partitions is not None and one.estimate.expected.run_s is not None
        for one in planned.steps
    )
    for part in _HEADINGS:
        if known or part is Part.startup_idle:
            yield _amount(planned.bill, part, certain=_certain(planned.steps))
        else:
            yield _NOTHING


def _total(planned: PlannedRun) -> str:
    if planned.usd is None:
        return f"> ~{money(planned.known_usd)}" if planned.known_usd else "?"
    return _marked(money(planned.usd), planned.usd > 0)


def _told(takes: Expected) -> bool:
    """Somebody said so: it is measured nowhere."""
    return takes.run_s is not None and takes.samples == 0


def _certain(steps: Iterable[PlannedStep]) -> bool:
    return all(_told(one.estimate.expected) for one in steps)


def _marked(text: str, estimated: bool) -> str:
    return f"~{text}" if estimated else text


# --- notes --------------------------------------------------------------------------------------


def _notes(settings: Settings, planned: PlannedRun) -> Iterator[str]:
    took = planned.duration_s
    lasting = "" if took is None else f", in {duration_text(took)} with start-up"
    yield f"Expected total: {total_words(planned)}{lasting}."
    yield from _durations(planned)
    yield from _startups(settings, planned)
    bill = planned.bill
    for title, clauses in (("Not priced", bill.unpriced), ("Assumed", bill.assumed)):
        if clauses:
            yield f"{title}: {'; '.join(clauses)}."
    lines = [line for one in planned.steps for line in one.hour.lines]
    if lines:
        yield f"Prices, in USD: {'; '.join(_sources(lines))}."
        yield "~ marks an estimate."


def _durations(planned: PlannedRun) -> Iterator[str]:
    said: dict[str, list[str]] = {}
    for one in planned.steps:
        takes = one.estimate.expected
        each = " a partition" if one.partitions != 1 else ""
        if takes.run_s is None and one.estimate.usd_per_hour == 0:
            what = f"{takes.source}; it costs nothing"
        elif takes.run_s is None:
            what = f"{takes.source}; tell it by pipeline.steps.STEP.expected_minutes"
        else:
            what = f"{duration_text(takes.run_s)}{each}{_spread(takes)}, {takes.source}"
        said.setdefault(what, []).append(one.step)
    for what, steps in said.items():
        yield f"Duration of {', '.join(steps)}: {what}."


def _spread(takes: Expected) -> str:
    if takes.low_s is None or takes.high_s is None:
        return ""
    low, high = duration_text(takes.low_s), duration_text(takes.high_s)
    return f" ({low} to {high})" if low != high else ""


def _startups(settings: Settings, planned: PlannedRun) -> Iterator[str]:
    said: dict[str, None] = {}
    for one in planned.steps:
        takes = one.estimate.expected
        if takes.startup_s:
            engine = settings.steps[one.step].engine.name.value
            took = duration_text(takes.startup_s)
            said[f"Start-up on {engine}: {took}, {takes.startup_source}."] = None
    yield from said
    if planned.shared.lines:
        took = duration_text(planned.shared.startup_s)
        yield f"Start-up of what is shared: {took}, {planned.shared_source}."


def _sources(lines: Iterable[BillLine]) -> Iterator[str]:
    """Every source of a price and its date; `~` before those of estimates."""
    dates: dict[str, list[str]] = {}
    for one in lines:
        dates.setdefault(_marked(one.price_source, one.estimated), []).append(one.price_date)
    for source, each in dates.items():
        oldest, newest = min(each), max(each)
        yield f"{source} ({oldest if oldest == newest else f'{oldest} to {newest}'})"
