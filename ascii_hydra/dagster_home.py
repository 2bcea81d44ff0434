"""The folder of Dagster's history, which the command line and the UI share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ascii_hydra.config.compose import project_folder
from ascii_hydra.config.problems import ConfigError, Problem

VARIABLE = "DAGSTER_HOME"
_INSTANCE_YAML = """\
# Made by ascii_hydra; yours to edit. https://docs.dagster.io/deployment/oss/dagster-yaml
telemetry:
  enabled: false
# No invitation to a newsletter on the first visit.
nux:
  enabled: false
# How many runs the UI starts at once; the others wait.
concurrency:
  runs:
    max_concurrent_runs: 1
"""


def dagster_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder, made with a dagster.yaml if it is new: DAGSTER_HOME, else `.dagster_home` in the
    project's folder.

    Raises:
        ConfigError: DAGSTER_HOME is no absolute path of a folder that can be written.
    """
    home = _named(environ)
    if not home.is_absolute():
        raise ConfigError(
            [Problem(f"{VARIABLE}={home}", "must be an absolute path; unset it for the default.")]
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with first_alone(home):
            if not (home / "dagster.yaml").exists():
                (home / "dagster.yaml").write_text(_INSTANCE_YAML, encoding="utf-8")
    except OSError as fault:
        raise ConfigError(
            [Problem(f"{VARIABLE}={home}", f"is no folder that can be written: {fault.strerror}.")]
        ) from None
    if not os.access(home, os.W_OK):
        raise ConfigError([Problem(f"{VARIABLE}={home}", "cannot be written: check its owner.")])
    return home


def known_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder if it is there; it is neither made nor checked."""
    home = _named(environ)
    return home if home.is_dir() else None


def _named(environ: Mapping[str, str]) -> Path:
    given = environ.get(VARIABLE)
    return Path(given) if given else project_folder() / ".dagster_home"


@contextmanager
def first_alone(home: Path) -> Iterator[None]:
    """Within it, no other process opens the history: two that make its tables break each other."""
    with (home / ".opening").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
