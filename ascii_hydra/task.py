"""What is done with one composed configuration; Hydra calls it once, or once a row of a sweep."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ascii_hydra.config.choices import Action, Endpoint, OnFailure
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import Config
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.estimate import PlannedRun, plan_estimates
from ascii_hydra.engines.request import keeps_promise, request_problems
from ascii_hydra.outcome import BrokenLaunchError, Ending, Outcome, StepOutcome
from ascii_hydra.step.choices import Engine

_log = logging.getLogger(__name__)
# What the rows, or the one run, would have the process end with; Hydra keeps the task's own result
# to itself.
exit_codes: set[int] = set()
# Why no further row of a sweep is started.
_halted: str | None = None
# What the rows of a sweep before this one have cost, as far as it is known.
_spent_usd = 0.0


def done(config: DictConfig) -> Outcome:
    """Do what the action says, write result.json, show how it ended, and add to `exit_codes`.

    Raises, outside a sweep, whatever it broke by.
    """
    global _halted, _spent_usd  # noqa: PLW0603 - Hydra calls this once a row and returns nothing
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode is RunMode.MULTIRUN
    folder = Path(hydra_config.runtime.output_dir)
    outcome, broken = _attempted(config, folder, multirun=multirun)
    # A row of a sweep that breaks is recorded and compared as failed; Hydra 1.3 would drop the
    # comparison of all rows if it were raised.
    if broken is not None and multirun:
        _log.error("this row broke", exc_info=broken)
        if not isinstance(broken, USER_ERRORS) and config.launch.budget_usd is not None:
            _halted = "an earlier row broke, and what it has cost of launch.budget_usd is not known"
    outcome = replace(outcome, over_budget=_passed_budget(config.launch.budget_usd, outcome))
    outcome.written(folder)
    if outcome.resumed_from is None and outcome.ending is not Ending.planned:
        _spent_usd += 0.0 if outcome.bill is None else outcome.bill.known_usd
    if outcome.resumed_from is not None:
        print(f"taken over from {outcome.resumed_from}")  # noqa: T201
    elif outcome.ending is not Ending.planned:
        from ascii_hydra.report.progress import show

        with suppress(OSError):  # the terminal may be gone; what counts is written
            show(outcome)
    exit_codes.add(outcome.exit_code)
    if outcome.left and config.launch.budget_usd is not None:
        _halted = "an earlier row may have left something running, and what it costs of"
        _halted += " launch.budget_usd is not known"
    if outcome.ending not in {Ending.succeeded, Ending.planned}:
        if multirun and outcome.ending is Ending.canceled:
            _halted = "the sweep was interrupted"
        elif multirun and config.launch.on_failure is OnFailure["stop"]:
            _halted = _halted or "an earlier row failed (launch.on_failure=stop)"
    if broken is not None and not multirun:
        raise broken
    return outcome


def _attempted(
    config: DictConfig, folder: Path, *, multirun: bool
) -> tuple[Outcome, BaseException | None]:
    """How it ended, and what it broke by, if anything; raises what a single run breaks by before
    its launch."""
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    try:
        settings = settle(config, overrides)
        (folder / "settled.yaml").write_text(settings.yaml, encoding="utf-8")
        option = hydra_config.runtime.choices["pipeline"]
        outcome = _acted(settings, option, overrides, multirun=multirun)
        return replace(outcome, keeps_promise=_keeps_promise(settings)), None
    except KeyboardInterrupt:
        why = "interrupted before anything was started"
        return _unstarted(config, why, Ending.canceled), None
    except BrokenLaunchError as fault:
        return fault.outcome, fault.__cause__
    except Exception as fault:
        if not multirun:
            raise
        outcome = _unstarted(config, _told(fault), Ending.failed)
        if not isinstance(fault, USER_ERRORS):  # those come before anything is started
            unknown = Bill(unpriced=("what it had cost when it broke",))
            outcome = replace(outcome, shared=unknown)
        return outcome, fault


def _keeps_promise(settings: Settings) -> bool:
    try:
        return keeps_promise(settings)
    except ConfigError:  # of a row that was not started, so that nobody has looked for problems
        return False


def _told(fault: Exception) -> str:
    """A user's mistake as the user is told of it; any other fault by its type and message."""
    if isinstance(fault, USER_ERRORS):
        return explained(fault, conf_folder())
    return f"{type(fault).__name__}: {fault}"


def _acted(settings: Settings, option: str, overrides: Sequence[str], *, multirun: bool) -> Outcome:
    if _halted is not None:
        return _unstarted(settings.config, _halted, digest=settings.digest)
    if problems := list(request_problems(settings)):  # some sweepers make rows that nobody checked
        raise ConfigError(problems)
    if settings.config.action is Action.refresh_prices:
        from ascii_hydra.catalogue.refresh import refreshed

        try:
            refreshed(_rehearsed(settings), lambda line: print(line, file=sys.stderr))  # noqa: T201
        except ConfigError as fault:
            return _unstarted(settings.config, str(fault), Ending.failed, settings.digest)
        finally:
            _close_rehearsal()
        return _unstarted(settings.config, None, Ending.planned, settings.digest)
    if multirun and (earlier := _earlier(settings)) is not None:
        return earlier
    if settings.config.action is Action.plan:
        from ascii_hydra.report.plan import show_plan

        planned = plan_estimates(settings)
        with suppress(BrokenPipeError):  # its reader may have seen enough
            show_plan(settings, planned, short=multirun)
        return _planned(settings, planned)
    return _run(settings, option, overrides)


