"""Requests of steps, run by real Dagster assets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg

# What an engine event that tells where a step runs has in its metadata.
_HANDLES = {"databricks/run_id", "emr/cluster_id"}


@dataclass
class Ended:
    """One asset's end, as Dagster recorded it."""

    result: dg.ExecuteInProcessResult
    asset: str
    logged: list[str]
    handles: list[dict[str, str]]

    @property
    def green(self) -> bool:
        return self.result.success

    @property
    def materialized(self) -> dict[str, object]:
        """The one materialisation's metadata, as plain values."""
        (made,) = self.result.asset_materializations_for_node(self.asset)
        return {key: value.value for key, value in made.metadata.items()}

    @property
    def _failure(self):
        made = self.result.asset_materializations_for_node(self.asset)
        assert made == [], made
        (event,) = [e for e in self.result.all_events if e.is_step_failure]
        return event.step_failure_data

    @property
    def cause(self) -> str:
        """What the Failure says, or what was raised that is no Failure."""
        data = self._failure.user_failure_data
        return data.description if data is not None else self._failure.error.to_string()

    @property
    def evidence(self) -> dict[str, str]:
        return {k: str(v.value) for k, v in self._failure.user_failure_data.metadata.items()}


def ran(client: Any, request: Any, instance: dg.DagsterInstance | None, **settings: Any) -> Ended:
    """Run a request as an asset of its step's name.

    Args:
        client: of the request's engine.
        instance: where the run is recorded; None for one of its own.
        settings: more of the asset.
    """

    @dg.asset(name=request.step, **settings)
    def made(context):
        return client.run(context=context, request=request).get_results()

    with instance or dg.DagsterInstance.ephemeral() as used:
        result = dg.materialize([made], instance=used, raise_on_error=False)
        records = used.all_logs(result.run_id)
    told = [
        {key: str(value.value) for key, value in event.engine_event_data.metadata.items()}
        for event in (one.dagster_event for one in records)
        if event is not None and event.is_engine_event
    ]
    return Ended(
        result,
        request.step,
        logged=[one.message for one in records],
        handles=[one for one in told if _HANDLES & one.keys()],
    )
