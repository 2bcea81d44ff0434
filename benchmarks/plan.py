"""Planning with money, against composing the same configurations; and the whole command."""

from __future__ import annotations

import statistics
import sys
import time
from itertools import product
from pathlib import Path

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.costs.ledger import Sample, record, samples
from ascii_hydra.engines.estimate import plan_estimates
from ascii_hydra.report.plan_json import plan_json
from benchmarks.pairs import duration, paired

TARGET = 0.25
"""Of the time that composing and settling take."""
LONGEST_S = 2.0
"""The whole command, Python's start and Databricks' SDK included."""
_HISTORY = 2000


def measured(folder: Path, rounds: int) -> None:
    """Print the ratio, at most TARGET is wanted, and the durations, at most LONGEST_S."""
    rows = [
        [
            f"engine={engine}",
            f"cluster={size}",
            f"cluster.spot_share={spot}",
            *more,
            "mode=full",
            "action=plan",
        ]
        for engine, size, spot, more in product(
            ("emr", "databricks"),
            ("small", "medium", "large"),
            (0, 0.25, 0.5, 0.75),
            (
                [],
                ["launch.reuse_cluster=run"],
                ["cluster.max_workers=20"],
                ["prices.tier=enterprise"],
            ),
        )
    ]
    _remember(folder)

    settled = [settle(composed(one), one) for one in rows]

    def composing() -> float:
        begun = time.perf_counter()
        for one in rows:
            settle(composed(one), one)
        return time.perf_counter() - begun

    def planning() -> float:
        begun = time.perf_counter()
        history = samples(folder)
        for settings in settled:
            plan_json(settings, plan_estimates(settings, history))
        return time.perf_counter() - begun

    name = f"plans of {len(rows)} rows, {_HISTORY} runs in their history / composing the rows"
    ratio = paired(name, planning, composing, rounds)
    print(f"  wanted: at most {TARGET}: {'kept' if ratio <= TARGET else 'NOT kept'}")
    for engine in ("pyspark", "emr", "databricks"):
        mode = "small_dev_sample_local" if engine == "pyspark" else "full"
        words = [sys.executable, "-m", "ascii_hydra", "action=plan", f"engine={engine}"]
        each = [
            duration([*words, f"mode={mode}"], folder, {"DAGSTER_HOME": str(folder)})
            for _ in range(rounds + 1)
        ]
        longest = statistics.median(each[1:])
        kept = "kept" if longest <= LONGEST_S else "NOT kept"
        print(f"action=plan engine={engine}: {longest:.2f} s")
        print(f"  wanted: at most {LONGEST_S} s: {kept}", flush=True)


def _remember(folder: Path) -> None:
    """A history of a year or so."""
    for number in range(_HISTORY):
        record(
            folder,
            Sample(
                at=f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}+00:00",
                endpoint="cloud",
                pipeline="two_steps",
                step=f"step_{number % 2 + 1}",
                partition=None,
                mode="full",
                engine=("emr", "databricks")[number // 2 % 2],
                cluster="medium",
                vcpus=32.0,
                startup_s=240.0,
                run_s=600.0 + number % 60,
                usd=1.0,
                estimated_usd=1.0,
                run_id="r",
            ),
        )
