"""What goes wrong in the rehearsal cloud, by rules that people write."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule


class Faults:
    """The rules, and how often each of them has been looked at.

    A rule counts what it is about (`after` of them go well, then `times` go wrong), whether or not
    another rule takes effect on the same.
    """

    def __init__(self, rules: Sequence[FaultRule] = ()) -> None:
        self._lock = threading.Lock()
        self._rules: tuple[FaultRule, ...] = ()
        self._seen: list[int] = []
        self.replace(rules)

    def replace(self, rules: Sequence[FaultRule]) -> None:
        """Start anew with other rules."""
        with self._lock:
            self._rules = tuple(rules)
            self._seen = [0] * len(self._rules)

    def taken(self, target: str, among: Collection[FaultEffect] | None = None) -> FaultRule | None:
        """The rule that takes effect on this, if any; each call counts as one of `target`.

        Args:
            target: an operation, or `cluster`, `step`, `logs`.
            among: only rules with these effects; the others are not counted.
        """
        effective = None
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.target != target or (among is not None and rule.effect not in among):
                    continue
                self._seen[index] += 1
                if rule.after < self._seen[index] <= rule.after + rule.times:
                    effective = effective or rule
        return effective
