"""Before a run or a sweep, everything is checked; after a sweep, its rows are compared.

These are Hydra callbacks. Hydra turns an exception of a callback into a warning and goes on, so a
check that finds something leaves the process instead.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ascii_hydra.config.compose import composed, conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.config.settle import settle

ROWS_FILE = "rows.json"


class Check(Callback):
    """Composes and settles a run, or every row of a sweep, before anything is started."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a run that is not valid, before its folder is made."""
        try:
            _search_path_exists(config)
            settings = settle(config, list(config.hydra.overrides.task))
        except USER_ERRORS as fault:
            sys.exit(explained(fault, conf_folder()))
        for notice in settings.notices:
            print(f"Note: {notice}", file=sys.stderr)  # noqa: T201

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep of which any row is not valid, naming all such rows; else list its rows
        and keep the list, so that the comparison knows a row that never came to an end."""
        if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            return  # another sweeper decides its rows as it goes; each is checked when it comes
        try:
            _search_path_exists(config)
            rows = sweep_rows(config)
        except USER_ERRORS as fault:
            sys.exit(explained(fault, conf_folder()))
        refused = []
        for number, overrides in enumerate(rows):
            try:
                settle(composed(overrides, with_hydra=False), overrides)
            except USER_ERRORS as fault:
                refused.append(f"#{number} {' '.join(overrides)}\n{_indented(fault)}")
        if refused:
            count = f"{len(refused)} of {len(rows)} rows cannot run; nothing was started."
            sys.exit("\n".join([count, *refused]))
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ROWS_FILE).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        print(f"{len(rows)} rows:")  # noqa: T201
        for number, overrides in enumerate(rows):
            print(f"  #{number} {' '.join(overrides)}")  # noqa: T201


class Compare(Callback):
    """Writes and prints the comparison of a sweep's rows."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare what the rows wrote; it is read from their folders, because a launcher may
        have run them in other processes."""
        from ascii_hydra.report.comparison import compared

        folder = Path(config.hydra.sweep.dir)
        if not compared(folder, ROWS_FILE):
            from ascii_hydra import cli

            cli.fail()


def sweep_rows(config: DictConfig) -> list[list[str]]:
    """The overrides of every row of a sweep, as Hydra's BasicSweeper multiplies them out."""
    params = config.hydra.sweeper.params or {}
    words = [f"{key}={value}" for key, value in params.items()]
    words += list(config.hydra.overrides.task)
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
    choices: list[list[str]] = []
    for one in parsed:
        if one.is_sweep_override():
            key = one.get_key_element()
            choices.append([f"{key}={value}" for value in one.sweep_string_iterator()])
        else:
            choices.append([str(one.input_line)])
    return [list(row) for row in itertools.product(*choices)]


def _indented(fault: BaseException) -> str:
    return "\n".join(f"    {line}" for line in explained(fault, conf_folder()).splitlines())


def _search_path_exists(config: DictConfig) -> None:
    """Hydra only warns of a folder that is not there, and goes on without what was meant."""
    from ascii_hydra.config.problems import ConfigError, Problem

    entries: Sequence[str] = config.hydra.get("searchpath") or []
    folders = [Path(one.removeprefix("file://")) for one in entries if one.startswith("file://")]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise ConfigError([Problem("hydra.searchpath", f"there is no folder {missing[0]}.")])
