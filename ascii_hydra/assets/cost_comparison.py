# No postponed annotations here: Dagster reads those of an asset's function.
"""The asset `cost_comparison` of a pipeline: what its assets have cost and how long they took, by
engine and cluster, out of Dagster's own history."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.schema import PipelineConfig
from ascii_hydra.costs.bill import Bill, together
from ascii_hydra.costs.frontier import MARGIN, UNKNOWN, Band, Point, Standing, standings
from ascii_hydra.engines.costing import BILL_KEY
from ascii_hydra.engines.wording import money_of
from ascii_hydra.report.chart import Dot, png
from ascii_hydra.report.comparison_table import standing_text
from ascii_hydra.report.plan_costs import duration_text
from ascii_hydra.step.choices import Engine

NAME = "cost_comparison"
# Of a step, and how many are asked for at once.
_NEWEST, _PAGE = 5_000, 500
_NOTES = (
    (
        "front: no other beats it in cost or time without losing in the other; per hour: what each"
        " hour saved costs against the next cheaper one. `~` marks an estimate."
    ),
    (
        f"not told apart: costs or durations differ by less than {2 * MARGIN:.0%}".replace(
            "%", " %"
        )
        + ", which is nothing between single runs; or they were rehearsed: there, every size and"
        " engine executes on this machine, which shows that the steps run and what a bill is made"
        " of, not which one is faster or cheaper."
    ),
    (
        "Each figure is of the newest materialisation of a step and partition, its failed attempts"
        f" in the same run among them; of each step, the newest {_NEWEST:,} are looked at. What ran"
        " on this machine has no price and is not compared."
    ),
    (
        "What a cluster or pool that steps share costs besides them (`launch.reuse_cluster=run`) is"
        " no asset's and not in it: the comparison of a sweep has it."
    ),
)


@dataclass(frozen=True, order=True)
class Combination:
    """Where the assets of a pipeline were made, and of how much data.

    Attributes:
        endpoint: whose cloud: what a rehearsal costs is compared with rehearsals alone.
        mode: how much data: what is made of other data is other work.
        engine, cluster: where.
    """

    endpoint: str
    mode: str
    engine: str
    cluster: str

    @property
    def work(self) -> str:
        """What can be compared with each other: `full`, or `full, rehearsed`."""
        rehearsed = self.endpoint == Endpoint.rehearsal.value
        return f"{self.mode}, rehearsed" if rehearsed else self.mode


Slot = tuple[str, str | None]
"""A step, and one of its partitions or None."""


@dataclass(frozen=True)
class Compared:
    """One combination with all that it has made.

    Attributes:
        combination: of what.
        made: what the newest materialisation of each step and partition cost.
        lacking: what others have made of the same work, and it has not.
        standing: among the complete ones of the same work; None if it cannot be compared.
    """

    combination: Combination
    made: Mapping[Slot, Bill]
    lacking: tuple[Slot, ...]
    standing: Standing | None = None

    @property
    def bill(self) -> Bill:
        """What all of it cost together."""
        return together(self.made.values())

    @property
    def duration_s(self) -> float:
        """Start-up and execution of everything and every attempt, one after another."""
        return sum(one.took_s for one in self.made.values())

    @property
    def point(self) -> Point | None:
        """Its cost and time, if it can be compared by them."""
        usd = self.bill.usd
        if self.lacking or usd is None or self.combination.engine == Engine.pyspark.value:
            return None
        if self.combination.endpoint == Endpoint.rehearsal.value:
            bands = UNKNOWN, UNKNOWN
        else:
            bands = Band.around(usd), Band.around(self.duration_s)
        return Point(usd, self.duration_s, self.bill.estimated, *bands)


def cost_comparison(pipeline: PipelineConfig) -> dg.AssetsDefinition | None:
    """The asset; None for a pipeline that has a step of this name.

    It is part of no job of the pipeline: it is made when it is asked for.
    """
    if NAME in pipeline.steps:
        return None
    keys = {name: dg.AssetKey([pipeline.name, name]) for name in pipeline.steps}

    @dg.asset(
        key=dg.AssetKey([pipeline.name, NAME]),
        group_name=pipeline.name,
        deps=[dg.AssetDep(key) for key in keys.values()],
        kinds={"report"},
        description=(
            "What the pipeline's assets have cost and how long they took, by engine and cluster:"
            " the newest materialisation of each step and partition."
        ),
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata=told(comparison(context.instance, keys)))

    return asset


def comparison(instance: dg.DagsterInstance, keys: Mapping[str, dg.AssetKey]) -> list[Compared]:
    """The combinations in the history of these assets, the cheapest of each work first; those that
    lack something last.

    Args:
        instance: whose history.
        keys: of the steps' assets, by the steps' names.
    """
    made: dict[Combination, dict[Slot, Bill]] = {}
    for step, key in keys.items():
        for combination, partition, one in _materialisations(instance, key):
            made.setdefault(combination, {}).setdefault((step, partition), one)
    found = []
    for combination, slots in made.items():
        # What any combination has made of the same work is what is compared; a step that none made
        # is lacking everywhere.
        every = {
            slot for other, own in made.items() if other.work == combination.work for slot in own
        }
        never = {(step, None) for step in keys if step not in {name for name, _ in every}}
        lacking = sorted((every | never) - slots.keys(), key=str)
        found.append(Compared(combination, slots, tuple(lacking)))
    return sorted(_standing(found), key=_order)


def told(compared: Sequence[Compared]) -> dict[str, dg.MetadataValue[Any]]:
    """The comparison as metadata: a table, a picture, and a number for each combination, which
    Dagster plots over time."""
    if not compared:
        text = "Nothing to compare yet: no materialisation of the pipeline's assets has a bill."
        return {"comparison": dg.MetadataValue.md(text)}
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "comparison": dg.MetadataValue.md(_table(compared))
    }
    for work in dict.fromkeys(one.combination.work for one in compared):
        dots = [dot for one in compared if one.combination.work == work for dot in _dots(one)]
        if dots:
            picture = base64.b64encode(png(dots, f"{work}: cost and time")).decode()
            metadata[f"chart {work}"] = dg.MetadataValue.md(
                f"![cost and time](data:image/png;base64,{picture})"
            )
    for one in compared:
        if not one.lacking:
            chosen = one.combination
            # With blanks, at which the UI's narrow column of keys can break a line.
            name = f"{chosen.engine} {chosen.cluster}, {chosen.work}"
            metadata[f"duration_s {name}"] = dg.MetadataValue.float(float(one.duration_s))
            if (usd := one.bill.usd) is not None:
                metadata[f"cost_usd {name}"] = dg.MetadataValue.float(float(usd))
    return metadata


def _materialisations(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> Iterator[tuple[Combination, str | None, Bill]]:
    """Those of an asset that have a bill, the newest first."""
    cursor, seen = None, 0
    while seen < _NEWEST:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        seen += len(page.records)
        for record in page.records:
            materialization = record.asset_materialization
            if materialization is None:
                continue
            values = {name: one.value for name, one in materialization.metadata.items()}
            bill = values.get(BILL_KEY)
            if not isinstance(bill, dict):
                continue
            combination = Combination(
                *(
                    str(values.get(f"ascii_hydra/{name}", "?"))
                    for name in ("endpoint", "mode", "engine", "cluster")
                )
            )
            yield combination, materialization.partition, Bill.from_json(bill)
        cursor = page.cursor
        if not page.has_more:
            return


def _standing(compared: Iterable[Compared]) -> Iterator[Compared]:
    works: dict[str, list[Compared]] = {}
    for one in compared:
        works.setdefault(one.combination.work, []).append(one)
    for alike in works.values():
        points = {one.combination: point for one in alike if (point := one.point) is not None}
        found = dict(zip(points, standings(list(points.values())), strict=True))
        for one in alike:
            yield Compared(one.combination, one.made, one.lacking, found.get(one.combination))


def _order(one: Compared) -> tuple[Any, ...]:
    usd = one.bill.usd
    return one.combination.work, one.standing is None, 0.0 if usd is None else usd, one.combination


def _table(compared: Sequence[Compared]) -> str:
    headings = ("work", "engine", "cluster", "cost", "duration", "start-up", "front", "steps")
    lines = [f"| {' | '.join(headings)} |", "| --- | --- | --- | ---: | ---: | ---: | --- | --- |"]
    lines += [f"| {' | '.join(_cells(one))} |" for one in compared]
    notes = list(_NOTES)
    dates = [one.bill.price_dates for one in compared]
    days = sorted(day for pair in dates if pair is not None for day in pair)
    if days:
        notes.append(f"Prices of {days[0]} to {days[-1]}.")
    return "\n".join([*lines, "", *(f"* {one}" for one in notes)])


def _cells(one: Compared) -> Iterator[str]:
    yield from (one.combination.work, one.combination.engine, one.combination.cluster)
    yield money_of(one.bill) if not one.lacking else f"incomplete: {money_of(one.bill)} so far"
    yield duration_text(one.duration_s)
    yield duration_text(sum(each.startup_s for each in one.made.values()))
    yield "not compared" if one.standing is None else standing_text(one.standing)
    if one.lacking:
        yield f"lacking {', '.join(_slot(slot) for slot in one.lacking)}"
    elif one.bill.unpriced:
        yield f"{len(one.made)}; no price for {'; '.join(one.bill.unpriced)}"
    else:
        yield str(len(one.made))


def _slot(slot: Slot) -> str:
    step, partition = slot
    return step if partition is None else f"{step} [{partition}]"


def _dots(one: Compared) -> Iterator[Dot]:
    if one.standing is not None and one.point is not None:
        yield Dot(
            label=f"{one.combination.engine} {one.combination.cluster}",
            short=f"{one.combination.engine[:1]} {one.combination.cluster}",
            engine=one.combination.engine,
            usd=one.point.usd,
            duration_s=one.point.duration_s,
            standing=one.standing,
            estimated=one.bill.estimated,
            bands=one.point.bands,
        )
