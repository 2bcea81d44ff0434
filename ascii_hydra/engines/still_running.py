"""What may still run and cost money although it was to end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class StillRunning:
    """A resource that nobody has seen end.

    Attributes:
        resource: for people: `cluster j-1`, `run 7`.
        reason: why it has not ended, or why nobody knows: a clause.
        command: of the cloud's command line: ends it; where it is not known whether it exists,
            shows it.
        may_write: it may still write the step's output: it is a step that executes, not a cluster
            whose step has ended.
    """

    resource: str
    reason: str
    command: str
    may_write: bool = True

    @property
    def warning(self) -> str:
        """One sentence, without the command."""
        return f"{self.resource} may still be running and cost money ({self.reason})."

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"{self.warning} End it: {self.command}"

    @property
    def unpriced(self) -> str:
        """The clause of a bill that lacks what is yet to come."""
        return f"what {self.resource} costs until it ends"


def known(left: Iterable[StillRunning | None]) -> tuple[StillRunning, ...]:
    """What of several that were to end may still run; None stands for one that was seen to."""
    return tuple(one for one in left if one is not None)


def write_may_go_on(left: Iterable[StillRunning]) -> bool:
    """Whether any of them may still write the step's output."""
    return any(one.may_write for one in left)
