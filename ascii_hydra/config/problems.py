"""How a user's mistakes are told: what is wrong, where, what is allowed, what to do.

Every text is made in this module or by `Problem`, so that all of them read alike.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from ascii_hydra.step.choices import Engine


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the full configuration key, the environment variable or the argument.
        what: what is wrong and what is allowed or to be done, as a sentence without its subject.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds every reason found, never only one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(listed(self.problems))


class UnknownEngineError(ConfigError):
    """Something was asked of an engine for which it does not exist.

    Args:
        engine: the engine, or the request or configuration of one, by which it is named.
        what: what was asked for: `a client`.
        supported: the engines that have it.
    """

    def __init__(self, engine: object, what: str, supported: Iterable[Engine]) -> None:
        name = engine.value if isinstance(engine, Enum) else engine
        named = name if isinstance(name, str) else type(name).__name__
        known = one_of(one.value for one in supported)
        super().__init__([Problem(f"engine={named}", f"there is no {what} for it: use {known}.")])


def listed(problems: Sequence[Problem]) -> str:
    """The problems as text for a person: one line if there is one, else a counted list."""
    if len(problems) == 1:
        return str(problems[0])
    lines = [f"The configuration has {len(problems)} problems:"]
    return "\n".join(lines + [f"  - {problem}" for problem in problems])


def one_of(allowed: Iterable[str]) -> str:
    """The allowed values, as words of a sentence: `a, b or c`."""
    names = list(allowed)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def unknown_key(where: str, known: Iterable[str]) -> Problem:
    """A key that nothing reads, with the known key that it resembles."""
    parent, _, name = where.rpartition(".")
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"{parent}.{close[0]}" if close and parent else close[0] if close else ""
    hint = f" Did you mean {meant}?" if meant else ""
    return Problem(where, f"there is no such key.{hint} Known here: {', '.join(names)}.")
