"""One watcher for all steps of a cluster that this process waits for."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ascii_hydra.engines.aws_errors import (
    AWS_FAULTS,
    LOG_IN_AGAIN,
    is_expired,
    is_transient,
    retry_after_of,
    words,
)
from ascii_hydra.engines.calls import pause_s
from ascii_hydra.engines.emr.api import STEP_ENDED, Emr, state_of
from ascii_hydra.engines.watched import Watched, Watcher, WatchingFailedError, watching

_CLUSTER_EVERY_S = 60.0
_OUTAGE_S = 15 * 60.0


@dataclass(frozen=True)
class Look:
    """What one look has shown.

    Attributes:
        at: seconds since the epoch, by the clock.
        step: the step as ListSteps gives it.
        cluster: the cluster as DescribeCluster last gave it.
        cluster_at: when that was.
    """

    at: float
    step: Mapping[str, Any]
    cluster: Mapping[str, Any]
    cluster_at: float


class _ClusterWatcher(Watcher[Look]):
    """Looks at the steps of one cluster."""

    def __init__(self, emr: Emr, cluster_id: str) -> None:
        super().__init__(emr.clock, "emr-watcher")
        self._emr = emr
        self._cluster_id = cluster_id
        self._cluster: Mapping[str, Any] = {}
        self._cluster_at = 0.0
        self._failures = 0
        self._failing_since = 0.0

    def look(self, waiting: list[Watched[Look]], now: float) -> float:
        """Look once at all steps."""
        try:
            self._look(waiting, now)
        except AWS_FAULTS as fault:
            return self._borne(fault, now)
        self._failures = 0
        return min(one.pause_s(now) for one in waiting) * _jitter()

    def _borne(self, fault: BaseException, now: float) -> float:
        """How long to wait after a failure that may pass; others are raised."""
        expired = is_expired(fault)
        if not (expired or is_transient(fault)):
            raise WatchingFailedError(
                f"EMR does not tell the state of {self._cluster_id} ({words(fault)})"
            ) from fault
        if self._failures == 0:
            self._failing_since = now
        elif now - self._failing_since > _OUTAGE_S:
            raise WatchingFailedError(
                f"EMR has not told the state of {self._cluster_id} for {_OUTAGE_S / 60:g} min"
                f" ({words(fault)})"
            ) from fault
        if expired:
            self._emr.renew()
        for one in self.waiting():  # who began to watch may have left
            one.warn("outage", f"EMR cannot be asked at the moment ({words(fault)}); asking again")
            if expired:
                one.warn("login", f"AWS accepts the credentials no more: {LOG_IN_AGAIN}")
        self._failures += 1
        return max(pause_s(self._failures), retry_after_of(fault) or 0.0)

    def _look(self, waiting: list[Watched[Look]], now: float) -> None:
        steps = self._emr.steps(self._cluster_id, [one.key for one in waiting])
        running = all(state_of(one) in {"RUNNING", *STEP_ENDED} for one in steps.values())
        missing = any(one.key not in steps for one in waiting)
        if missing or not running or now - self._cluster_at > _CLUSTER_EVERY_S:
            self._cluster, self._cluster_at = self._emr.cluster(self._cluster_id), now
        for one in waiting:
            step = steps.get(one.key, {})
            one.see(Look(now, step, self._cluster, self._cluster_at), state_of(step), now)


def _jitter() -> float:
    return random.uniform(0.8, 1.0)  # noqa: S311 - nothing secret


def watched_step(
    emr: Emr, cluster_id: str, step_id: str, *, longest_s: float, warn: Callable[[str], None]
) -> AbstractContextManager[Watched[Look]]:
    """A step, looked at regularly until the end of the block.

    Args:
        emr: where; of several who watch one cluster, the first one's is used.
        cluster_id: the step's cluster.
        step_id: the step.
        longest_s: longest pause between two looks, by the clock.
        warn: is told of an outage.
    """

    def make() -> Watcher[Look]:
        return _ClusterWatcher(emr, cluster_id)

    return watching((emr.place, cluster_id), make, step_id, longest_s=longest_s, warn=warn)
