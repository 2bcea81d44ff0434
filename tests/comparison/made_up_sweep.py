"""A sweep's folder without its runs: outcomes with the figures that a test is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ascii_hydra.costs.bill import Bill, BillLine, Part
from ascii_hydra.costs.estimate import Basis
from ascii_hydra.outcome import Ending, Outcome, StepOutcome
from ascii_hydra.report.sweep_folder import written_rows

DAY = "2026-04-10"


def a_bill(
    usd: float, *, estimated: bool = False, wasted_usd: float = 0.0, unpriced: Sequence[str] = ()
) -> Bill:
    """A bill of which a tenth is start-up, with one instance-hour for every dollar."""
    kinds = (
        (Part.compute, 0.6, False),
        (Part.platform, 0.3, False),
        (Part.startup_idle, 0.1, False),
    )
    amounts = [(part, share * (usd - wasted_usd), wasted) for part, share, wasted in kinds]
    if wasted_usd:
        amounts.append((Part.compute, wasted_usd, True))
    lines = tuple(
        BillLine(
            part=part,
            what="2 x m5d.xlarge on demand (core)",
            quantity=amount,
            unit="instance-hours",
            usd_per_unit=1.0,
            price_source="a price list",
            price_date=DAY,
            estimated=estimated,
            wasted=wasted,
        )
        for part, amount, wasted in amounts
    )
    return Bill(lines if usd else (), tuple(unpriced), instance_hours=usd, run_s=360.0)


def an_outcome(
    usd: float | None = None,
    hours: float | None = None,
    *,
    engine: str = "emr",
    cluster: str = "small",
    ending: Ending = Ending.succeeded,
    bill: Bill | None = None,
    workers: tuple[float, float] | None = (8.0, 32.0),
    input_gb: float | None = None,
    error: str | None = None,
    **more: Any,
) -> Outcome:
    """A row with one step for each engine in `engine`, joined by `+`; the first has the bill. Plans
    are by earlier runs on the same size."""
    engines = engine.split("+")
    vcpus, memory_gib = workers or (None, None)
    whole = bill if bill is not None or usd is None else a_bill(usd)
    planned = ending is Ending.planned
    if planned and whole is not None and hours is not None:
        whole = replace(whole, run_s=hours * 3600)
    steps = tuple(
        StepOutcome(
            step=f"step_{number}",
            partition=None,
            engine=one,
            cluster=cluster,
            ending=ending,
            duration_s=None if hours is None else hours * 3600 / len(engines),
            bill=whole if number == 1 else Bill(),
            vcpus=vcpus,
            memory_gib=memory_gib,
            input_gb=input_gb,
            error=error if number == 1 else None,
            duration_basis=Basis.runs if planned else None,
            computing=f"{one}: {cluster}" if planned else None,
        )
        for number, one in enumerate(engines, start=1)
    )
    return Outcome(
        **{
            "ending": ending,
            "engine": engines[0],
            "mode": "full",
            "cluster": cluster,
            "pipeline": "two_steps",
            "digest": "0123456789ab",
            "steps": steps,
            "duration_s": None if hours is None else hours * 3600,
            **more,
        }
    )


def sweep_of(folder: Path, rows: Mapping[str, Outcome | None]) -> Path:
    """A sweep's folder; its rows by their overrides, None for one that never came to an end."""
    written_rows(folder, [overrides.split() for overrides in rows])
    for number, outcome in enumerate(rows.values()):
        if outcome is not None:
            own = folder / f"{number}-{outcome.engine}"
            own.mkdir()
            outcome.written(own)
    return folder


def compared_json(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "comparison.json").read_text())
    return found
