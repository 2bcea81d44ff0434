"""How long a step will take, from how long it took: told, measured, or scaled by a named law.

Nothing is made up: what nobody knows is None. A rehearsal tells nothing of a cloud and a sample of
the data nothing of the whole, so endpoints, modes and engines are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ascii_hydra.costs.estimate import Basis, Expected
from ascii_hydra.costs.ledger import Sample

# Of the runs of one size; older ones tell of older code and older data.
_NEWEST = 20


@dataclass(frozen=True)
class Wanted:
    """The run whose duration is asked for; see Sample for each. A partitioned step's is that of one
    partition, taken from any of its partitions."""

    endpoint: str
    pipeline: str
    step: str
    mode: str
    engine: str
    cluster: str
    vcpus: float
    photon: bool = False


@dataclass(frozen=True)
class Assumed:
    """A figure that is not measured.

    Attributes:
        seconds: the figure.
        source: where it is from, for people.
        fixed: it is known, so that no run needs to be asked.
    """

    seconds: float
    source: str
    fixed: bool = False


def expected(
    samples: Iterable[Sample], wanted: Wanted, startup: Assumed, told: Assumed | None = None
) -> Expected:
    """How long the run is expected to take.

    In this order: as it was told; the median of runs alike; scaled from runs on other sizes of the
    same engine; not known.

    Args:
        samples: of any steps.
        wanted: the run.
        startup: its start-up, where no run of the same engine tells.
        told: its execution, by somebody who knows.
    """
    known = sorted(samples, key=lambda one: one.at)
    start = _startup(known, wanted, startup)
    ours = [one for one in known if _same_work(one, wanted)]
    if told is not None:
        return _made(told.seconds, None, start, told.source, 0, Basis.told)
    alike = [one.run_s for one in ours if (one.cluster, one.vcpus) == _size(wanted)][-_NEWEST:]
    if alike:
        source = "its last run" if len(alike) == 1 else f"median of its last {len(alike)} runs"
        return _made(median(alike), _spread(alike), start, source, len(alike), Basis.runs)
    sized: dict[float, list[float]] = {}
    for one in ours:
        if one.vcpus > 0 and wanted.vcpus > 0:
            sized.setdefault(one.vcpus, []).append(one.run_s)
    sized = {vcpus: runs[-_NEWEST:] for vcpus, runs in sorted(sized.items())}
    if len(sized) > 1:
        return _fitted(sized, wanted.vcpus, start)
    for vcpus, runs in sized.items():
        return _scaled(vcpus, runs, wanted.vcpus, start)
    return _made(None, None, start, "no run of it is known", 0, None)


@dataclass(frozen=True)
class Amdahl:
    """Amdahl's law: `T = serial_s + parallel_s / vCPU`; neither is below 0, so that more vCPUs are
    never slower."""

    serial_s: float
    parallel_s: float

    @classmethod
    def fitted(cls, points: Sequence[tuple[float, float]]) -> Amdahl:
        """The least squares fit to points (vCPU, seconds) of two different numbers of vCPU or
        more."""
        inverse = [1 / vcpus for vcpus, _ in points]
        seconds = [one for _, one in points]
        x, y = fmean(inverse), fmean(seconds)
        across = math.fsum((a - x) * (b - y) for a, b in zip(inverse, seconds, strict=True))
        slope = across / math.fsum((a - x) ** 2 for a in inverse)
        if slope <= 0:  # no faster with more: as long on every size
            return cls(y, 0.0)
        if y - slope * x < 0:  # faster than ideal: ideal
            products = math.fsum(a * b for a, b in zip(inverse, seconds, strict=True))
            return cls(0.0, products / math.fsum(a * a for a in inverse))
        return cls(y - slope * x, slope)

    def seconds(self, vcpus: float) -> float:
        """The duration on so many vCPUs."""
        return self.serial_s + self.parallel_s / vcpus


def _same_work(one: Sample, wanted: Wanted) -> bool:
    return (one.endpoint, one.pipeline, one.step, one.mode, one.engine, one.photon) == (
        wanted.endpoint,
        wanted.pipeline,
        wanted.step,
        wanted.mode,
        wanted.engine,
        wanted.photon,
    )


def _size(wanted: Wanted) -> tuple[str, float]:
    return wanted.cluster, wanted.vcpus


def _startup(known: Sequence[Sample], wanted: Wanted, startup: Assumed) -> Assumed:
    if startup.fixed:
        return startup
    place = (wanted.endpoint, wanted.engine)
    seen = [
        one.startup_s for one in known if (one.endpoint, one.engine) == place and one.startup_s > 0
    ][-_NEWEST:]
    if not seen:
        return startup
    count = "the last run" if len(seen) == 1 else f"median of the last {len(seen)} runs"
    return Assumed(median(seen), f"{count} on {wanted.engine}")


def _fitted(sized: dict[float, list[float]], vcpus: float, start: Assumed) -> Expected:
    points = [(size, run_s) for size, runs in sized.items() for run_s in runs]
    law = Amdahl.fitted([(size, median(runs)) for size, runs in sized.items()])
    run_s = law.seconds(vcpus)
    # What every run would have taken on this size, by the same law.
    carried = [run_s * one / law.seconds(size) for size, one in points if law.seconds(size) > 0]
    low_s, high_s = min([run_s, *carried]), max([run_s, *carried])
    # A law through two points fits both, which says nothing of how good it is.
    spread = None if math.isclose(low_s, high_s, rel_tol=1e-9) else (low_s, high_s)
    sizes = ", ".join(f"{one:g}" for one in sized)
    source = f"Amdahl's law fitted to {len(points)} runs on {sizes} vCPU"
    return _made(run_s, spread, start, source, len(points), Basis.scaled)


def _scaled(size: float, runs: list[float], vcpus: float, start: Assumed) -> Expected:
    """From one size: between not scaling at all and scaling ideally; the middle of both, which is
    Amdahl's law with half of the time parallel."""
    if size == vcpus:
        source = f"{_runs(runs)} on as many vCPU"
        return _made(median(runs), _spread(runs), start, source, len(runs), Basis.runs)
    ideal = size / vcpus
    run_s = median(runs) * (1 + ideal) / 2
    spread = (min(runs) * min(1.0, ideal), max(runs) * max(1.0, ideal))
    source = f"{_runs(runs)} on {size:g} vCPU, if half of it scales (spread: none or all of it)"
    return _made(run_s, spread, start, source, len(runs), Basis.scaled)


def _runs(runs: Sequence[float]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _spread(runs: Sequence[float]) -> tuple[float, float] | None:
    return None if len(runs) == 1 else (min(runs), max(runs))


def _made(
    run_s: float | None,
    spread: tuple[float, float] | None,
    start: Assumed,
    source: str,
    samples: int,
    basis: Basis | None,
) -> Expected:
    low_s, high_s = spread or (None, None)
    return Expected(run_s, low_s, high_s, start.seconds, source, samples, start.source, basis)
