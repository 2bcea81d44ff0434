"""Runs of the command line whose process has died without a word: killed, or out of memory.

Dagster holds such a run to be under way for ever, and lets no other one start beside it.
"""

from __future__ import annotations

import os
import socket

import dagster as dg
import psutil

_HOST, _PROCESS = "ascii_hydra/host", "ascii_hydra/process"
_UNDER_WAY = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def process_tags() -> dict[str, str]:
    """Tags of a run that say which process executes it."""
    return {_HOST: socket.gethostname(), _PROCESS: _named(os.getpid())}


def close_abandoned(instance: dg.DagsterInstance) -> None:
    """End the runs of this machine whose process is gone, as failed."""
    here = dg.RunsFilter(statuses=_UNDER_WAY, tags={_HOST: socket.gethostname()})
    for run in instance.get_runs(here):
        process = run.tags.get(_PROCESS, "")
        if process and not _lives(process):
            instance.report_run_failed(
                run, "The command that executed this run ended without a word: was it killed?"
            )


def _named(pid: int) -> str:
    """A process by its number and start, since numbers are used again."""
    return f"{pid}-{int(psutil.Process(pid).create_time() * 100)}"


def _lives(process: str) -> bool:
    try:
        return _named(int(process.partition("-")[0])) == process
    except psutil.NoSuchProcess:
        return False
