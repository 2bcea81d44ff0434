"""From OmegaConf's nodes to plain values, and from plain values to frozen dataclasses.

Nothing is raised: what is wrong is added to a list of problems, so that all of it is said at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ascii_hydra.config.problems import Problem, unknown_key

_T = TypeVar("_T")


def plain_values(node: Any, where: str, problems: list[Problem]) -> Any:
    """The node's values with interpolations resolved. One that cannot be resolved is a problem."""
    if isinstance(node, DictConfig):
        keys: Sequence[Any] = list(node.keys()) if not node._is_none() else []
        if node._is_none():
            return None
    elif isinstance(node, ListConfig):
        if node._is_none():
            return None
        keys = range(len(node))
    else:
        return node
    found: dict[Any, Any] = {}
    for key in keys:
        at = f"{where}.{key}" if where else str(key)
        if OmegaConf.is_missing(node, key):
            found[key] = "???"
            continue
        try:
            found[key] = plain_values(node[key], at, problems)
        except OmegaConfBaseException as fault:
            missing = re.search("Environment variable '(.+?)' not found", str(fault))
            reason = f"needs the environment variable {missing[1]}" if missing else str(fault)
            problems.append(Problem(at, reason.splitlines()[0].rstrip(".") + "."))
            found[key] = "???"
    return found if isinstance(node, DictConfig) else list(found.values())


def frozen(
    cls: type[_T], value: Any, where: str, problems: list[Problem], **narrower: type
) -> _T | None:
    """An instance of a schema dataclass, or None where its values do not make one.

    `narrower` gives fields a subclass of their declared type.
    """
    hints = {**get_type_hints(cls), **narrower}
    fields = {one.name: one for one in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(value, dict):
        problems.append(Problem(where, f"must be a block of {', '.join(fields)}."))
        return None
    problems += [
        unknown_key(f"{where}.{key}" if where else str(key), fields)
        for key in value
        if key not in fields
    ]
    before = len(problems)
    made = {}
    for name, one in fields.items():
        at = f"{where}.{name}" if where else name
        if name not in value or value[name] == "???":
            if not any(problem.where == at for problem in problems):
                problems.append(Problem(at, "is required."))
            continue
        made[name] = _value(hints[name], value[name], at, problems)
        limits = one.metadata.get("range")
        if limits and made[name] is not None and not limits[0] <= made[name] <= limits[1]:
            low, high = (format(limit, ",.10g") for limit in limits)
            problems.append(Problem(f"{at}={made[name]:g}", f"must be from {low} to {high}."))
    return cls(**made) if len(problems) == before else None


def _value(hint: Any, value: Any, where: str, problems: list[Problem]) -> Any:
    if value is None:
        return None
    if NoneType in get_args(hint):
        hint = next(one for one in get_args(hint) if one is not NoneType)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple(_value(args[0], one, f"{where}[{i}]", problems) for i, one in enumerate(value))
    if origin is Mapping:
        return {
            str(key): _value(args[1], one, f"{where}.{key}", problems) for key, one in value.items()
        }
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return frozen(hint, value, where, problems)
    return value


def as_data(value: Any) -> Any:
    """Settings as plain data for YAML and JSON: dicts, lists, numbers and strings."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {one.name: as_data(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_data(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_data(one) for one in value]
    return value
