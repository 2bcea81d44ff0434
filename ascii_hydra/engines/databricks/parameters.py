"""A submitted run's arguments, by which it is known whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascii_hydra.engines.pipes_arguments import folder_uri, own_arguments


def own_work(task: Mapping[str, Any]) -> tuple[str, ...]:
    """The script and the arguments of a task, submitted or to be, without those of Pipes."""
    script = task.get("spark_python_task") or {}
    return (str(script.get("python_file", "")), *own_arguments(_parameters(task)))


def config_of(run_name: str, token: str) -> str:
    """The configuration that a run was made from, as its name says behind the step's token."""
    return run_name.rpartition(token)[2].strip()


def pipes_uri(task: Mapping[str, Any]) -> str | None:
    """Where the Pipes messages of a submitted task go; None for one that is not ours."""
    return folder_uri(_parameters(task))


def _parameters(task: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in (task.get("spark_python_task") or {}).get("parameters") or ()]
