"""The state of a run while it goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from ascii_hydra.costs.bill import Bill, Part, together
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.wording import marked, money, money_of, part_of, wasted_of
from ascii_hydra.outcome import Ending, Outcome, StepOutcome

_COLOURS = {
    Ending.succeeded: "green",
    Ending.failed: "red",
    Ending.canceled: "yellow",
    Ending.not_started: "dim",
    Ending.planned: "cyan",
}
_ERROR_LINES = 18
_NARROW = 110


class Screen(Console):
    """A console that says by an exception that nobody reads any more, as a print does. Rich's own
    would end the process then, and with it what the run has still to write and to stop."""

    def on_broken_pipe(self) -> None:
        """Called by Rich when what it writes to is gone."""
        raise BrokenPipeError


@dataclass
class _Row:
    """The state of one step over all its partitions."""

    step: str
    engine: str
    cluster: str
    output: str
    total: int
    ended: list[StepOutcome] = field(default_factory=list)
    running_since: float | None = None
    running: str | None = None


class Progress:
    """Shows steps as they start and end. A context manager: within it, the table is live."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Screen()
        self._rows: dict[str, _Row] = {}
        self._note: str | None = None
        self._live = (
            Live(console=self._console, get_renderable=self._table, refresh_per_second=8)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            # The final table takes its place.
            self._live.transient = True
            with suppress(OSError):  # the terminal may have been closed
                self._live.stop()

    def expect(self, step: str, *, engine: str, cluster: str, output: str, total: int) -> None:
        """A step that will run, `total` times."""
        self._rows[step] = _Row(step, engine, cluster, output, total)

    def started(self, step: str, partition: str | None) -> None:
        """A step has started."""
        row = self._rows[step]
        row.running_since, row.running = time.monotonic(), partition
        self._plain(f"{_named(step, partition)} started on {row.engine}")

    def ended(self, outcome: StepOutcome) -> None:
        """A step has ended."""
        row = self._rows[outcome.step]
        row.ended.append(outcome)
        row.running_since = row.running = None
        said = f"{_named(outcome.step, outcome.partition)} {outcome.ending.value}"
        if outcome.duration_s is not None:
            said += f" in {_seconds(outcome.duration_s)}"
        if outcome.rows is not None:
            said += f", {outcome.rows:,} rows"
        if outcome.bill is not None and outcome.bill != Bill(run_s=outcome.bill.run_s):
            said += f", {money_of(outcome.bill)}"
        self._plain(said)

    def note(self, text: str) -> None:
        """Something that concerns the whole run."""
        self._note = text
        self._plain(text)

    def warn(self, text: str) -> None:
        """Something that nobody must miss: it stays on the terminal."""
        self._plain(text)
        if self._live is not None:
            with suppress(OSError):  # the terminal may have been closed
                self._live.console.print(text, style="bold red", markup=False, soft_wrap=True)

    def _plain(self, line: str) -> None:
        if self._live is None:
            with suppress(OSError):  # nobody reads any more; the run goes on all the same
                print(line, file=sys.stdout, flush=True)  # noqa: T201

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, caption=self._note, caption_justify="left")
        for heading in ("step", "engine", "cluster", "state", "duration", "cost"):
            right = heading in {"duration", "cost"}
            table.add_column(heading, justify="right" if right else "left")
        for row in self._rows.values():
            done = sum(one.duration_s or 0.0 for one in row.ended)
            if row.running_since is not None:
                done += time.monotonic() - row.running_since
                where = f" {row.running}" if row.running else ""
                count = f" {len(row.ended)}/{row.total}" if row.total > 1 else ""
                state: Spinner | str = Spinner("dots", text=f"running{count}{escape(where)}")
            else:
                state = _state(row.ended, row.total)
            shown = _seconds(done) if done else ""
            cost = _cost(row.ended) if row.ended else ""
            table.add_row(row.step, row.engine, row.cluster, state, shown, cost)
        return table


def _named(step: str, partition: str | None) -> str:
    return step if partition is None else f"{step} [{partition}]"


def _state(ended: Sequence[StepOutcome], total: int) -> str:
    if not ended:
        return "[dim]waiting[/dim]"
    counts = {one: sum(step.ending is one for step in ended) for one in Ending}
    parts = [
        f"[{_COLOURS[one]}]{one.value}{f' {count}' if total > 1 else ''}[/]"
        for one, count in counts.items()
        if count
    ]
    return ", ".join(parts)


