"""Doubles: what calls of EMR without a clear answer make late, besides what is known.

A double does no work (`ascii_hydra/step/claim.py`), but it costs money, and on a cluster that
others use it takes a turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable

from ascii_hydra.engines.aws_errors import words
from ascii_hydra.engines.emr.api import Emr
from ascii_hydra.engines.emr.submission import LOOKS_S
from ascii_hydra.engines.still_running import StillRunning

_EVERY_S = 30.0
_FOR_S = 15 * 60.0


class Doubles:
    """The doubles of one submission: sought while a step runs, and once more at the end.

    Args:
        emr: where.
        made: ids of what is alive of all that the submission's calls have made.
        cancel: tells EMR to end one, by its id, in one call; raises as that does.
        end: ends one, and sees it end; says what went wrong, or None.
        left: what may still run, by the id of a double and why it has not ended.
        perhaps: what may still run though nobody can tell, by the reason.

    Attributes:
        found: ids of all doubles that have been seen.
    """

    def __init__(
        self,
        emr: Emr,
        *,
        made: Callable[[Emr], Iterable[str]],
        cancel: Callable[[str], None],
        end: Callable[[Emr, str], str | None],
        left: Callable[[str, str], StillRunning],
        perhaps: Callable[[str], StillRunning],
    ) -> None:
        self.found: list[str] = []
        self._emr = emr
        self._made = made
        self._cancel = cancel
        self._end = end
        self._left = left
        self._perhaps = perhaps
        self._doubted_at: float | None = None
        self._due_at = 0.0
        self._told: set[str] = set()

    def doubt(self) -> None:
        """A call had no clear answer: it may have made something, or make it still."""
        self._doubted_at = self._emr.clock.now()

    def seek(
        self,
        known: Collection[str | None],
        now: float,
        *,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        """While the step runs: tell EMR to end the doubles that it shows by now. Looks every 30 s
        for 15 min after the last call without a clear answer, by the clock; does not wait.

        Args:
            known: ids of what is no double.
            now: seconds since the epoch, by the clock.
            say: is told of every double.
            warn: is told of what keeps one from being sought or ended.
        """
        if self._doubted_at is None or now > self._doubted_at + _FOR_S or now < self._due_at:
            return
        self._due_at = now + _EVERY_S
        try:
            # Limits are enforced by whoever calls this: it must not wait out a throttling.
            doubles = self._new(self._emr.first_attempts(), known, say)
        except Exception as fault:  # noqa: BLE001 - it is told, and no reason to end the step
            self._warn_once(f"doubles of it cannot be sought now ({words(fault)})", warn)
            return
        for one in doubles:
            try:
                self._cancel(one)
            except Exception as fault:  # noqa: BLE001 - likewise; it is tried again
                self._warn_once(self._left(one, words(fault)).sentence, warn)

    def end(
        self, known: Collection[str | None], say: Callable[[str], None] = lambda _line: None
    ) -> tuple[StillRunning, ...]:
        """At the end: end the doubles that are alive, and see them end; what may still run.

        Args:
            known: ids of what is no double.
            say: is told of every double that was not seen before.
        """
        if self._doubted_at is None:
            return ()
        out = self._emr.on_the_way_out()
        faults: dict[str, str | None] = {}
        left: list[StillRunning] = []
        try:
            # All looks: a double may be shown late, and of several each at a time of its own.
            for pause in LOOKS_S:
                out.clock.sleep(pause, threading.Event())
                for one in self._new(out, {*known, *faults}, say):
                    faults[one] = self._end(out, one)
        except Exception as fault:  # noqa: BLE001 - it is what has gone wrong
            left.append(self._perhaps(f"it may be there twice: {words(fault)}"))
        left += [self._left(one, fault) for one, fault in faults.items() if fault is not None]
        return tuple(left)

    def _new(
        self, emr: Emr, known: Collection[str | None], say: Callable[[str], None]
    ) -> list[str]:
        doubles = [one for one in self._made(emr) if one not in known]
        for one in doubles:
            if one not in self.found:
                self.found.append(one)
                say(f"ends {one}, which a call without a clear answer has made besides")
        return doubles

    def _warn_once(self, line: str, warn: Callable[[str], None]) -> None:
        if line not in self._told:
            self._told.add(line)
            warn(line)