def _earlier(settings: Settings) -> Outcome | None:
    """The outcome of the row of an earlier sweep that need not be run again."""
    resume = settings.config.launch.resume
    if resume is None:
        return None
    from ascii_hydra.report.sweep_folder import earlier_rows, taken_over

    return taken_over(earlier_rows(resume), settings)


def _planned(settings: Settings, planned: PlannedRun) -> Outcome:
    """A plan as an outcome, so that plans can be compared as runs are."""
    return replace(
        _unstarted(settings.config, None, Ending.planned, settings.digest),
        steps=tuple(
            StepOutcome(
                step=one.step,
                partition=None,
                engine=settings.steps[one.step].engine.name.value,
                cluster=settings.steps[one.step].cluster.size.value,
                ending=Ending.planned,
                duration_s=one.duration_s,
                # What is not known is named beside what has no price: neither counts as nothing.
                bill=replace(
                    one.bill, unpriced=tuple(f"{what} of {one.step}" for what in one.lacking)
                ),
                estimated_usd=one.usd,
                vcpus=one.estimate.executor_vcpus,
                memory_gib=one.estimate.memory_gib,
                spread_usd=one.spread_usd,
                spread_s=one.spread_s,
                duration_basis=one.estimate.expected.basis,
                duration_source=one.estimate.expected.source,
                computing=one.estimate.computing,
            )
            for one in planned.steps
        ),
        duration_s=planned.duration_s,
        virtual=settings.virtual,
        shared=planned.shared if planned.shared.lines or planned.shared.unpriced else None,
        estimated_usd=planned.usd,
    )


def _run(settings: Settings, option: str, overrides: Sequence[str]) -> Outcome:
    begun = time.monotonic()
    from ascii_hydra.engines.credentials import launch_credential_problems
    from ascii_hydra.engines.machine import machine_problems, prepared

    try:
        if problems := [*machine_problems(settings), *launch_credential_problems(settings)]:
            raise ConfigError(problems)
        prepared(settings, lambda line: print(line, file=sys.stderr))  # noqa: T201
        here = _rehearsed(settings)
        _start_jvm(here)
        from ascii_hydra.aws.place import input_opener
        from ascii_hydra.engines.budget import spent_before

        planned = plan_estimates(here, opened=input_opener(here))
        if (why := _over_budget(settings, planned)) is not None:
            return _unstarted(settings.config, why, digest=settings.digest)
        spent_before(_spent_usd)
        from ascii_hydra.assets.launch import launched
        from ascii_hydra.report.progress import Progress

        with Progress() as progress:
            outcome = launched(
                here,
                option=option,
                overrides=[*overrides, *_search_path()],
                conf=conf_folder(),
                progress=progress,
            )
    except ConfigError as fault:
        return _unstarted(settings.config, str(fault), Ending.failed, settings.digest)
    finally:
        _close_rehearsal()
    outcome = replace(outcome, estimated_usd=planned.usd)
    if here.config.endpoint.name is Endpoint.rehearsal:
        return outcome  # in the time of the rehearsed cloud
    return replace(outcome, duration_s=time.monotonic() - begun)


def _over_budget(settings: Settings, planned: PlannedRun) -> str | None:
    """Why the budget does not allow this run. It was checked before the start, without what earlier
    rows have really cost, and without partitions that only a cloud knows."""
    limit = settings.config.launch.budget_usd
    if limit is None:
        return None
    from ascii_hydra.engines.budget_before import row_over_budget, run_over_budget

    if _spent_usd:
        return row_over_budget(limit, planned, _spent_usd)
    over = run_over_budget(limit, planned)
    return None if over is None else str(over)


def _passed_budget(limit: float | None, outcome: Outcome) -> str | None:
    """That this run, or this sweep up to this row, has spent more than it might; else None."""
    ran = outcome.resumed_from is None and outcome.ending is not Ending.planned
    if limit is None or not ran or outcome.bill is None or not outcome.bill.known_usd:
        return None
    from ascii_hydra.engines.budget_after import over_budget

    own = f"launch.budget_usd={limit:g}:"
    stopped = any((one.error or "").startswith(own) for one in outcome.steps)
    return over_budget(limit, outcome.bill, outcome.shared, earlier_usd=_spent_usd, stopped=stopped)


def _rehearsed(settings: Settings) -> Settings:
    if settings.config.endpoint.name is not Endpoint.rehearsal:
        return settings
    from ascii_hydra.rehearsal.own import rehearsed

    return rehearsed(settings)


def _close_rehearsal() -> None:
    if (own := sys.modules.get("ascii_hydra.rehearsal.own")) is not None:
        own.close_own()


def _start_jvm(settings: Settings) -> None:
    """Let Spark's JVM start while Dagster is imported: each takes about as long as the other."""
    from ascii_hydra.engines.local_request import LocalRequest
    from ascii_hydra.engines.request import request
    from ascii_hydra.engines.step_run import StepRun

    first = next(iter(settings.steps.values()))
    if first.engine.name is not Engine.pyspark:
        return
    asked = request(StepRun(first, "", {}, {}, None))
    assert isinstance(asked, LocalRequest)
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