def _seconds(duration_s: float) -> str:
    if duration_s < 100:  # noqa: PLR2004 - from here on, minutes read better
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    return f"{minutes} min {seconds:02d} s"


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, and elsewhere wide enough not to fold."""
    return Screen() if sys.stdout.isatty() else Screen(width=200)


def nearby(path: str) -> str:
    """A path as seen from the working directory, if it lies below it."""
    return path.removeprefix(f"{Path.cwd()}/")


def show(outcome: Outcome, console: Console | None = None) -> None:
    """The table of a whole outcome, and what went wrong below it."""
    console = console or wide_console()
    table = Table(box=None, pad_edge=False)
    headings = ["step", "engine", "cluster", "state", "duration", "rows", "cost", "output"]
    # A path that is folded cannot be copied: on a narrow terminal it goes below the table.
    narrow = console.width < _NARROW
    if narrow:
        headings.remove("output")
    outputs = {}
    for heading in headings:
        right = heading in {"duration", "rows", "cost"}
        table.add_column(
            heading,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=heading not in {"output", "state"},
        )
    for step in dict.fromkeys(one.step for one in outcome.steps):
        of_step = [one for one in outcome.steps if one.step == step]
        rows = [one.rows for one in of_step if one.rows is not None]
        durations = [one.duration_s for one in of_step if one.duration_s is not None]
        outputs[step] = nearby(_shared(of_step))
        cells = [
            step,
            of_step[0].engine,
            of_step[0].cluster,
            _state(of_step, len(of_step)),
            _seconds(sum(durations)) if durations else "",
            f"{sum(rows):,}" if rows else "",
            _cost(of_step),
            escape(outputs[step]),
        ]
        table.add_row(*cells[: len(headings)])
    if outcome.steps:
        console.print(table)
    if narrow:
        for step, output in outputs.items():
            console.print(f"{step}: {output}", markup=False, highlight=False, soft_wrap=True)
    for one in outcome.steps:
        if one.error is not None:
            name = _named(one.step, one.partition)
            console.print(f"\n[red]{escape(name)} {one.ending.value}[/red]")
            _print_whole(console, _shortened(one.error))
    if outcome.error is not None:
        gap = "\n" if outcome.steps else ""
        _print_whole(console, f"{gap}{outcome.error}")
    if outcome.steps:
        total = _seconds(outcome.duration_s or 0.0)
        whose = " of the rehearsed cloud's time" if outcome.virtual else ""
        ended = outcome.ending is Ending.canceled and not outcome.left
        known = "; all that was started has ended" if ended else ""
        console.print(f"\n{outcome.ending.value} in {total}{whose}{known}", highlight=False)
        for line in cost_lines(outcome):
            console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
        if outcome.over_budget is not None:
            _print_whole(console, outcome.over_budget)
        console.print("history: make start", highlight=False)
    show_left(console, {"": outcome.left})


def show_left(console: Console, left: Mapping[str, Sequence[StillRunning]]) -> None:
    """What may still run and cost money: the last lines of a report, or none.

    Args:
        console: where they are printed.
        left: by the name of the row that has left it; empty where there is one run alone.
    """
    if not any(left.values()):
        return
    console.print("\n[bold red]MAY STILL BE RUNNING AND COST MONEY[/bold red]")
    for name, each in left.items():
        for one in each:
            _print_whole(console, f"{name}{' ' if name else ''}{one.resource}: {one.reason}")
            # In one piece, so that it can be copied.
            console.print(f"  {one.command}", markup=False, highlight=False, soft_wrap=True)


def _print_whole(console: Console, text: str) -> None:
    """Print a text whose words are kept together on a terminal; a line with a word that is longer
    than the terminal is wide, a path or a command, is left as it is, so that it can be copied. So
    is all that is piped."""
    for line in text.split("\n"):
        longest = max((len(word) for word in line.split()), default=0)
        whole = not console.is_terminal or longest >= console.width
        console.print(line, markup=False, highlight=False, soft_wrap=whole)


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    if len(lines) <= _ERROR_LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:2], "  ...", *lines[-(_ERROR_LINES - 3) :]])


def cost_lines(outcome: Outcome) -> Iterator[str]:
    """What the whole has cost, of what, and how certain that is; nothing where nothing is rented.

    `~` marks an estimate, `>` a cost that lacks something without a price.
    """
    whole = outcome.bill
    begun = [one for one in outcome.steps if one.ending is not Ending.not_started]
    if whole is None and begun and outcome.ending is not Ending.planned:
        yield f"cost not known: nothing is told of {', '.join(one.step for one in begun)}"
    if whole is None or not (whole.lines or whole.unpriced):
        return
    shown = {one.value.replace("_", " and "): part_of(whole, one) for one in Part}
    parts = ", ".join(f"{name} {amount}" for name, amount in shown.items() if amount is not None)
    yield f"cost {money_of(whole)}{': ' if parts else ''}{parts}"
    expected = [one.estimated_usd for one in begun]
    known = [one for one in expected if one is not None]
    if known and len(known) == len(expected):
        yield f"  {money(sum(known))} was estimated for these steps before"
    if outcome.shared is not None:
        yield f"  {money_of(outcome.shared)} of it for what the steps shared, besides them"
    if whole.wasted_usd:
        yield f"  {wasted_of(whole)} of it wasted: on attempts that made nothing"
    for clause in whole.unpriced:
        yield f"  without a price: {clause}"
    for clause in whole.assumed:
        yield f"  assumed: {clause}"


def _cost(steps: Iterable[StepOutcome]) -> str:
    bills = [one.bill for one in steps]
    known = [one for one in bills if one is not None]
    whole = together(known)
    if None not in bills:
        return money_of(whole)
    usd = whole.known_usd
    return f"> {marked(usd, estimated=whole.estimated)}" if usd else "-"


def _shared(steps: Sequence[StepOutcome]) -> str:
    """The folder that all partitions of a step have in common."""
    outputs = [one.output for one in steps if one.output]
    if len(outputs) <= 1:
        return "".join(outputs)
    parts = [one.split("/") for one in outputs]
    common = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return "/".join(common)
