"""Before a run or a sweep, everything is checked.

This is a Hydra callback. Hydra turns an exception of a callback into a warning and goes on, so a
check that finds something leaves the process instead. (For the same reason, and because Hydra 1.3
does not call it after a failure, the comparison of a sweep's rows is no callback: see cli.py.)
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ascii_hydra.config.arguments import override_key
from ascii_hydra.config.choices import Action
from ascii_hydra.config.compose import composed, conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.config.partitions import dimension_values
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.dagster_home import dagster_home
from ascii_hydra.engines.budget_before import (
    run_over_budget,
    sweep_over_budget,
    unchecked,
)
from ascii_hydra.engines.estimate import plan_estimates
from ascii_hydra.engines.request import request_notices, request_problems
from ascii_hydra.report.sweep_folder import ROWS_FILE, earlier_rows, taken_over, written_rows

# The folder of the sweep that this process conducts, once it has passed the check.
folder: Path | None = None


class Check(Callback):
    """Composes and settles a run, or every row of a sweep, before anything is started."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a run that is not valid, before its folder is made."""
        try:
            _search_path_exists(config)
            settings, notices = _checked(config, list(config.hydra.overrides.task))
            _is_no_sweep(settings)
            notices += _within_budget(settings)
        except USER_ERRORS as fault:
            sys.exit(explained(fault, conf_folder()))
        for notice in notices:
            print(f"Note: {notice}", file=sys.stderr)  # noqa: T201

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep of which any row is not valid, naming all such rows; else list its rows
        and keep the list, so that the comparison knows a row that never came to an end."""
        global folder  # noqa: PLW0603 - Hydra makes the callback and keeps it to itself
        if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            folder = Path(config.hydra.sweep.dir)
            return  # another sweeper decides its rows as it goes; each is checked when it comes
        try:
            _search_path_exists(config)
            rows = sweep_rows(config)
            _is_fresh(Path(config.hydra.sweep.dir))
        except USER_ERRORS as fault:
            sys.exit(explained(fault, conf_folder()))
        refused = []
        notices: set[str] = set()
        settled: dict[str, Settings] = {}
        for number, overrides in enumerate(rows):
            name = f"#{number} {' '.join(overrides)}"
            try:
                settled[name], told = _checked(composed(overrides), overrides)
                notices.update(told)
            except USER_ERRORS as fault:
                refused.append(f"{name}\n{_indented(fault)}")
        if refused:
            count = f"{len(refused)} of {len(rows)} rows cannot run; nothing was started."
            sys.exit("\n".join([count, *refused]))
        try:
            notices.update(_all_within_budget(settled))
        except USER_ERRORS as fault:
            sys.exit(explained(fault, conf_folder()))
        for notice in sorted(notices):
            print(f"Note: {notice}", file=sys.stderr)  # noqa: T201
        folder = Path(config.hydra.sweep.dir)
        written_rows(folder, rows)
        print(f"{len(rows)} rows:")  # noqa: T201
        for number, overrides in enumerate(rows):
            print(f"  #{number} {' '.join(overrides)}")  # noqa: T201


def sweep_rows(config: DictConfig) -> list[list[str]]:
    """The overrides of every row of a sweep, as Hydra's BasicSweeper multiplies them out."""
    params = config.hydra.sweeper.params or {}
    typed = list(config.hydra.overrides.task)
    both = [key for key in params if any(override_key(one) == key for one in typed)]
    if both:
        raise ConfigError(
            [
                Problem(
                    f"{key}={params[key]}", "is what the experiment sweeps over: do not set it."
                )
                for key in both
            ]
        )
    words = [*(f"{key}={value}" for key, value in params.items()), *typed]
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


def _checked(config: DictConfig, overrides: list[str]) -> tuple[Settings, list[str]]:
    """What a valid row is settled to, and its notices, as far as that can be known before anything
    is imported.

    Raises ConfigError for one that is not.
    """
    settings = settle(config, overrides)
    if problems := list(request_problems(settings)):
        raise ConfigError(problems)
    if settings.config.action is Action.run:
        dagster_home()
    if "://" not in settings.config.pipeline.input:  # a plan reads nothing of a cloud
        dimension_values(settings.config.pipeline)
    return settings, [*settings.notices, *request_notices(settings)]


def _is_no_sweep(settings: Settings) -> None:
    resume = settings.config.launch.resume
    if resume is not None:
        raise ConfigError(
            [
                Problem(
                    f"launch.resume={resume}",
                    "is for a sweep, whose rows it takes over; a single run has none. Add -m, or"
                    " leave it out.",
                )
            ]
        )


def _within_budget(settings: Settings) -> list[str]:
    """Notices about the budget of a single run.

    Raises ConfigError for a run that is expected to cost more.
    """
    limit = settings.config.launch.budget_usd
    if limit is None or settings.config.action is Action.refresh_prices:
        return []
    planned = plan_estimates(settings)
    over = run_over_budget(limit, planned)
    if over is None:
        notice = unchecked(limit, [planned])
        return [] if notice is None else [notice]
    if settings.config.action is Action.plan:
        return [f"{over} It would not be begun."]
    raise ConfigError([over])


def _all_within_budget(rows: Mapping[str, Settings]) -> list[str]:
    """Notices about the budget of a sweep, by its rows' names; what an earlier sweep has done
    already costs nothing.

    Raises ConfigError for rows that are expected to cost more together, and for a sweep to resume
    that is none.
    """
    resumes = {one.config.launch.resume for one in rows.values()}
    earlier = {resume: earlier_rows(resume) for resume in resumes if resume is not None}
    limits = [one.config.launch.budget_usd for one in rows.values()]
    limit = min((one for one in limits if one is not None), default=None)
    if limit is None:
        return []
    expected = {
        name: plan_estimates(one)
        for name, one in rows.items()
        if taken_over(earlier.get(one.config.launch.resume or "", ()), one) is None
        and one.config.action is not Action.refresh_prices
    }
    over = sweep_over_budget(limit, expected)
    if over is None:
        notice = unchecked(limit, list(expected.values()))
        return [] if notice is None else [notice]
    if all(one.config.action is Action.plan for one in rows.values()):
        return [f"{over}\nIt would not be begun."]
    raise ConfigError([over])


def _is_fresh(sweep: Path) -> None:
    if (sweep / ROWS_FILE).exists():
        raise ConfigError(
            [Problem(f"hydra.sweep.dir={sweep}", "holds another sweep; choose a new folder.")]
        )


def _indented(fault: BaseException) -> str:
    return "\n".join(f"    {line}" for line in explained(fault, conf_folder()).splitlines())


def _search_path_exists(config: DictConfig) -> None:
    """Hydra only warns of a folder that is not there, and goes on without what was meant."""
    entries: Sequence[str] = config.hydra.get("searchpath") or []
    folders = [Path(one.removeprefix("file://")) for one in entries if one.startswith("file://")]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise ConfigError([Problem("hydra.searchpath", f"there is no folder {missing[0]}.")])
