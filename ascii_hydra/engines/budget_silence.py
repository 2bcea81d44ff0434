"""Looks of the meter of `launch.budget_usd` that fail: how long it waits after them, and from when
on the plan counts."""

from __future__ import annotations

from dataclasses import dataclass

# By the clock. After a failure nothing is asked for a minute, after each further one for twice as
# long: the cloud may be throttling, and a look is several calls.
SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 15 * 60.0
_PATIENCE_S = 10 * 60.0  # for as long it may fail to tell before the plan counts


@dataclass(frozen=True)
class Silence:
    """The looks that have failed since the last one that did not.

    Attributes:
        since: the first one, in seconds since the epoch by the clock.
        last: the last one.
        failures: how many they are.
        reason: why the last one failed: a clause.
        counts: it has lasted so long that the plan counts as spent.
    """

    since: float
    last: float
    failures: int
    reason: str
    counts: bool

    @property
    def pause_s(self) -> float:
        """For how long nothing is to be asked after the last failure."""
        pause_s = min(_LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2.0 ** min(self.failures - 1, 10))
        if self.counts:
            return pause_s
        # It is asked once more at the moment from which on the plan would count.
        return min(pause_s, max(SHORTEST_PAUSE_S, self.since + _PATIENCE_S - self.last))


def lengthened(silence: Silence | None, now: float, reason: str) -> Silence:
    """A silence with one failure more.

    Args:
        silence: None if the look before has not failed.
        now: of the failure, in seconds since the epoch by the clock.
        reason: a clause.
    """
    if silence is None:
        return Silence(now, now, 1, reason, counts=False)
    since = min(silence.since, now)  # the clock may have been corrected backwards
    counts = silence.counts or now - since >= _PATIENCE_S
    return Silence(since, now, silence.failures + 1, reason, counts)
