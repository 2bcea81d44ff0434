"""The ledger: how long every step took that made its asset, and what it cost.

The same figures are on the assets in Dagster's history. A plan reads them here, because reading
them there means importing Dagster, which takes longer than the whole plan may.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

FILE = "ascii_hydra_ledger.jsonl"


@dataclass(frozen=True)
class Sample:
    """One run of a step that made its asset.

    Attributes:
        at: when it ended: ISO 8601, UTC.
        endpoint, pipeline, step, mode, engine, cluster: what was chosen.
        partition: the partition's key, or None.
        vcpus: of all executors; 0 if not known.
        startup_s: from the submission to the step's first moment; 0 if no instance was started for
            the step, or those of a pool were used.
        run_s: its execution.
        usd: what it cost; None if that is not known.
        estimated_usd: what it was expected to cost; None if that was not known.
        run_id: Dagster's run.
        photon: Databricks' Photon executed it.
    """

    at: str
    endpoint: str
    pipeline: str
    step: str
    partition: str | None
    mode: str
    engine: str
    cluster: str
    vcpus: float
    startup_s: float
    run_s: float
    usd: float | None
    estimated_usd: float | None
    run_id: str
    photon: bool = False


def record(home: Path, sample: Sample) -> None:
    """Append a sample to the ledger of a DAGSTER_HOME.

    It is one write at the end of the file, so that lines of several processes do not mix. Raises
    OSError if the file cannot be written.
    """
    line = json.dumps(asdict(sample), ensure_ascii=False) + "\n"
    handle = os.open(home / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        # A process may have been killed in the middle of a line.
        whole = size == 0 or os.pread(handle, 1, size - 1) == b"\n"
        os.write(handle, (line if whole else f"\n{line}").encode())
    finally:
        os.close(handle)


@cache
def _noted(line: str) -> None:
    """Say something to people, once; it may be found at every step of every row."""
    print(f"Note: {line}", file=sys.stderr)  # noqa: T201


def samples(home: Path | None, say: Callable[[str], None] = _noted) -> list[Sample]:
    """Every sample of the ledger of a DAGSTER_HOME, the oldest first; none without a ledger.

    Args:
        home: the folder; None for no history.
        say: is told of lines that cannot be read, which are skipped; a note on stderr by default.
    """
    path = None if home is None else home / FILE
    if path is None or not path.is_file():
        return []
    found: list[Sample] = []
    broken: list[int] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as fault:
        say(f"{path} cannot be read ({fault.strerror}): durations of earlier runs are not known.")
        return []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(_sample(json.loads(line)))
        except (ValueError, TypeError):
            broken.append(number)
    if broken:
        which = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")  # noqa: PLR2004
        say(f"{path}: {len(broken)} of {len(lines)} lines cannot be read and are skipped: {which}.")
    return found


# Every field that is a number, and whether it may be missing.
_NUMBERS = {"vcpus": False, "startup_s": False, "run_s": False, "usd": True, "estimated_usd": True}
_TEXTS = ("at", "endpoint", "pipeline", "step", "mode", "engine", "cluster")
_KNOWN = frozenset(one.name for one in fields(Sample))


def _sample(data: object) -> Sample:
    """Raises ValueError or TypeError for what is no sample; fields that a later version may have
    are passed over."""
    if not isinstance(data, dict):
        raise TypeError(data)
    for name, optional in _NUMBERS.items():
        value = data.get(name)
        if value is None and optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(name)
        if not 0 <= value < math.inf:
            raise ValueError(name)
    if not all(isinstance(data.get(name), str) for name in _TEXTS):
        raise TypeError(data)
    return Sample(**{key: value for key, value in data.items() if key in _KNOWN})
