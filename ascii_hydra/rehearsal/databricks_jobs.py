"""The Jobs API of the rehearsal workspace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ascii_hydra.rehearsal import databricks_rules as rules
from ascii_hydra.rehearsal.databricks_clusters import Clusters
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError, invalid
from ascii_hydra.rehearsal.databricks_execution import Installer
from ascii_hydra.rehearsal.databricks_folders import Folders
from ascii_hydra.rehearsal.databricks_pools import Pools
from ascii_hydra.rehearsal.databricks_runs import Run
from ascii_hydra.rehearsal.databricks_telling import output_as_json, run_as_json
from ascii_hydra.rehearsal.world import World

_PAGE, _LARGEST_PAGE = 20, 25


class Jobs:
    """The operations about runs."""

    def __init__(
        self,
        world: World,
        folders: Folders,
        libraries: Path,
        clusters: Clusters,
        pools: Pools,
        url: str,
    ) -> None:
        self._world, self._folders, self._clusters, self._pools = world, folders, clusters, pools
        self._url = url
        self._installer = Installer(libraries, folders)
        self._runs: dict[int, Run] = {}
        self._tokens: dict[str, int] = {}

    @property
    def living(self) -> list[Run]:
        """Those that have not ended."""
        return [one for one in self._runs.values() if one.active]

    @property
    def executing(self) -> bool:
        """A process of any run is alive."""
        return any(one.executing for one in self._runs.values())

    def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/submit."""
        token = body.get("idempotency_token")
        if token in self._tokens:
            known = self._tokens[token]
            if known not in self._runs:
                raise invalid(f"Run {known} with this idempotency token has been deleted.")
            return {"run_id": known}
        rules.check_submit(body, self._pools.named, self._clusters.named)
        # Nobody changes what was asked for under the run.
        run = Run(
            self._world,
            self._folders,
            self._installer,
            self._clusters,
            json.loads(json.dumps(body)),
        )
        self._runs[run.id] = run
        if token:
            self._tokens[token] = run.id
        return {"run_id": run.id}

    def get(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/get."""
        return run_as_json(self._run(params), self._url, tasks=True)

    def listed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/list, the newest first."""
        active, completed = params.get("active_only"), params.get("completed_only")
        if active and completed:
            raise invalid("active_only and completed_only cannot both be true")
        size = params.get("limit", _PAGE) or _LARGEST_PAGE
        if not 0 < size <= _LARGEST_PAGE:
            raise invalid(f"limit must be 1 to {_LARGEST_PAGE}, and is {size}")
        since, until = params.get("start_time_from"), params.get("start_time_to")
        found = [
            one
            for one in reversed(self._runs.values())
            if (not active or one.active)
            and (not completed or not one.active)
            and params.get("run_type", "SUBMIT_RUN") == "SUBMIT_RUN"
            and ("job_id" not in params or one.job_id == params["job_id"])
            and (since is None or int(one.started * 1000) >= since)
            and (until is None or int(one.started * 1000) <= until)
        ]
        start = int(params.get("page_token") or params.get("offset") or 0)
        page = found[start : start + size]
        tasks = bool(params.get("expand_tasks"))
        told: dict[str, Any] = {"has_more": start + size < len(found)}
        if page:
            told["runs"] = [run_as_json(one, self._url, tasks=tasks) for one in page]
        if told["has_more"]:
            told["next_page_token"] = str(start + size)
        if start:
            told["prev_page_token"] = str(max(0, start - size))
        return told

    def cancel(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/cancel: of one that has ended, nothing happens."""
        self._run(body).cancel()
        return {}

    def output(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/get-output."""
        for run in self._runs.values():
            if run.task_run_id == params["run_id"]:
                return output_as_json(run, self._url)
        self._run(params)
        raise invalid(
            "Retrieving the output of runs with multiple tasks is not supported. Please retrieve"
            " the output of each individual task run instead."
        )

    def delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/runs/delete."""
        run = self._run(body)
        if run.active:
            raise WorkspaceError(
                "INVALID_STATE", f"The run {run.id} is active and cannot be deleted."
            )
        del self._runs[run.id]
        return {}

    def _run(self, params: Mapping[str, Any]) -> Run:
        found = self._runs.get(params["run_id"])
        if found is None:
            # The SDK makes RESOURCE_DOES_NOT_EXIST of this sentence, of runs/get alone.
            raise invalid(f"Run {params['run_id']} does not exist.")
        return found
