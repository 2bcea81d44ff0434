"""Composing and showing the configuration, against a bare hello-world Hydra app."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.pairs import duration, paired

TARGET = 1.5
_HELLO = """\
import hydra


@hydra.main(version_base="1.3", config_path=None)
def hello(config):
    print("hello")


hello()
"""


def measured(folder: Path, rounds: int) -> None:
    """Print the ratio; at most TARGET is wanted."""
    script = folder / "hello.py"
    script.write_text(_HELLO, encoding="utf-8")

    def ours() -> float:
        return duration([sys.executable, "-m", "ascii_hydra", "--cfg", "job"], folder, {})

    def hello() -> float:
        return duration([sys.executable, str(script), "--cfg", "job"], folder, {})

    # Short, so that more rounds cost little and steady the median.
    ratio = paired("--cfg job / a hello-world Hydra app's", ours, hello, 3 * rounds)
    print(f"  wanted: at most {TARGET}: {'kept' if ratio <= TARGET else 'NOT kept'}")
