"""Everything by which plain data breaks the Databricks API's own types.

The SDK sends a mapping unchanged and unchecked. Its types, generated from Databricks' description
of the API, know names, types and closed choices; by them requests are checked here, offline.
"""

from __future__ import annotations

import inspect
import keyword
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any, Union, get_args, get_origin, get_type_hints

_WORDS: Mapping[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}
_SHOWN = 60
_MANY = 12


def model_problems(kind: str, value: object) -> list[str]:
    """Everything by which a request breaks one of the SDK's types.

    Each line names the field (`tasks[0].new_cluster.num_workers`), what is wrong and what is
    allowed. A null stands for a field that is left out, as everywhere in the API.

    Args:
        kind: one of the SDK's types, or a method whose arguments are the request's fields, as it
            is named below `databricks.sdk.service`: `compute.ClusterSpec`, `jobs.JobsAPI.submit`.
        value: the request, in plain types.

    Raises:
        LookupError: the SDK has no such type or method.
    """
    return list(_value_problems(_type_of(kind), value, ""))


def field_names(kind: str) -> tuple[str, ...]:
    """The names of the fields of a type or method; see `model_problems`."""
    return tuple(_fields(_type_of(kind)))


@cache
def _type_of(kind: str) -> Any:
    module, *names = kind.split(".")
    try:
        found: Any = import_module(f"databricks.sdk.service.{module}")
        for name in names:
            found = getattr(found, name)
    except (ImportError, AttributeError) as fault:
        raise LookupError(f"databricks.sdk.service has no {kind}") from fault
    if not names or not (is_dataclass(found) or inspect.isfunction(found)):
        raise LookupError(f"databricks.sdk.service.{kind} is neither a type nor a method")
    return found


@cache
def _fields(of: Any) -> Mapping[str, tuple[Any, bool]]:
    """Type and necessity of each field of a type, or of each argument of a method."""
    hints = get_type_hints(of)
    if is_dataclass(of):
        return {
            _sent_name(one.name): (
                hints[one.name],
                one.default is MISSING and one.default_factory is MISSING,
            )
            for one in fields(of)
        }
    # An argument without a type is the SDK's own, such as how long it shall wait.
    return {
        _sent_name(name): (hints[name], one.default is inspect.Parameter.empty)
        for name, one in inspect.signature(of).parameters.items()
        if name in hints
    }


def _sent_name(name: str) -> str:
    """`global` of `global_`, which the SDK has to write so."""
    bare = name.removesuffix("_")
    return bare if keyword.iskeyword(bare) else name


def _value_problems(kind: Any, value: object, at: str) -> Iterator[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kinds = [one for one in inner if one is not types.NoneType]
        if value is not None or len(kinds) == len(inner):
            yield from _value_problems(kinds[0], value, at)
    elif origin is list:
        yield from _list_problems(inner[0], value, at)
    elif origin is dict:
        yield from _mapping_problems(inner[1], value, at)
    elif is_dataclass(kind) or inspect.isfunction(kind):
        yield from _field_problems(kind, value, at)
    elif inspect.isclass(kind) and issubclass(kind, Enum):
        yield from _choice_problems(kind, value, at)
    elif kind in _WORDS:
        # For Python, True is a number.
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            yield _misfit(kind, value, at)


def _list_problems(kind: Any, value: object, at: str) -> Iterator[str]:
    if not isinstance(value, (list, tuple)):
        yield _misfit(list, value, at)
        return
    for number, one in enumerate(value):
        yield from _value_problems(kind, one, f"{at}[{number}]")


def _mapping_problems(kind: Any, value: object, at: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(dict, value, at)
        return
    for key, one in value.items():
        if not isinstance(key, str):
            yield f"{_place(at)}: {_shown(key)} is no text, as a key must be"
        yield from _value_problems(kind, one, f"{at}.{key}" if at else str(key))


def _field_problems(of: Any, value: object, at: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(dict, value, at)
        return
    known = _fields(of)
    prefix = f"{at}." if at else ""
    for name, (_, needed) in known.items():
        if needed and value.get(name) is None:
            yield f"{prefix}{name}: is missing"
    for name, one in value.items():
        if name in known:
            kind, needed = known[name]
            if one is not None or not needed:
                yield from _value_problems(kind, one, f"{prefix}{name}")
            continue
        near = get_close_matches(str(name), known, n=1)
        # A short list is told whole; of a long one the nearest is more use.
        hint = f"; did you mean {near[0]}?" if near else ""
        if not near and len(known) <= _MANY:
            hint = f"; known are {', '.join(known)}"
        yield f"{prefix}{name}: there is no such field{hint}"


def _choice_problems(kind: type[Enum], value: object, at: str) -> Iterator[str]:
    allowed = [str(one.value) for one in kind]
    if value not in allowed:
        yield f"{_place(at)}: {_shown(value)} is none of {', '.join(allowed)}"


def _misfit(kind: object, value: object, at: str) -> str:
    return f"{_place(at)}: {_shown(value)} is not {_WORDS[kind]}"


def _place(at: str) -> str:
    return at or "the request"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
