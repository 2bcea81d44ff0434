"""One watcher for all runs of a workspace that this process waits for."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from databricks.sdk.errors import NotFound

from ascii_hydra.engines.calls import CallFault
from ascii_hydra.engines.calls import pause_s as pause_after
from ascii_hydra.engines.databricks.api import PAGE, Databricks
from ascii_hydra.engines.databricks.states import Stage, work_of
from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS, LOG_IN_AGAIN, fault_of
from ascii_hydra.engines.watched import Watched, Watcher, watching

_OUTAGE_S = 15 * 60.0
# Workspaces under maintenance have answered 403 to what they had allowed, for some minutes
# (apache/airflow#21286).
_DENIED_S = 10 * 60.0
# A run that was submitted a moment ago may not be shown by every server.
_SHOWN_WITHIN_S = 60.0
# With so many, pages of runs/list are fewer calls than one runs/get each.
_FEW = 4
# A look by the list says nothing of the cluster, which is found meanwhile.
_WHOLE_EVERY_S = 15 * 60.0


@dataclass(frozen=True)
class Look:
    """What one look has shown.

    Attributes:
        at: seconds since the epoch, by the clock.
        run: the run as runs/get gave it.
        run_at: when that was: later looks by runs/list have shown that nothing has changed.
    """

    at: float
    run: Mapping[str, Any]
    run_at: float


RunWatch = Watched[Look]


@dataclass
class _Failing:
    """A run that cannot be looked at: since when, by the clock, and how often it was tried."""

    since: float
    failures: int = 0


class _WorkspaceWatcher(Watcher[Look]):
    """Looks at the runs of one workspace."""

    def __init__(self, api: Databricks) -> None:
        super().__init__(api.clock, "databricks-watcher")
        self._api = api
        self._begun_at: dict[RunWatch, float] = {}
        self._failing: dict[RunWatch, _Failing] = {}
        self._outages = 0

    def look(self, waiting: list[RunWatch], now: float) -> float:
        """Look once at the runs that are due."""
        for kept in (self._failing, self._begun_at):
            for gone in kept.keys() - set(waiting):
                kept.pop(gone)
        pause = self._look(waiting, now)
        if pause is not None:
            return pause
        # Somewhat late, so that many are due together.
        return max(0.0, min(one.due_at for one in waiting) - now) * _jitter()

    def _look(self, waiting: list[RunWatch], now: float) -> float | None:
        """Look at those that are due; how long to wait until Databricks may be asked again, or
        None."""
        due = [one for one in waiting if one.due_at <= now]
        # One that fails alone keeps nobody from looking at the others.
        due.sort(key=lambda one: one in self._failing)
        seen = False
        try:
            listed = self._listed(waiting) if len(due) > _FEW else {}
            for one in [*(one for one in waiting if one not in due), *due]:
                seen = self._looked(one, listed, now) or seen
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            self._outages = 1 if seen else self._outages + 1
            for one in due:
                if one.due_at <= now:
                    self._bear(one, fault, now)
            if fault.expired:
                self._api.renew()
            return max(pause_after(self._outages), fault.retry_after_s or 0.0)
        self._outages = 0
        return None

    def _looked(self, one: RunWatch, listed: Mapping[str, Mapping[str, Any]], now: float) -> bool:
        """Whether Databricks has told the state of a run.

        Raises what a call raises that says nothing of this run: Databricks cannot be asked.
        """
        run = self._unchanged(one, listed, now)
        look = None if run is None or one.look is None else Look(now, run, one.look.run_at)
        if look is None and one.due_at <= now:
            try:
                run = self._run_of(one, now)
            except DATABRICKS_FAULTS as raised:
                fault = fault_of(raised)
                if fault.transient or fault.expired:
                    raise
                failures = self._bear(one, fault, now)
                one.due_at = now + pause_after(failures)
                return False
            look = None if run is None else Look(now, run, now)
        if look is None:
            return False
        self._failing.pop(one, None)
        one.see(look, work_of(look.run).told, now)
        one.due_at = now + one.pause_s(now)
        return True

    def _bear(self, one: RunWatch, fault: CallFault, now: float) -> int:
        """How often in a row a run could not be looked at; given up if that will not pass, or has
        lasted too long."""
        failing = self._failing.setdefault(one, _Failing(now))
        failing.failures += 1
        borne_s = _OUTAGE_S if fault.expired or fault.transient else 0.0
        # Also at the first look: who has submitted a run may see it.
        if fault.denied:
            borne_s = _DENIED_S
        if borne_s == 0.0:
            self.give_up(one, f"Databricks does not tell its state ({fault.words})")
        elif now - failing.since > borne_s:
            self.give_up(
                one, f"Databricks has not told its state for {borne_s / 60:g} min ({fault.words})"
            )
        else:
            one.warn(
                "outage", f"Databricks cannot be asked at the moment ({fault.words}); asking again"
            )
            if fault.expired:
                one.warn("login", f"Databricks accepts the credentials no more: {LOG_IN_AGAIN}")
        return failing.failures

    def _unchanged(
        self, one: RunWatch, listed: Mapping[str, Mapping[str, Any]], now: float
    ) -> Mapping[str, Any] | None:
        """The run as it was last seen, if the list shows that it is still so."""
        brief, last = listed.get(one.key), one.look
        if brief is None or last is None or now - last.run_at > _WHOLE_EVERY_S:
            return None
        # By the task: the run as a whole may be called running while its cluster starts.
        same = work_of(brief).told == work_of(last.run).told
        return last.run if same and work_of(last.run).stage is not Stage.ending else None

    def _run_of(self, one: RunWatch, now: float) -> Mapping[str, Any] | None:
        try:
            return self._api.run(int(one.key))
        except NotFound as raised:
            begun_at = self._begun_at.setdefault(one, now)
            if one.look is None and now - begun_at < _SHOWN_WITHIN_S:
                one.due_at = now + 1.0
                return None
            words = fault_of(raised).words
            self.give_up(
                one, f"Databricks does not know it any more ({words}): somebody has deleted it"
            )
            return None

    def _listed(self, waiting: list[RunWatch]) -> dict[str, Mapping[str, Any]]:
        """Those of many that have not ended, with their tasks, by the pages of runs/list.

        Others' runs are on the same pages: with too many of them, it is not worth it.

        Raises what a call raises that may be made again; who may not list runs may get them.
        """
        looks = [one.look for one in waiting if one.look is not None]
        if not looks:
            return {}
        wanted = {one.key for one in waiting if one.look is not None}
        since = min(int(look.run.get("start_time") or 0) for look in looks) / 1000
        found: dict[str, Mapping[str, Any]] = {}
        most = max(2 * PAGE, len(waiting) // 2 * PAGE)
        try:
            for count, run in enumerate(
                self._api.runs(active=True, since=since or None, tasks=True)
            ):
                if str(run["run_id"]) in wanted:
                    found[str(run["run_id"])] = run
                if len(found) == len(wanted) or count >= most:
                    break
        except DATABRICKS_FAULTS as raised:
            fault = fault_of(raised)
            if fault.transient or fault.expired:
                raise
        return found


def _jitter() -> float:
    return random.uniform(1.0, 1.1)  # noqa: S311 - nothing secret


def watched_run(
    api: Databricks, run_id: int, *, longest_s: float, warn: Callable[[str], None]
) -> AbstractContextManager[RunWatch]:
    """A run, looked at regularly until the end of the block.

    Args:
        api: where; of several who watch one workspace, the first one's is used.
        run_id: the run.
        longest_s: longest pause between two looks, by the clock.
        warn: is told of an outage.
    """

    def make() -> Watcher[Look]:
        return _WorkspaceWatcher(api.on_the_way_out())

    return watching(api.workspace, make, str(run_id), longest_s=longest_s, warn=warn)
