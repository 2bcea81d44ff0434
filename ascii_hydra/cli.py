"""The command line. Nothing heavy is imported before the configuration is known to be good."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ascii_hydra import sweep
from ascii_hydra.config.arguments import arguments
from ascii_hydra.config.compose import (
    CONFIG_NAME,
    VERSION_BASE,
    conf_folder,
    register_schemas,
)
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import Action, Config, OnFailure
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.outcome import Ending, Outcome

_FULL_ERROR = "HYDRA_FULL_ERROR"
_log = logging.getLogger(__name__)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Compose, check, and do what `action` says. Leaves the process with 0 if all went well, 1 if
    something failed or was refused, 130 if it was interrupted."""
    global _exit_code  # noqa: PLW0603 - Hydra keeps the task's own result to itself
    try:
        conf = conf_folder()
        argv, notices = arguments(sys.argv[1:], os.environ)
    except (FileNotFoundError, *USER_ERRORS) as fault:
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
        signal.signal(number, _interrupt)
    run = hydra.main(config_path=str(conf), config_name=CONFIG_NAME, version_base=VERSION_BASE)
    try:
        run(_task)()
    except USER_ERRORS as fault:
        if asked:
            raise
        _leave(1, explained(fault, conf))
    except KeyboardInterrupt:
        _exit_code = 130
    if sweep.folder is not None:
        from ascii_hydra.report.comparison import compared

        with suppress(OSError):
            went_well = compared(sweep.folder, sweep.ROWS_FILE)
            _exit_code = _exit_code or int(not went_well)
    _leave(_exit_code)


# What the process ends with; Hydra keeps the task's own result to itself.
_exit_code = 0
# Why no further row of a sweep is started.
_halted: str | None = None


def _task(config: DictConfig) -> Outcome:
    global _exit_code, _halted  # noqa: PLW0603 - Hydra calls this once a row and returns nothing
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode is RunMode.MULTIRUN
    overrides = list(hydra_config.overrides.task)
    folder = Path(hydra_config.runtime.output_dir)
    try:
        settings = settle(config, overrides)
        (folder / "settled.yaml").write_text(settings.yaml, encoding="utf-8")
        outcome = _done(settings, hydra_config.runtime.choices["pipeline"], overrides)
    except KeyboardInterrupt:
        outcome = _unstarted(config, "interrupted before anything was started", Ending.canceled)
    except Exception as fault:
        # A row of a sweep that breaks is recorded and compared as failed; Hydra 1.3 would drop the
        # comparison of all rows if it were raised.
        if not multirun:
            raise
        _log.exception("this row broke")
        outcome = _unstarted(config, _told(fault), Ending.failed)
    outcome.written(folder)
    if outcome.ending is not Ending.planned:
        from ascii_hydra.report.progress import show

        with suppress(OSError):  # the terminal may be gone; what counts is written
            show(outcome)
    if outcome.ending not in {Ending.succeeded, Ending.planned}:
        _exit_code = max(_exit_code, 130 if outcome.ending is Ending.canceled else 1)
        if multirun and outcome.ending is Ending.canceled:
            _halted = "the sweep was interrupted"
        elif multirun and config.launch.on_failure is OnFailure["stop"]:
            _halted = _halted or "an earlier row failed (launch.on_failure=stop)"
    return outcome


def _told(fault: Exception) -> str:
    """A user's mistake as the user is told of it; any other fault by its type and message."""
    if isinstance(fault, USER_ERRORS):
        return explained(fault, conf_folder())
    return f"{type(fault).__name__}: {fault}"


def _done(settings: Settings, option: str, overrides: Sequence[str]) -> Outcome:
    if _halted is not None:
        return _unstarted(settings.config, _halted, digest=settings.digest)
    if settings.config.action is Action.plan:
        from ascii_hydra.report.plan import show_plan

        show_plan(settings)
        return _unstarted(settings.config, None, Ending.planned, settings.digest)
    return _run(settings, option, overrides)


def _run(settings: Settings, option: str, overrides: Sequence[str]) -> Outcome:
    begun = time.monotonic()
    from ascii_hydra.engines.machine import machine_problems

    problems = list(machine_problems(settings))
    if problems:
        why = str(ConfigError(problems))
        return _unstarted(settings.config, why, Ending.failed, settings.digest)
    _start_jvm(settings)
    from ascii_hydra.assets.launch import launched
    from ascii_hydra.report.progress import Progress

    try:
        with Progress() as progress:
            outcome = launched(
                settings,
                option=option,
                overrides=[*overrides, *_search_path()],
                conf=conf_folder(),
                progress=progress,
            )
    except ConfigError as fault:
        return _unstarted(settings.config, str(fault), Ending.failed, settings.digest)
    return replace(outcome, duration_s=time.monotonic() - begun)


def _start_jvm(settings: Settings) -> None:
    """Let Spark's JVM start while Dagster is imported: each takes about as long as the other."""
    from ascii_hydra.engines.request import request
    from ascii_hydra.engines.step_run import StepRun

    first = next(iter(settings.steps.values()))
    asked = request(StepRun(first, "", {}, {}, None))
    if asked is None:
        return
    if asked.class_sharing:
        from ascii_hydra.engines import class_archive

        # Takes a while, once; `make` has done it already.
        class_archive.ensured(lambda line: print(line, file=sys.stderr))  # noqa: T201
    if asked.reuse_jvm:
        from ascii_hydra.engines import spark_jvm

        spark_jvm.start_early(spark_jvm.JvmSpec.of(asked))


def _search_path() -> list[str]:
    """Folders that were added to Hydra's search path, as an override for another process."""
    sources = HydraConfig.get().runtime.config_sources
    added = [one.path for one in sources if one.provider in {"command-line", "hydra.searchpath"}]
    joined = ",".join(f"file://{Path(path).resolve()}" for path in added)
    return [f"hydra.searchpath=[{joined}]"] if added else []


def _unstarted(
    config: Config | DictConfig,
    why: str | None,
    ending: Ending = Ending.not_started,
    digest: str = "",
) -> Outcome:
    return Outcome(
        ending=ending,
        engine=config.engine.name.value,
        mode=config.mode.name.value,
        cluster=config.cluster.size.value,
        pipeline=config.pipeline.name,
        digest=digest,
        error=why,
    )


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
