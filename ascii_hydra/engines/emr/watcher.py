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
from ascii_hydra.engines.aws_errors import pause_s as pause_after
from ascii_hydra.engines.emr.api import STEP_ENDED, Emr, state_of

_SHORTEST_PAUSE_S = 1.0
_CLOSED_PAUSE_S = 0.5
_SOON_S = 10.0
_LATE_S = 60.0
_CLUSTER_EVERY_S = 60.0
_OUTAGE_S = 15 * 60.0


class WatchingFailedError(Exception):
    """EMR says nothing of a step any more. The text is a clause for people."""


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


def pause_s(*, unchanged_s: float, closed_s: float | None, longest_s: float) -> float:
    """How long to wait until the next look at a step.

    A tenth of what has passed since its state changed, so that a short step is seen to end soon.
    Once its closing message has come, its end is near: EMR notices it within seconds or a minute.

    Args:
        unchanged_s: time since its state changed.
        closed_s: time since its closing message came, or None.
        longest_s: the longest pause.
    """
    if closed_s is not None:
        near = _CLOSED_PAUSE_S if closed_s < _SOON_S else max(1.0, (closed_s - _LATE_S) / 10)
        return min(longest_s, near)
    return min(longest_s, max(_SHORTEST_PAUSE_S, unchanged_s / 10))


class Watched:
    """A step that somebody waits for.

    Attributes:
        look: the last look, or None.
        fault: why there are no more looks, or None.
    """

    def __init__(self, step_id: str, longest_s: float, wake: Callable[[], None]) -> None:
        self.step_id = step_id
        self.look: Look | None = None
        self.fault: WatchingFailedError | None = None
        self._longest_s = longest_s
        self._wake = wake
        self._news = threading.Event()
        self._changed_at: float | None = None
        self._opened = False
        self._closed = False
        self._closed_at: float | None = None

    def news(self, timeout_s: float) -> bool:
        """Wait for the next look, or a fault, or so long."""
        came = self._news.wait(timeout_s)
        self._news.clear()
        return came

    def open(self) -> None:
        """Its first message has come: it runs, so look at once."""
        if not self._opened:
            self._opened = True
            self._wake()

    def close(self) -> None:
        """Its closing message has come: look at once, and often."""
        if not self._closed:
            self._closed = True
            self._wake()

    def see(self, look: Look) -> None:
        """Take a look's result."""
        before = None if self.look is None else state_of(self.look.step)
        if before != state_of(look.step):
            self._changed_at = look.at
        self.look = look
        self._news.set()

    def fail(self, fault: WatchingFailedError) -> None:
        """Take the reason why there are no more looks."""
        self.fault = fault
        self._news.set()

    def pause_s(self, now: float) -> float:
        """Until the next look."""
        if self._closed and self._closed_at is None:
            self._closed_at = now
        return pause_s(
            unchanged_s=now - (now if self._changed_at is None else self._changed_at),
            closed_s=None if self._closed_at is None else now - self._closed_at,
            longest_s=self._longest_s,
        )


class _ClusterWatch:
    """A thread that looks at one cluster."""

    def __init__(self, emr: Emr, cluster_id: str, warn: Callable[[str], None]) -> None:
        self._emr = emr
        self._cluster_id = cluster_id
        self._warn = warn
        self._wake = threading.Event()
        self._cluster: Mapping[str, Any] = {}
        self._cluster_at = 0.0
        self.watched: list[Watched] = []

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
        failures, failing_since, told = 0, 0.0, False
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
                    failing_since, told = now, False
                    self._warn(f"EMR cannot be asked at the moment ({words(fault)}); asking again")
                if expired:
                    self._emr.renew()
                    if not told:
                        self._warn(f"AWS accepts the credentials no more: {LOG_IN_AGAIN}")
                    told = True
                if failures and now - failing_since > _OUTAGE_S:
                    raise WatchingFailedError(
                        f"EMR has not told the state of {self._cluster_id} for"
                        f" {_OUTAGE_S / 60:g} min ({words(fault)})"
                    ) from fault
                failures += 1
                pause = pause_after(failures)
            self._emr.clock.sleep(pause, self._wake)

    def _look(self, waiting: list[Watched], now: float) -> None:
        steps = self._emr.steps(self._cluster_id, [one.step_id for one in waiting])
        running = all(state_of(one) in {"RUNNING", *STEP_ENDED} for one in steps.values())
        missing = any(one.step_id not in steps for one in waiting)
        if missing or not running or now - self._cluster_at > _CLUSTER_EVERY_S:
            self._cluster, self._cluster_at = self._emr.cluster(self._cluster_id), now
        for one in waiting:
            step = steps.get(one.step_id, {})
            one.see(Look(now, step, self._cluster, self._cluster_at))


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
) -> Iterator[Watched]:
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
            watch = _WATCHES[key] = _ClusterWatch(emr, cluster_id, warn)
        one = Watched(step_id, longest_s, watch.wake)
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
