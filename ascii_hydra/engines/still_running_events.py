"""What may still run, in Dagster's history: as an event of the run, and in a step's metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dagster import DagsterInstance, DagsterRun, MetadataValue
from dagster._core.events import EngineEventData
from dagster._utils.error import SerializableErrorInfo  # type: ignore[attr-defined]

from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.engines.wording import exception_words

if TYPE_CHECKING:
    from ascii_hydra.engines.pipes_run import Context, Handle

STILL_RUNNING_KEY = "still_running"
"""Of what may still run, in the history of its run: a list of resources as JSON."""
_END_WITH_KEY = "still_running/end_with"


class Leftovers:
    """What one run of a step may have left running: told to people at once, and to Dagster.

    Args:
        context: of the asset.
        step: the step's name as people know it.
        warn: takes a line for people.
        keep: takes it for the launch's own account, which does not need Dagster's storage.
    """

    def __init__(
        self,
        context: Context,
        step: str,
        warn: Callable[[str], None],
        keep: Callable[[StillRunning], None],
    ) -> None:
        self._context = context
        self._step = step
        self._warn = warn
        self._keep = keep
        self._left: list[StillRunning] = []

    def report(self, left: StillRunning) -> None:
        """Tell people, and put it into the history of the run."""
        self._left.append(left)
        self._keep(left)
        self._warn(f"{self._step}: {left.sentence}")
        step_key = self._context.get_step_execution_context().step.key
        instance, run = self._context.instance, self._context.run
        try:
            report_still_running(instance, run, left, who=self._step, step_key=step_key)
        except Exception as fault:  # noqa: BLE001 - of any storage that Dagster may have
            why = exception_words(type(fault).__name__, str(fault))
            self._warn(f"{self._step}: this could not be put into the run's history ({why})")

    def mention(self, left: StillRunning, until: str) -> None:
        """Tell people of what somebody else ends and answers for.

        Args:
            left: what may still run.
            until: who ends it: a sentence.
        """
        line = f"{self._step}: {left.warning} {until}"
        self._warn(line)
        self._context.log.error(line)

    def metadata(self) -> Handle:
        """All that was reported, for the failure or for the materialisation."""
        return still_running_metadata(self._left)


def report_still_running(
    instance: DagsterInstance,
    run: DagsterRun,
    left: StillRunning,
    *,
    who: str,
    step_key: str | None = None,
) -> None:
    """Put it into the history of a run, as an error, so that the UI shows it in red.

    Args:
        instance: where the run is recorded.
        run: the run that has started it.
        left: what may still run.
        who: the step's name, or what else the message begins with.
        step_key: Dagster's name of the step; None for what the steps share.

    Raises whatever the storage of Dagster's events raises.
    """
    message = f"{who}: {left.sentence}"
    instance.report_engine_event(
        message,
        dagster_run=run,
        engine_event_data=EngineEventData(
            metadata=still_running_metadata([left]),
            error=SerializableErrorInfo(message, [], "StillRunning"),
        ),
        step_key=step_key,
    )


def still_running_metadata(left: Sequence[StillRunning]) -> Handle:
    """As Dagster's metadata: for the event, for the failure or for the materialisation; empty if
    nothing is left."""
    if not left:
        return {}
    return {
        STILL_RUNNING_KEY: MetadataValue.json([asdict(one) for one in left]),
        _END_WITH_KEY: MetadataValue.text("\n".join(one.command for one in left)),
    }
