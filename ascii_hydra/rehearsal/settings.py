"""The rehearsal's configuration as JSON, as it goes to the server's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.faults import impossible_fault
from ascii_hydra.config.schema import FaultRule, RehearsalConfig


def as_json(config: RehearsalConfig) -> dict[str, Any]:
    """The configuration in plain types."""
    return asdict(config)


def from_json(told: Mapping[str, Any]) -> RehearsalConfig:
    """The configuration of plain types; what is not told has its default. Raises ValueError."""
    values = dict(told)
    _known(values, RehearsalConfig, "rehearsal")
    values["faults"] = rules_from_json(values.get("faults", ()))
    config = RehearsalConfig(**values)
    _in_range(config, "rehearsal")
    return config


def rules_from_json(told: Sequence[Mapping[str, Any]]) -> tuple[FaultRule, ...]:
    """Fault rules of plain types. Raises ValueError."""
    rules = []
    for index, one in enumerate(told):
        at = f"faults[{index}]"
        _known(one, FaultRule, at)
        missing = {"target", "effect"} - set(one)
        if missing:
            raise ValueError(f"{at}: {', '.join(sorted(missing))} must be given")
        rules.append(FaultRule(**{**one, "effect": FaultEffect(one["effect"])}))
        _in_range(rules[-1], at)
        if (why := impossible_fault(rules[-1])) is not None:
            raise ValueError(f"{at}: {why}")
    return tuple(rules)


def _known(told: object, kind: type, at: str) -> None:
    if not isinstance(told, Mapping):
        raise ValueError(f"{at}: {told!r} is not an object")
    names = [field.name for field in fields(kind)]
    for name in told:
        if name not in names:
            raise ValueError(f"{at}.{name}: unknown; known are {', '.join(names)}")


def _in_range(value: RehearsalConfig | FaultRule, at: str) -> None:
    for field in fields(value):
        number = getattr(value, field.name)
        if "range" not in field.metadata or number is None:
            continue
        low, high = field.metadata["range"]
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"{at}.{field.name}={number!r}: must be a number")
        if not low <= number <= high:
            raise ValueError(f"{at}.{field.name}={number}: allowed are {low} to {high}")
