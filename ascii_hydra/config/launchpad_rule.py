"""Which overrides a run may have that was started in the launchpad of the UI.

The launchpad's overrides come over HTTP, and a run has the user's credentials. So they may choose
how much computing a step gets, not which program runs, with what, on which data, where. The rule is
a list of what is allowed, made from the schema, so that a key that is added later is refused until
somebody allows it:

* an option of a group of conf/ (`cluster=medium`, `+experiment=mine`);
* a key whose type is a number, a boolean or a closed choice, which can name neither code nor a
  place, unless its field is marked `launchpad: False`;
* a key whose field is marked `launchpad: True`; of those that hold anything at all (a step's
  parameters), numbers and booleans alone.

Everything else comes from whoever can edit configuration or types on the command line: `given`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType

from ascii_hydra.config.problems import Problem
from ascii_hydra.config.schema import Config
from ascii_hydra.config.settle import ENGINES

_SCALARS = (bool, int, float, Enum)
# Options of a group are files; a name with dots or slashes may lead out of conf/.
_OPTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_DEEP_KEY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VARIANTS: Mapping[str, Sequence[type]] = {
    "engine": [engine for engine, _ in ENGINES.values()],
    "cluster": [cluster for _, cluster in ENGINES.values()],
}


def refused_overrides(
    overrides: Sequence[str], given: Collection[str], conf: Path
) -> tuple[str, ...]:
    """The overrides that a run of the launchpad may not have.

    Args:
        overrides: of the run.
        given: overrides that whoever configures or types on the command line has given.
        conf: the folder of the configuration.

    Raises:
        hydra.errors.OverrideParseException: an override cannot be read.
    """
    parser = OverridesParser.create()
    return tuple(
        text
        for text, override in zip(overrides, parser.parse_overrides(list(overrides)), strict=True)
        if text not in given
        and not (_is_option(override, conf) or _is_allowed(override) or _is_misspelt(override))
    )


def launchpad_problem(refused: Sequence[str]) -> Problem:
    """What a person is told of refused overrides."""
    return Problem(
        ", ".join(dict.fromkeys(refused)),
        "cannot be chosen in the launchpad: its overrides set sizes, times, closed choices and"
        " options of conf/, but nothing that can name code, files, places or secrets, and no limit"
        " of costs. Set it in conf/local/default.yaml or ASCII_HYDRA_OVERRIDES and start the UI"
        " again (definitions of your own: in their SparkPipesClient), or run it once from the"
        " command line; then the launchpad takes the same override.",
    )


def _is_option(override: Override, conf: Path) -> bool:
    group, option = override.key_or_group, override.value()
    return (
        override.type in {OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD}
        and override.package is None
        and group != "hydra"
        and _OPTION.fullmatch(group) is not None
        and isinstance(option, str)
        and _OPTION.fullmatch(option) is not None
        and (conf / group / f"{option}.yaml").is_file()
    )


def _is_allowed(override: Override) -> bool:
    if override.type is OverrideType.DEL or override.package is not None:
        return False
    if override.is_sweep_override():
        return False
    fields = list(_fields(Config, override.key_or_group.split(".")))
    return bool(fields) and all(_takes(*one, override.value()) for one in fields)


def _is_misspelt(override: Override) -> bool:
    """Whether a key is none of the schema: composing refuses it, and says which one is meant."""
    key = override.key_or_group
    return (
        override.type is OverrideType.CHANGE
        and override.package is None
        and _DEEP_KEY.fullmatch(key) is not None
        and key.partition(".")[0] != "hydra"
        and not list(_fields(Config, key.split(".")))
    )


def _fields(schema: type, key: Sequence[str]) -> Iterator[tuple[Any, bool | None, bool]]:
    """What a key may mean, once for each engine that has it: the type of its field, how that is
    marked, and whether the key goes on below the field."""
    name, *below = key
    field = {one.name: one for one in dataclasses.fields(schema)}.get(name)
    if field is None:
        return
    hint = _required(get_type_hints(schema)[name])
    if below and get_origin(hint) is Mapping and dataclasses.is_dataclass(get_args(hint)[1]):
        hint, below = get_args(hint)[1], below[1:]
    if below and isinstance(hint, type) and dataclasses.is_dataclass(hint):
        variants: Sequence[type] = [hint]
        if schema is Config:
            variants = _VARIANTS.get(name, variants)
        for variant in variants:
            yield from _fields(variant, below)
        return
    yield hint, field.metadata.get("launchpad"), bool(below)


def _required(hint: Any) -> Any:
    """A type without None."""
    if NoneType in get_args(hint):
        return next(one for one in get_args(hint) if one is not NoneType)
    return hint


def _takes(hint: Any, marked: bool | None, below: bool, value: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, _SCALARS):
        # The schema refuses what is no such value; an interpolation is not known before.
        return marked is not False and not below and not _is_open(value)
    if not marked:
        return False
    if get_origin(hint) is Mapping:
        return below and _is_numeric(value)
    names = value if isinstance(value, list) else [value]
    return all(isinstance(one, str) and _NAME.fullmatch(one) for one in names)


def _is_open(value: Any) -> bool:
    return isinstance(value, dict | list) or "$" in str(value)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_numeric(one) for one in value.values())
    if isinstance(value, list):
        return all(_is_numeric(one) for one in value)
    return value is None or isinstance(value, bool | int | float)
