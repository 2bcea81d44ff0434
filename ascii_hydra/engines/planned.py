"""What a request would use and what it asks for, whatever engine it is for: only the module of its
own engine is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ascii_hydra.config.problems import UnknownEngineError
from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from ascii_hydra.engines.promise import Capacity

Asked: TypeAlias = LocalRequest | EmrRequest | DatabricksRequest
"""A request for any engine."""
_CLOUDS = (Engine.emr, Engine.databricks)


def planned_usage(
    request: EmrRequest | DatabricksRequest | Any, startup_s: float, run_s: float
) -> Usage:
    """What a request for a cloud would use if it started up and executed for so many seconds.

    Raises:
        UnknownEngineError: it is for another engine.
    """
    if isinstance(request, EmrRequest):
        from ascii_hydra.engines.emr import planned_usage as of_emr

        return of_emr.planned_usage(request, startup_s, run_s)
    if isinstance(request, DatabricksRequest):
        from ascii_hydra.engines.databricks import planned_usage as of_databricks

        return of_databricks.planned_usage(request, startup_s, run_s)
    raise UnknownEngineError(request, "usage to be planned", _CLOUDS)


def describe(request: Asked) -> str:
    """The computing that a request asks for, in a few words.

    Raises:
        UnknownEngineError: it is for another engine.
    """
    if isinstance(request, LocalRequest):
        return request.computing
    if isinstance(request, EmrRequest):
        from ascii_hydra.engines.emr import capacity as of_emr

        return of_emr.describe(request)
    if isinstance(request, DatabricksRequest):
        from ascii_hydra.engines.databricks import capacity as of_databricks

        return of_databricks.describe(request)
    raise UnknownEngineError(request, "computing to be described", Engine)


def capacity(request: Asked) -> Capacity | None:
    """What the workers have that a request asks for; None if nobody knows, or it is for this
    machine, which has none.

    Raises:
        ConfigError: what Spark is told of memory cannot be read.
        UnknownEngineError: it is for another engine.
    """
    if isinstance(request, LocalRequest):
        return None
    if isinstance(request, EmrRequest):
        from ascii_hydra.engines.emr import capacity as of_emr

        return of_emr.capacity(request)
    if isinstance(request, DatabricksRequest):
        from ascii_hydra.engines.databricks import capacity as of_databricks

        return of_databricks.capacity(request)
    raise UnknownEngineError(request, "capacity to be known", Engine)
