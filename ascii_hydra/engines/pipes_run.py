"""What every engine's Pipes client does in the same way with one run of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    Failure,
    MaterializeResult,
    MetadataValue,
    OpExecutionContext,
    PipesSession,
)
from dagster._core.events import EngineEventData
from dagster._core.pipes.client import PipesClientCompletedInvocation

from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines import budget
from ascii_hydra.engines.payload_upload import UploadError
from ascii_hydra.engines.pipes_folder import FolderError, MessagesUnreadableError
from ascii_hydra.engines.pipes_reader import RejectedReportError, Report
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.watched import WatchingFailedError
from ascii_hydra.step.metadata import INPUT_BYTES, OUTPUT_CHECKED

Context = OpExecutionContext | AssetExecutionContext
Handle = dict[str, MetadataValue[Any]]


class StepError(Exception):
    """A step cannot be run, or has failed. The text follows the step's name.

    Args:
        text: see there.
        again: a retry is of use; by default as the class says.
    """

    again = True

    def __init__(self, text: str, *, again: bool | None = None) -> None:
        super().__init__(text)
        if again is not None:
            self.again = again


class UnusableClusterError(StepError):
    """The cluster that was named cannot be used."""

    again = False


class LeftoverError(StepError):
    """What an earlier attempt has left cannot be ended.

    Args:
        text: see StepError.
        left: what it has left.
    """

    def __init__(self, text: str, left: StillRunning) -> None:
        super().__init__(text)
        self.left = left


@contextmanager
def dagsters_faults(
    step: str, handle: Callable[[], Handle | None] = lambda: None
) -> Iterator[None]:
    """Within it, what ends a step early becomes Dagster's Failure, or its interruption.

    Args:
        step: its name.
        handle: where to find what runs, for the failure's metadata; None if nothing does.
    """
    try:
        yield
    except InterruptedError:
        raise DagsterExecutionInterruptedError(f"{step} was stopped") from None
    except ConfigError as fault:
        raise _failure(f"{step} could not start: {fault}", handle, again=False) from None
    except (MessagesUnreadableError, WatchingFailedError) as fault:
        raise _failure(f"{step} was given up: {fault}", handle) from None
    except (UploadError, FolderError) as fault:
        raise _failure(f"{step} could not start: {fault}", handle) from None
    except RejectedReportError as fault:
        raise _failure(f"{step} {fault}", handle) from None
    except StepError as fault:
        raise _failure(f"{step} {fault}", handle, again=fault.again) from None


def _failure(text: str, handle: Callable[[], Handle | None], *, again: bool = True) -> Failure:
    return Failure(text, metadata=handle(), allow_retries=again)


def announce(context: Context, line: str, handle: Handle) -> None:
    """Put what runs into Dagster's history at once: it costs money from now on."""
    budget.begun()
    context.instance.report_engine_event(
        line,
        dagster_run=context.run,
        engine_event_data=EngineEventData(metadata=handle),
        step_key=context.get_step_execution_context().step.key,
    )
    context.log.info(line)


def reported_exception(report: Report) -> tuple[str, str] | None:
    """Name and message of the exception that a step has closed Pipes with, or None."""
    exception = report.exception
    if exception is None:
        return None
    return exception["name"] or "Exception", exception["message"] or ""


def completed(
    context: Context,
    session: PipesSession,
    report: Report,
    handle: Mapping[str, Any],
    *,
    writes_output: bool = False,
    waste: Callable[[], None] = lambda: None,
) -> PipesClientCompletedInvocation:
    """What a step that has succeeded gives to Dagster.

    Args:
        context: of the asset.
        session: of the step, read to its end.
        report: what the messages have said.
        handle: more metadata.
        writes_output: the step must have looked whether it has written its output.
        waste: called before it raises: what the step has cost made no asset.

    Raises:
        StepError: it reported something else than its asset and the asset's checks, or does not
            say that it has looked for its output.
    """
    payloads = [
        one for one in session.message_handler.get_custom_messages() if isinstance(one, dict)
    ]
    problem = None
    strange = _strange(context, session.message_handler.get_reported_results())
    if strange is not None:
        problem = f"reported {strange}, which its asset does not have"
    elif writes_output and not any(OUTPUT_CHECKED in one for one in payloads):
        problem = (
            "ended well, and nothing shows that it has written its output: only"
            " <YourStep>.run() of a SparkStep looks for it. End the script so; or declare"
            " pipeline.steps.STEP.writes_output=false, or writes_output=False of spark_asset, and"
            " check the output yourself."
        )
    if problem is not None:
        waste()
        raise StepError(problem)
    metadata = {**handle, **_measured(payloads)}
    if report.malformed:
        metadata["pipes/malformed_messages"] = MetadataValue.int(report.malformed)
    return PipesClientCompletedInvocation(session, metadata=metadata or None)


def _measured(payloads: Sequence[Mapping[str, Any]]) -> Handle:
    """What `SparkStep` measures of itself."""
    reads = [one[INPUT_BYTES] for one in payloads if isinstance(one.get(INPUT_BYTES), int)]
    return {INPUT_BYTES: MetadataValue.int(reads[-1])} if reads else {}


def _strange(
    context: Context, results: Sequence[MaterializeResult[Any] | AssetCheckResult]
) -> str | None:
    """A report of something else than this asset and its checks: Dagster would not name it."""
    if not context.has_assets_def:
        return None
    checks = {(key.asset_key, key.name) for key in context.assets_def.check_keys}
    for result in results:
        key = result.asset_key
        if isinstance(result, MaterializeResult):
            if key is not None and key not in context.selected_asset_keys:
                return f"the asset {key.to_user_string()!r}"
        elif (key, result.check_name) not in checks:
            asset = key.to_user_string() if key is not None else "?"
            return f"the check {result.check_name!r} of {asset!r}"
    return None
