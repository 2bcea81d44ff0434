"""Which releases EMR has, and which instance types each of them takes: from dumps in moto."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def release_labels(region: str) -> tuple[str, ...]:
    """The labels of a region, newest first; of a region that was not dumped those of us-east-1."""
    name = f"release-labels-{region}.json.gz"
    found = _resource(name)
    return tuple(_resource("release-labels-us-east-1.json.gz") if found is None else found)


@cache
def supported_instance_types(release_label: str) -> Mapping[str, Mapping[str, Any]]:
    """What ListSupportedInstanceTypes tells of a release, by the type's name."""
    names = set(_resource(f"instance-types-{release_label}.json.gz") or ())
    details = _resource("instance_types.json.gz") or {}
    return {name: details[name] for name in sorted(names & set(details))}


def architecture(instance_type: str) -> str | None:
    """X86_64 or AARCH64; None for a type that is not known."""
    details = (_resource("instance_types.json.gz") or {}).get(instance_type)
    return None if details is None else details["Architecture"]


@cache
def _resource(name: str) -> Any:
    # moto's code for EMR is not needed, and importing it would take a second.
    spec = find_spec("moto")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "emr", "resources", name)
    if not path.exists():
        return None
    with gzip.open(path) as file:
        return json.load(file)
