"""The whole command, with Hydra and Dagster, against its two scripts run bare by Python."""

from __future__ import annotations

import sys
from pathlib import Path

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.report.plan import planned_run
from benchmarks.pairs import duration, paired

TARGET = 0.4


def measured(folder: Path, rounds: int) -> None:
    """Print the ratio; at most TARGET is wanted."""
    overrides = [f"mode.output_root={folder}/data"]
    variables = {"DAGSTER_HOME": str(folder / "dagster_home")}
    settings = settle(composed(overrides), overrides)
    scripts = [
        [sys.executable, str(step.script), *planned_run(settings, step).arguments()]
        for step in settings.steps.values()
    ]

    def ours() -> float:
        return duration([sys.executable, "-m", "ascii_hydra", *overrides], folder, variables)

    def bare() -> float:
        return sum(duration(words, folder, {}) for words in scripts)

    ratio = paired("python -m ascii_hydra / its two scripts, bare", ours, bare, rounds)
    print(f"  wanted: at most {TARGET}: {'kept' if ratio <= TARGET else 'NOT kept'}")
