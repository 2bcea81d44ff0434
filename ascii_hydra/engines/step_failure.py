"""What a failed local step's metadata says besides its sentence: where, after what, and in which
files there is more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterEventType
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)

from ascii_hydra.engines.wording import shortened

if TYPE_CHECKING:
    from ascii_hydra.engines.pipes_run import Context

FAILED_AT = "failed_at"
"""Metadata: file, line, function and code of the innermost frame in the user's own code."""
CAUSED_BY = "caused_by"
"""Metadata: the Java exception that led to the one that was reported."""
OUTPUT_TAIL = "output_tail"
"""Metadata: the last lines that the step itself has written."""
LOGS = "logs"
"""Metadata: paths of the files that have all of its output."""
_CAUSE = re.compile(r"^\s*Caused by: (.+)$", re.MULTILINE)


def java_cause(message: str) -> str | None:
    """The innermost cause that a Java stack trace in an exception's message names, or None."""
    causes = _CAUSE.findall(message)
    return shortened(str(causes[-1])) if causes else None


def captured_logs(context: Context) -> tuple[str, ...]:
    """Paths of the files in which Dagster keeps a step's output, those with nothing in them left
    out; empty if Dagster does not keep it in files of this machine."""
    manager = context.instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return ()
    run_id, step_key = context.run.run_id, context.get_step_execution_context().step.key
    found: dict[str, None] = {}
    for entry in context.instance.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED):
        captured = None if entry.dagster_event is None else entry.dagster_event.logs_captured_data
        if captured is None or step_key not in (captured.step_keys or ()):
            continue
        log_key = manager.build_log_key_for_run(run_id, captured.file_key)
        for kind in (ComputeIOType.STDERR, ComputeIOType.STDOUT):
            path = Path(manager.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind]))
            if path.is_file() and path.stat().st_size:
                found[str(path)] = None
    return tuple(found)
