"""Two ways to do the same, measured in turns, so that a busy machine is busy for both."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def paired(name: str, ours: Callable[[], float], other: Callable[[], float], rounds: int) -> float:
    """Measure both in turns, print the medians, and return the median of ours / other.

    Args:
        name: what is compared.
        ours, other: each does its work once and returns how long it took, in seconds.
        rounds: how many pairs; one more goes before them, unmeasured, so that caches are warm.
    """
    ours()
    other()
    pairs = [(ours(), other()) for _ in range(rounds)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(one) for one in zip(*pairs, strict=True))
    spread = ", ".join(f"{one / two:.2f}" for one, two in pairs)
    print(f"{name}: {mine:.2f} s / {theirs:.2f} s = {ratio:.2f}  (each pair: {spread})", flush=True)
    return ratio


def duration(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> float:
    """How long a command takes, in seconds. Raises CalledProcessError if it fails."""
    begun = time.perf_counter()
    subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - begun
