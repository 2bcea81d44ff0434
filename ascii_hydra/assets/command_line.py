"""Overrides of the command line that the launchpad does not allow by itself.

A run of the command line can be executed again from the UI, and then has the same overrides, such
as `mode.bucket=mine`. They are the word of somebody who can run programs as this user, unlike what
comes over HTTP. So each is kept in DAGSTER_HOME, in a file that only this user can read and write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ascii_hydra.dagster_home import first_alone, known_home

_FILE = "command_line_overrides.jsonl"


def record_overrides(home: Path, overrides: Sequence[str]) -> None:
    """Keep overrides that were given on the command line.

    Args:
        home: DAGSTER_HOME.
        overrides: as they were typed.
    """
    with first_alone(home):
        known = _read(home)
        fresh = [one for one in dict.fromkeys(overrides) if one not in known]
        if not fresh:
            return
        file = os.open(home / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(file, "a", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps(one)}\n" for one in fresh)


def recorded_overrides() -> frozenset[str]:
    """The overrides that were given on the command line; none without a DAGSTER_HOME."""
    home = known_home()
    return frozenset() if home is None else _read(home)


def _read(home: Path) -> frozenset[str]:
    path = home / _FILE
    if not path.is_file():
        return frozenset()
    return frozenset(json.loads(one) for one in path.read_text(encoding="utf-8").splitlines())
