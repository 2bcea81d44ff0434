"""The command line. It imports what answers `--cfg`, `--help` and tab completion, and no more."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig

from ascii_hydra.config.arguments import arguments
from ascii_hydra.config.compose import (
    CONFIG_NAME,
    VERSION_BASE,
    conf_folder,
    register_schemas,
)
from ascii_hydra.config.problems import ConfigError

_FULL_ERROR = "HYDRA_FULL_ERROR"
# Money that may still be spent comes before everything else that has happened.
_WORST_FIRST = (3, 130, 1, 0)


def main() -> None:
    """Compose, check, and do what `action` says. Leaves the process with 0 if all went well, 1 if
    something failed or was refused, 130 if it was interrupted, and 3 if, whatever else happened,
    something that was started may still be running and cost money."""
    try:
        conf = conf_folder()
        argv, notices = arguments(sys.argv[1:], os.environ)
    except (FileNotFoundError, ConfigError) as fault:
        _leave(1, str(fault))
    for notice in notices:
        print(f"Note: {notice}", file=sys.stderr)  # noqa: T201
    register_schemas()
    # Said again as an error, with what to do, by the check before a run.
    warnings.filterwarnings("ignore", message="provider=hydra.searchpath")
    # Hydra prints its errors itself unless it is asked to raise them; we say them better.
    asked = _FULL_ERROR in os.environ
    os.environ.setdefault(_FULL_ERROR, "1")
    sys.argv = [sys.argv[0], *argv]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    run = hydra.main(config_path=str(conf), config_name=CONFIG_NAME, version_base=VERSION_BASE)
    code = 0
    try:
        run(_task)()
    except KeyboardInterrupt:
        code = 130
    except Exception as fault:
        from ascii_hydra.config.explain import USER_ERRORS, explained

        explain = not asked and isinstance(fault, USER_ERRORS)
        # A sweep may break after its first rows, and Python would leave with 1.
        code = _worst({1, *_task_codes()})
        if code == 1 and not explain:
            raise
        _leave(code, explained(fault, conf) if explain else traceback.format_exc())
    _leave(_worst({code, *_outcome_codes()}))


def _worst(codes: set[int]) -> int:
    return next(one for one in _WORST_FIRST if one in codes)


def _task(config: DictConfig) -> Any:
    from ascii_hydra import task

    return task.done(config)


def _task_codes() -> set[int]:
    task = sys.modules.get("ascii_hydra.task")
    return set() if task is None else set(task.exit_codes)


def _outcome_codes() -> set[int]:
    """What the tasks left to end with. A sweep is compared first, however it ended."""
    codes, sweep = _task_codes(), sys.modules.get("ascii_hydra.sweep")
    if sweep is None or sweep.folder is None:
        return codes
    from ascii_hydra.report.comparison import compared

    with suppress(OSError):  # the terminal may be gone
        codes.add(int(not compared(sweep.folder)))
    return codes


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _leave(code: int, text: str | None = None) -> NoReturn:
    """End the process at once. Everything that matters has been written and stopped by now, and
    the interpreter's own farewell to Dagster's modules takes half a second."""
    if text is not None:
        print(text, file=sys.stderr)  # noqa: T201
    jvm = sys.modules.get("ascii_hydra.engines.spark_jvm")
    if jvm is not None:
        jvm.close_all()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
