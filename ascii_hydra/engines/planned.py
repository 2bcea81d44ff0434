"""What a request for any cloud would use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ascii_hydra.costs.usage import Usage
from ascii_hydra.engines.emr.emr_request import EmrRequest

if TYPE_CHECKING:
    from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest


def planned_usage(
    request: EmrRequest | DatabricksRequest | Any, startup_s: float, run_s: float
) -> Usage:
    """What a request would use if it started up and executed for so many seconds; only the module
    of its own cloud is imported."""
    if isinstance(request, EmrRequest):
        from ascii_hydra.engines.emr import planned_usage as of_emr

        return of_emr.planned_usage(request, startup_s, run_s)
    from ascii_hydra.engines.databricks import planned_usage as of_databricks

    return of_databricks.planned_usage(request, startup_s, run_s)
