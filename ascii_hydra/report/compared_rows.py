"""The rows of a sweep as figures that can be compared, and what must be known to compare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ascii_hydra.config.arguments import override_key
from ascii_hydra.costs.bill import Bill, Part
from ascii_hydra.costs.estimate import Basis
from ascii_hydra.costs.frontier import Place, Point, Standing, compared_bands, standings
from ascii_hydra.engines.promise import TOLERANCE
from ascii_hydra.outcome import Ending, Outcome
from ascii_hydra.report.row_bands import duration_band, timings, usd_band
from ascii_hydra.report.sweep_folder import SweptRow
from ascii_hydra.step.choices import Engine

# Rows of other values of these do other work.
_OF_THE_WORK = frozenset({"pipeline.partitions", "pipeline.input"})
_NOT_ENDED = "it wrote no result.json that can be read: its process was killed"


@dataclass(frozen=True)
class ComparedRow:
    """One row of a comparison.

    Attributes:
        number: counted from 0.
        overrides: those of its overrides that not all rows have.
        work: rows of other work are not compared with it.
        outcome: how it ended.
        standing: how it compares with the others; None if it cannot be compared.
        alike: the numbers of the rows that it is not told apart from, if that is its place.
    """

    number: int
    overrides: tuple[str, ...]
    work: tuple[object, ...]
    outcome: Outcome
    standing: Standing | None = None
    alike: tuple[int, ...] = ()

    @property
    def engine(self) -> str:
        """Where it ran: `emr`, or `emr+databricks`."""
        engines = {one.engine for one in self.outcome.steps}
        return "+".join(one for one in Engine if one in engines) or self.outcome.engine

    @property
    def bill(self) -> Bill | None:
        """What is known of its cost."""
        return self.outcome.bill

    @property
    def is_local(self) -> bool:
        """A step ran on this machine, for which no rent is known."""
        return Engine.pyspark.value in self.engine.split("+")

    @property
    def is_estimate(self) -> bool:
        """Its cost is an estimate: it was only planned, or a price or a quantity is one."""
        whole = self.bill
        planned = self.outcome.ending is Ending.planned and not self._is_nothing
        return planned or (whole is not None and whole.estimated)

    @property
    def _is_nothing(self) -> bool:
        return self.outcome.cost_usd == 0

    @property
    def went_well(self) -> bool:
        """It succeeded, or was planned."""
        return self.outcome.ending in {Ending.succeeded, Ending.planned}

    @property
    def workers(self) -> tuple[float, float] | None:
        """vCPUs and GiB of all workers, if every step that was started has the same."""
        begun = [one for one in self.outcome.steps if one.ending is not Ending.not_started]
        found = {(one.vcpus, one.memory_gib) for one in begun}
        if len(found) != 1:
            return None
        vcpus, memory_gib = found.pop()
        return (vcpus, memory_gib) if vcpus and memory_gib else None

    @property
    def duration_s(self) -> float | None:
        """How long it took; None if that is not known.

        Of a rehearsal: start-up and execution of every attempt at its steps, as the cloud tells
        them. The launcher's own seconds pass as many times faster there as `rehearsal.speed` says,
        and would hide everything else.
        """
        steps = self.outcome.steps
        if not self.outcome.virtual or self.outcome.ending is Ending.planned:
            return self.outcome.duration_s
        each = [
            one.duration_s
            if one.bill is None or one.engine == Engine.pyspark.value
            else one.bill.took_s
            for one in steps
            if one.ending is not Ending.not_started
        ]
        return sum(one for one in each if one is not None) if each and None not in each else None

    @property
    def point(self) -> Point | None:
        """Its cost and time, if it can be compared by them."""
        usd, duration_s = self.outcome.cost_usd, self.duration_s
        if not self.went_well or self.is_local or usd is None or duration_s is None:
            return None
        return Point(
            usd,
            duration_s,
            self.is_estimate,
            usd_band(self.outcome, usd),
            duration_band(self.outcome, duration_s),
            timings(self.outcome),
        )

    @property
    def estimated_usd(self) -> float | None:
        """What it was expected to cost, of a row that has run."""
        return None if self.outcome.ending is Ending.planned else self.outcome.estimated_usd

    @property
    def estimate_error_pct(self) -> float | None:
        """How much the estimate was above what it cost, in percent of that."""
        usd = self.outcome.cost_usd
        if self.estimated_usd is None or not usd or self.outcome.ending is not Ending.succeeded:
            return None
        return 100.0 * (self.estimated_usd - usd) / usd

    @property
    def startup_idle_share(self) -> float | None:
        """The part of its cost that was spent before and after its steps executed; None if the
        whole is not known."""
        whole = self.bill
        return None if whole is None else _ratio(whole.of(Part.startup_idle), whole.usd)

    @property
    def input_gb(self) -> float | None:
        """What all steps read together, of 10^9 bytes; None unless every step says so."""
        each = [one.input_gb for one in self.outcome.steps]
        return None if None in each or not each else sum(one for one in each if one is not None)

    @property
    def usd_per_gb(self) -> float | None:
        """USD for each GB read."""
        return _ratio(self.outcome.cost_usd, self.input_gb)

    @property
    def usd_per_node_hour(self) -> float | None:
        """USD for each hour of an instance."""
        whole = self.bill
        return _ratio(self.outcome.cost_usd, None if whole is None else whole.instance_hours)

    @property
    def reason(self) -> str | None:
        """Why it did not go well, in one line."""
        errors = [step.error for step in self.outcome.steps if step.error]
        first = self.outcome.error or next(iter(errors), None)
        return first.strip().splitlines()[0] if first and first.strip() else None

    @property
    def place(self) -> str:
        """How it compares, in a word."""
        return (Place.alone if self.standing is None else self.standing.place).value

    @property
    def bases(self) -> tuple[Basis, ...]:
        """Of a plan, what the durations of its steps are made of."""
        every = (one.duration_basis for one in self.outcome.steps)
        return tuple(dict.fromkeys(one for one in every if one is not None))

    def as_data(self) -> dict[str, Any]:
        """Every figure, in plain types, for CSV and JSON."""
        one, whole = self.outcome, self.bill or Bill()
        # Of a bill that lacks something nobody knows how much of which part that is.
        whole_known = self.bill is not None and whole.usd is not None
        workers = self.workers or (None, None)
        dates = whole.price_dates or (None, None)
        usd, time = (None, None) if (point := self.point) is None else point.bands
        return {
            "row": self.number,
            "overrides": " ".join(self.overrides),
            "engine": self.engine,
            "mode": one.mode,
            "cluster": one.cluster,
            "pipeline": one.pipeline,
            "digest": one.digest,
            "workers_vcpus": workers[0],
            "workers_memory_gib": workers[1],
            "keeps_promise": one.keeps_promise,
            "ending": one.ending.value,
            "resumed_from": one.resumed_from,
            "virtual": one.virtual,
            "duration_s": self.duration_s,
            "low_duration_s": None if time is None or not time.is_known else time.low,
            "high_duration_s": None if time is None or not time.is_known else time.high,
            "duration_basis": "; ".join(self.bases),
            "elapsed_s": one.duration_s,
            "cost_usd": one.cost_usd,
            "low_usd": None if usd is None or not usd.is_known else usd.low,
            "high_usd": None if usd is None or not usd.is_known else usd.high,
            "cost_is_estimate": self.is_estimate,
            "known_usd": None if self.bill is None else whole.known_usd,
            "unpriced": "; ".join(whole.unpriced),
            **{f"{part.value}_usd": whole.of(part) if whole_known else None for part in Part},
            "wasted_usd": whole.wasted_usd if whole_known else None,
            "estimated_usd": self.estimated_usd,
            "estimate_error_pct": self.estimate_error_pct,
            "startup_idle_share": self.startup_idle_share,
            "input_gb": self.input_gb,
            "usd_per_gb": self.usd_per_gb,
            "instance_hours": whole.instance_hours if whole_known else None,
            "usd_per_node_hour": self.usd_per_node_hour,
            "dbu": whole.dbu if whole_known else None,
            "oldest_price": dates[0],
            "newest_price": dates[1],
            "standing": self.place,
            "not_told_apart_from": list(self.alike),
            "usd_per_hour_saved": self.standing and self.standing.usd_per_hour_saved,
            "error": self.reason,
            "left": "; ".join(left.sentence for left in one.left),
        }


def compared_rows(swept: Sequence[SweptRow]) -> list[ComparedRow]:
    """The rows of a sweep, each with its standing among those that do the same work."""
    common = set.intersection(*(set(one.overrides) for one in swept)) if len(swept) > 1 else set()
    rows = [_row(one, common) for one in swept]
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(rows):
        if one.point is not None:
            groups.setdefault(one.work, []).append(index)
    for indices in groups.values():
        points = [point for index in indices if (point := rows[index].point) is not None]
        for index, standing in zip(indices, standings(points), strict=True):
            alike = tuple(rows[indices[other]].number for other in standing.alike)
            rows[index] = replace(rows[index], standing=standing, alike=alike)
    return rows


def _row(swept: SweptRow, common: set[str]) -> ComparedRow:
    outcome = swept.outcome or _never_ended(swept.overrides)
    chosen = tuple(one for one in swept.overrides if override_key(one) in _OF_THE_WORK)
    return ComparedRow(
        number=swept.number,
        overrides=tuple(one for one in swept.overrides if one not in common),
        work=(outcome.pipeline, outcome.mode, outcome.virtual, chosen),
        outcome=outcome,
    )


def _never_ended(overrides: Iterable[str]) -> Outcome:
    chosen = {override_key(one): one.partition("=")[2] for one in overrides}
    engine, mode, cluster, pipeline = (
        chosen.get(key, "") for key in ("engine", "mode", "cluster", "pipeline")
    )
    return Outcome(Ending.not_started, engine, mode, cluster, pipeline, "", error=_NOT_ENDED)


def notes(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """What a reader must know to compare these rows: sentences."""
    yield from _unequal(rows)
    yield from _scaled(rows)
    local = [one for one in rows if one.is_local and one.went_well]
    if local:
        yield (
            f"not compared: {_named(local)} on this machine, whose sizes promise nothing of a"
            " cluster's, and whose time has no price."
        )
    works: dict[tuple[object, ...], list[ComparedRow]] = {}
    for one in rows:
        if one.standing is not None:
            works.setdefault(one.work, []).append(one)
    if len(works) > 1:
        groups = "; ".join(_named(group) for group in works.values())
        yield (
            "not compared with each other, because their work or their clock differs (pipeline,"
            f" mode, partitions, input, rehearsal): {groups}."
        )
    if any(one.outcome.virtual for one in rows):
        yield (
            "virtual: durations are start-up and execution of the steps in a rehearsed cloud's"
            " time, and costs are what a cloud would charge for it. Nobody was charged."
        )
    if any(one.is_estimate for one in rows):
        yield (
            "~ marks an estimate: of a row that was only planned, or by a price or a quantity that"
            " is one."
        )
    dates = [one.bill.price_dates for one in rows if one.bill is not None]
    told = sorted(day for pair in dates if pair is not None for day in pair)
    if told:
        between = told[0] if told[0] == told[-1] else f"{told[0]} to {told[-1]}"
        yield f"prices: of {between}; each amount's source is in comparison.html."


def lacking(rows: Iterable[ComparedRow]) -> Mapping[int, str]:
    """What the cost of a row lacks, by its number: what has no price, or is not known."""
    return {
        one.number: "; ".join(one.bill.unpriced)
        for one in rows
        if one.bill is not None and one.bill.unpriced
    }


def _unequal(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """Clusters of one size that are no equals."""
    sizes: dict[str, list[tuple[tuple[float, float], list[str]]]] = {}
    for row in rows:
        for step in row.outcome.steps:
            if step.ending is Ending.not_started or step.engine == Engine.pyspark.value:
                continue
            if not step.vcpus or not step.memory_gib:
                continue
            workers, kinds = (step.vcpus, step.memory_gib), sizes.setdefault(step.cluster, [])
            like = next((names for known, names in kinds if _alike(known, workers)), None)
            if like is None:
                kinds.append((workers, like := []))
            if (name := f"#{row.number} {step.engine}") not in like:
                like.append(name)
    for size, kinds in sizes.items():
        if len(kinds) > 1:
            each = "; ".join(
                f"{vcpus:g} vCPU and {memory_gib:g} GiB ({', '.join(members)})"
                for (vcpus, memory_gib), members in kinds
            )
            yield f"not equal: the workers of cluster={size} have {each}."
    broken = [one for one in rows if not one.outcome.keeps_promise and not one.is_local]
    if broken:
        yield (
            f"not equal: {_named(broken)} do not keep the promise of their size"
            " (cluster.keeps_promise=false, or what is asked for is less)."
        )


_TOLD = (
    "the same minutes are told of them (expected_minutes), which says nothing of which size or"
    " engine is faster. To rank them, run the steps once on each, and tell no minutes."
)
_REHEARSED = (
    "in a rehearsal every size and engine executes on this machine. It shows that the steps run"
    " there and what a bill is made of, not which one is faster or cheaper."
)
_NO_SPREAD = "a duration is carried over from other sizes by a law of which no spread is known."
_OVERLAP = "their bands of cost or of time overlap, so that either may be the better one."


def not_told_apart(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """Why rows are not told apart from each other: sentences."""
    numbered = {one.number: one for one in rows}
    causes: dict[str, dict[int, set[int]]] = {}
    for one in rows:
        for number in one.alike:
            pairs = causes.setdefault(_cause(one, numbered[number]), {})
            pairs.setdefault(one.number, set()).add(number)
    for cause, pairs in causes.items():
        groups = [_named(numbered[number] for number in group) for group in _connected(pairs)]
        yield f"not told apart: {'; '.join(groups)}: {cause}"


def _connected(pairs: Mapping[int, set[int]]) -> list[list[int]]:
    """Numbers in groups of which each is paired with another."""
    groups: list[list[int]] = []
    left = set(pairs)
    for number in sorted(pairs):
        group, new = set(), {number} & left
        while new:
            group |= new
            new = {other for one in new for other in pairs[one]} - group
        left -= group
        if group:
            groups.append(sorted(group))
    return groups


def _cause(one: ComparedRow, other: ComparedRow) -> str:
    assert one.point is not None
    assert other.point is not None
    if one.outcome.virtual:
        return _REHEARSED
    if compared_bands(one.point, other.point) is None:
        return _TOLD
    both = (*one.point.bands, *other.point.bands)
    return _OVERLAP if all(band.is_known for band in both) else _NO_SPREAD


def _scaled(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """Which durations are carried over from other sizes, and how."""
    how: dict[str, dict[str, dict[int, ComparedRow]]] = {}
    for one in rows:
        for step in one.outcome.steps:
            if step.duration_basis is Basis.scaled:
                steps = how.setdefault(step.duration_source or "", {})
                steps.setdefault(step.step, {})[one.number] = one
    for source, steps in how.items():
        group = {number: one for each in steps.values() for number, one in each.items()}
        yield f"duration of {', '.join(steps)} in {_named(group.values())}: from {source}."


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) <= TOLERANCE * max(a, b) for a, b in zip(one, other, strict=True))


def _named(rows: Iterable[ComparedRow]) -> str:
    return ", ".join(f"#{one.number} {one.engine}" for one in rows)


def _ratio(usd: float | None, by: float | None) -> float | None:
    return None if usd is None or not by else usd / by
