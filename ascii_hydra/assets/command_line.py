"""Overrides of the command line that the launchpad does not allow by itself.

A run of the command line can be executed again from the UI, and then has the same overrides, such
as `mode.bucket=mine`. They are the word of somebody who can run programs as this user, unlike what
comes over HTTP. So each is kept in DAGSTER_HOME, in a file that only this user can read and write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.checks import looks_secret
from ascii_hydra.dagster_home import first_alone, known_home

_FILE = "command_line_overrides.jsonl"


def record_overrides(home: Path, overrides: Sequence[str]) -> None:
    """Keep overrides that were given on the command line, but those that look like secrets.

    Args:
        home: DAGSTER_HOME.
        overrides: as they were typed.
    """
    with first_alone(home):
        known = _read(home)
        fresh = [o for o in dict.fromkeys(overrides) if o not in known and not _is_secret(o)]
        if not fresh:
            return
        file = os.open(home / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(file, "a", encoding="utf-8") as lines:
            if not _ends_with_line(home / _FILE):
                lines.write("\n")
            lines.writelines(f"{json.dumps(one)}\n" for one in fresh)


def recorded_overrides() -> frozenset[str]:
    """The overrides that were given on the command line; none without a DAGSTER_HOME."""
    home = known_home()
    return frozenset() if home is None else _read(home)


def _read(home: Path) -> frozenset[str]:
    path = home / _FILE
    if not path.is_file():
        return frozenset()
    return frozenset(_overrides(path.read_text(encoding="utf-8", errors="replace").splitlines()))


def _overrides(lines: Sequence[str]) -> Iterator[str]:
    """What lines that can be read allow: a process may have died while it wrote one, or the disk
    may have been full."""
    for line in lines:
        try:
            override = json.loads(line)
        except ValueError:
            continue
        if isinstance(override, str):
            yield override


def _ends_with_line(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


def _is_secret(override: str) -> bool:
    # A value with braces may have keys of its own, or name a variable.
    return looks_secret(override if "{" in override else override_key(override))
