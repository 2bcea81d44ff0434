"""Everything by which a request to an AWS service breaks that service's model.

botocore checks names, types and lower limits before it sends a request. Its models know more that
AWS itself refuses: closed choices, upper limits and patterns. All is checked here, offline.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.model import ServiceModel, Shape

_TYPES: Mapping[str, tuple[type, ...]] = {
    "structure": (dict, Mapping),
    "map": (dict, Mapping),
    "list": (list, tuple),
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "blob": (bytes, bytearray, str),
    # A service gets the number, who calls it may write the others.
    "timestamp": (int, float, str, datetime.datetime),
}
_WORDS = {"structure": "a mapping", "map": "a mapping", "list": "a list", "string": "a text"}
_WORDS |= {"boolean": "true or false", "integer": "a whole number", "long": "a whole number"}
_WORDS |= {"float": "a number", "double": "a number", "timestamp": "a time", "blob": "bytes"}
# What models write for all characters beyond the first 65,536 are pairs of UTF-16, in one of two
# spellings; Python has one character for each pair.
_PAIRS = re.compile(r"\\uD800\\uD[BC]\w\w-\\uD[BC]\w\w\\uDFFF")
_SHOWN = 60


def model_problems(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    """Everything by which the arguments of an operation break the service's model.

    Each line names the member (`Instances.InstanceFleets[0].Name`), what is wrong and what is
    allowed. A pattern that Python cannot read is passed over; EMR has none.

    Args:
        service: as boto3 names it: `emr`.
        operation: as the API names it: `RunJobFlow`.
        params: the arguments, as boto3's method takes them.

    Raises:
        botocore.exceptions.UnknownServiceError: there is no such service.
        botocore.model.OperationNotFoundError: it has no such operation.
    """
    shape = service_model(service).operation_model(operation).input_shape
    if shape is None:
        return [f"{name}: {operation} takes no arguments" for name in params]
    return list(_problems(shape, params, ""))


def reply_problems(service: str, operation: str, reply: Mapping[str, Any]) -> list[str]:
    """Everything by which what a service answered breaks its model; raises as `model_problems`."""
    shape = service_model(service).operation_model(operation).output_shape
    if shape is None:
        return [f"{name}: {operation} answers nothing" for name in reply]
    return list(_problems(shape, reply, ""))


@cache
def service_model(service: str) -> ServiceModel:
    """A service as botocore describes it. Raises botocore.exceptions.UnknownServiceError."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _problems(shape: Shape, value: Any, at: str) -> Iterator[str]:
    kind = shape.type_name
    if not _fits(value, kind):
        yield f"{at or 'the request'}: {_shown(value)} is not {_WORDS.get(kind, kind)}"
    elif kind == "structure":
        yield from _member_problems(shape, value, at)
    elif kind == "map":
        yield from _limit_problems(shape, len(value), at, "entries")
        for key, one in value.items():
            yield from _problems(shape.key, key, f"{at} (key {_shown(key)})")
            yield from _problems(shape.value, one, f"{at}.{key}")
    elif kind == "list":
        yield from _limit_problems(shape, len(value), at, "entries")
        for index, one in enumerate(value):
            yield from _problems(shape.member, one, f"{at}[{index}]")
    elif kind == "string":
        yield from _text_problems(shape, value, at)
    elif kind in ("integer", "long", "float", "double"):
        yield from _limit_problems(shape, value, at)


def _fits(value: object, kind: str) -> bool:
    # For Python, True is a number.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _member_problems(shape: Shape, value: Mapping[str, Any], at: str) -> Iterator[str]:
    prefix = f"{at}." if at else ""
    for name in shape.required_members:
        if name not in value:
            yield f"{prefix}{name}: is missing"
    for name, one in value.items():
        if name in shape.members:
            yield from _problems(shape.members[name], one, f"{prefix}{name}")
            continue
        near = get_close_matches(str(name), shape.members, n=1)
        # A short list is told whole; of a long one the nearest is more use.
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(shape.members)}"
        yield f"{prefix}{name}: there is no such member; {hint}"
    if shape.is_tagged_union and len(value) != 1:
        yield f"{at or 'the request'}: exactly one of {', '.join(shape.members)} is allowed"


def _text_problems(shape: Shape, value: str, at: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{at}: {_shown(value)} is none of {', '.join(shape.enum)}"
        return
    yield from _limit_problems(shape, len(value), at, "characters")
    pattern = _pattern(shape.metadata.get("pattern"))
    if pattern is not None and pattern.fullmatch(value) is None:
        yield f"{at}: {_shown(value)} does not match {shape.metadata['pattern']}"


def _limit_problems(shape: Shape, number: float, at: str, unit: str = "") -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is None or number >= low) and (high is None or number <= high):
        return
    if low is None:
        allowed = f"at most {high}"
    else:
        allowed = f"at least {low}" if high is None else f"{low} to {high}"
    words = f" {unit}" if unit else ""
    yield f"{at}: {number}{words}, allowed are {allowed}"


@cache
def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(_PAIRS.sub(r"\\U00010000-\\U0010FFFF", text), re.ASCII)
    except re.error:
        return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
