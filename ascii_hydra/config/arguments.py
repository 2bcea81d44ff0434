"""From what a person typed, and the environment, to the arguments that Hydra gets.

Hydra reads `--engine emr` as an unknown flag, refuses flags between overrides, and answers some
mistakes about the choice of an engine with an internal error. These are caught here, before it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from ascii_hydra.config.choices import ClusterSize
from ascii_hydra.config.problems import ConfigError, Problem, one_of
from ascii_hydra.step.choices import Engine, ExecutionMode

# Overrides for every start in this environment, as they would be typed.
OVERRIDES_VARIABLE = "ASCII_HYDRA_OVERRIDES"
# Older names for two choices.
_VARIABLES: Mapping[str, tuple[str, type[Enum]]] = {
    "SPARK_PIPES_ENGINE": ("engine", Engine),
    "SPARK_EXECUTION_MODE": ("mode", ExecutionMode),
}
_CHOICES: Mapping[str, type[Enum]] = {
    "engine": Engine,
    "mode": ExecutionMode,
    "cluster": ClusterSize,
}
# Hydra's own flags: those that take a value, and those that do not.
_VALUE_FLAGS = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
    "--config-dir", "-cd", "--experimental-rerun", "--info", "-i",
}  # fmt: skip
_PLAIN_FLAGS = {
    "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m",
    "--shell-completion", "-sc",
}  # fmt: skip
_INFO_TOPICS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}


def arguments(typed: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Hydra's arguments, flags first, and notices for the user.

    Overrides count in this order, the first being the strongest: typed, `ASCII_HYDRA_OVERRIDES`,
    `SPARK_PIPES_ENGINE` and `SPARK_EXECUTION_MODE`, the defaults of conf/config.yaml.

    Raises:
        ConfigError: what was typed, or a variable, can mean nothing; with all such places.
    """
    flags, overrides = _sorted(typed)
    problems = list(_argument_problems(overrides))
    from_environment, notices = environment_overrides(environ, overrides, problems)
    if problems:
        raise ConfigError(problems)
    return [*flags, *from_environment, *overrides], notices


def environment_overrides(
    environ: Mapping[str, str], stronger: Sequence[str], problems: list[Problem]
) -> tuple[list[str], list[str]]:
    """The overrides that the environment asks for, the weakest first, and notices.

    Args:
        environ: the environment.
        stronger: overrides that win; a variable whose key is among them is left out.
        problems: gets what is wrong with a variable.
    """
    try:
        general = shlex.split(environ.get(OVERRIDES_VARIABLE, ""))
    except ValueError as fault:
        problems.append(Problem(OVERRIDES_VARIABLE, f"cannot be split into overrides: {fault}."))
        general = []
    taken = {override_key(one) for one in [*general, *stronger]}
    chosen, notices = [], []
    for variable, (key, choices) in _VARIABLES.items():
        value = environ.get(variable)
        if not value:
            continue
        allowed = [choice.value for choice in choices]
        if value not in allowed:
            problems.append(
                Problem(f"{variable}={value}", f"is not known. Set it to {one_of(allowed)}.")
            )
        elif "experiment" in taken:
            notices.append(f"{variable}={value} is ignored: the experiment chooses the {key}.")
        elif key not in taken:
            chosen.append(f"{key}={value}")
    return [*chosen, *general], notices


def override_key(override: str) -> str:
    """The key that an override sets, without the signs that add or delete."""
    return override.partition("=")[0].lstrip("+~")


def _sorted(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """What was typed, as flags with their values, and the rest."""
    flags: list[str] = []
    rest: list[str] = []
    words = iter(typed)
    for word in words:
        name = word.partition("=")[0]
        if name in _VALUE_FLAGS:
            flags.append(word)
            # `--info` may stand alone; every other one of these needs its value.
            if "=" not in word:
                value = next(words, None)
                if value is None:
                    continue
                optional = name in {"--info", "-i"} and value not in _INFO_TOPICS
                (rest if optional else flags).append(value)
        elif word in _PLAIN_FLAGS:
            flags.append(word)
        else:
            rest.append(word)
    return flags, rest


def _argument_problems(overrides: Sequence[str]) -> Iterator[Problem]:
    words = iter(overrides)
    for one in words:
        key, equal, value = one.partition("=")
        name = override_key(one)
        if one.startswith("-"):
            meant = value if equal else next(words, "VALUE")
            yield Problem(one, f"options have no dashes here: write {key.lstrip('-')}={meant}.")
        elif not equal and re.fullmatch(r"[\w.]+:[\w./-]+", one):
            yield Problem(one, f"write {one.replace(':', '=', 1)}.")
        elif not equal and not one.startswith("~"):
            what = f"write action={one}." if one in {"run", "plan"} else "write NAME=VALUE."
            yield Problem(one, f"is no override; {what}")
        elif name in _CHOICES:
            allowed = one_of(choice.value for choice in _CHOICES[name])
            if key.startswith("+"):
                yield Problem(one, f"{name} has a value already: write {name}={value}.")
            elif one.startswith("~") or value in {"null", ""}:
                yield Problem(one, f"{name} is required: {allowed}.")
            elif value.startswith("["):
                several = value.strip("[]").replace(" ", "")
                yield Problem(one, f"one {name} a run; to compare several use -m {name}={several}.")
