"""One watcher for all steps of a cluster that this process waits for."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ascii_hydra.aws.client import Place
from ascii_hydra.engines.aws_errors import AWS_FAULTS, LOG_IN_AGAIN, is_expired, is_transient, words
from ascii_hydra.engines.calls import pause_s
from ascii_hydra.engines.emr.api import STEP_ENDED, Emr, state_of
from ascii_hydra.engines.watched import Watched, WatchingFailedError

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


class _ClusterWatch:
    """A thread that looks at one cluster."""

    def __init__(self, emr: Emr, cluster_id: str) -> None:
        self._emr = emr
        self._cluster_id = cluster_id
        self._wake = threading.Event()
        self._cluster: Mapping[str, Any] = {}
        self._cluster_at = 0.0
        self.watched: list[Watched[Look]] = []

    def start(self) -> None:
        threading.Thread(target=self._run, name="emr-watcher", daemon=True).start()

    def wake(self) -> None:
        self._wake.set()

    def _run(self) -> None:
        try:
            self._look_on()
        except BaseException as fault:  # noqa: BLE001 - raised again by those who wait
            with _LOCK:
                waiting, self.watched = self.watched, []
                _forget(self)
            cause = (
                fault
                if isinstance(fault, WatchingFailedError)
                else WatchingFailedError(f"watching it failed ({words(fault)})")
            )
            for one in waiting:
                one.fail(cause)

    def _look_on(self) -> None:
        failures, failing_since = 0, 0.0
        while True:
            self._wake.clear()
            with _LOCK:
                waiting = list(self.watched)
                if not waiting:
                    _forget(self)
                    return
            now = self._emr.clock.now()
            try:
                self._look(waiting, now)
                failures = 0
                pause = min(one.pause_s(now) for one in waiting) * _jitter()
            except AWS_FAULTS as fault:
                expired = is_expired(fault)
                if not (expired or is_transient(fault)):
                    raise WatchingFailedError(
                        f"EMR does not tell the state of {self._cluster_id} ({words(fault)})"
                    ) from fault
                if failures == 0:
                    failing_since = now
                self._warn(f"EMR cannot be asked at the moment ({words(fault)}); asking again")
                if expired:
                    self._emr.renew()
                    self._warn(f"AWS accepts the credentials no more: {LOG_IN_AGAIN}", "login")
                if failures and now - failing_since > _OUTAGE_S:
                    raise WatchingFailedError(
                        f"EMR has not told the state of {self._cluster_id} for"
                        f" {_OUTAGE_S / 60:g} min ({words(fault)})"
                    ) from fault
                failures += 1
                pause = pause_s(failures)
            self._emr.clock.sleep(pause, self._wake)

    def _warn(self, text: str, topic: str = "outage") -> None:
        """Tell those who wait at this moment: who began to watch may have left."""
        with _LOCK:
            waiting = list(self.watched)
        for one in waiting:
            one.warn(topic, text)

    def _look(self, waiting: list[Watched[Look]], now: float) -> None:
        steps = self._emr.steps(self._cluster_id, [one.key for one in waiting])
        running = all(state_of(one) in {"RUNNING", *STEP_ENDED} for one in steps.values())
        missing = any(one.key not in steps for one in waiting)
        if missing or not running or now - self._cluster_at > _CLUSTER_EVERY_S:
            self._cluster, self._cluster_at = self._emr.cluster(self._cluster_id), now
        for one in waiting:
            step = steps.get(one.key, {})
            one.see(Look(now, step, self._cluster, self._cluster_at), state_of(step), now)


_LOCK = threading.Lock()
_WATCHES: dict[tuple[Place, str], _ClusterWatch] = {}


def _forget(watch: _ClusterWatch) -> None:
    for key, one in list(_WATCHES.items()):
        if one is watch:
            del _WATCHES[key]


def _jitter() -> float:
    return random.uniform(0.8, 1.0)  # noqa: S311 - nothing secret


@contextmanager
def watched_step(
    emr: Emr, cluster_id: str, step_id: str, *, longest_s: float, warn: Callable[[str], None]
) -> Iterator[Watched[Look]]:
    """A step, looked at regularly until the end of the block.

    Args:
        emr: where; of several who watch one cluster, the first one's is used.
        cluster_id: the step's cluster.
        step_id: the step.
        longest_s: longest pause between two looks, by the clock.
        warn: is told of an outage.
    """
    key = (emr.place, cluster_id)
    with _LOCK:
        watch = _WATCHES.get(key)
        new = watch is None
        if watch is None:
            watch = _WATCHES[key] = _ClusterWatch(emr, cluster_id)
        one = Watched[Look](step_id, longest_s, watch.wake, warn)
        watch.watched.append(one)
    if new:
        watch.start()
    else:
        watch.wake()
    try:
        yield one
    finally:
        with _LOCK:
            if one in watch.watched:
                watch.watched.remove(one)
        watch.wake()
