"""Hydra's and OmegaConf's own errors, said so that a person knows what to do."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from ascii_hydra.config.cluster_schema import ClusterConfig, EbsVolumes, InstanceFilters
from ascii_hydra.config.engine_schema import EngineConfig
from ascii_hydra.config.problems import ConfigError, Problem, one_of, unknown_key
from ascii_hydra.config.schema import Config
from ascii_hydra.config.settle import ENGINES, sizes
from ascii_hydra.step.choices import Engine

USER_ERRORS = (ConfigError, HydraException, OmegaConfBaseException, MarkedYAMLError)
"""What a user's mistake raises; anything else is a fault of ours and keeps its traceback."""


def explained(fault: BaseException, conf: Path) -> str:
    """The text for a user whose configuration could not be composed or settled.

    Args:
        fault: one of USER_ERRORS.
        conf: the folder of the configuration, to look up what it offers.
    """
    if isinstance(fault, ConfigError):
        return str(fault)
    if isinstance(fault, MarkedYAMLError):
        return _yaml(fault)
    text = str(fault)
    cause = str(fault.__cause__) if fault.__cause__ is not None else ""
    said = (
        _unknown_option(text)
        or _unknown_override(text, conf)
        or _other_engine(text, cause)
        or _unknown_deep_key(text, cause)
        or _missing_size(text, conf)
        or _missing_plugin(text)
        or _unreadable(fault)
    )
    return said or "\n".join(dict.fromkeys([text, *_useful(cause)]))


def _yaml(fault: MarkedYAMLError) -> str:
    mark = fault.problem_mark
    where = f"{mark.name.strip()}:{mark.line + 1}" if mark else "YAML"
    return str(Problem(where, f"{fault.problem or fault}."))


def _useful(cause: str) -> Sequence[str]:
    return [line for line in cause.splitlines() if "object_type" not in line and line.strip()]


def _unknown_option(text: str) -> str | None:
    """`Could not find 'mode/fulll'`, with the options in one line and the one that was meant."""
    found = re.search(
        r"Could not find '([\w/]+)/(\w+)'\s+Available options in '[\w/]+':((?:\n\t\S+)+)", text
    )
    if found is None or found[1].startswith("hydra/"):
        return None
    group, name, options = found[1], found[2], found[3].split()
    close = difflib.get_close_matches(name, options, n=1)
    meant = f" Did you mean {group}={close[0]}?" if close else ""
    what = f"could not find '{group}/{name}'.{meant} Available options: {', '.join(options)}."
    return str(Problem(f"{group}={name}", what))


def _unknown_override(text: str, conf: Path) -> str | None:
    """`Could not override 'enigne'`: Hydra offers to add the key, which is never meant."""
    found = re.search(r"Could not override '([^']+)'", text)
    if found is None or "." in found[1]:
        return None
    return str(unknown_key(found[1], {*_keys(Config), *_groups(conf)}))


def _other_engine(text: str, cause: str) -> str | None:
    """A key of one engine's, given to another: in a sweep the user may not even see which."""
    found = re.search(r"Could not override '((engine|cluster)\.([^'.]+))[^']*'", text)
    if found is None:
        return None
    where, node, key = found[1], found[2], found[3]
    index = 0 if node == "engine" else 1
    owners = [engine.value for engine, types in ENGINES.items() if key in _keys(types[index])]
    inside = re.search(r"Key '([^']+)' not in '(\w+)'", cause)
    blocks = [one for one in (InstanceFilters, EbsVolumes) if inside and one.__name__ == inside[2]]
    if inside and blocks:
        return str(unknown_key(f"{node}.{key}.{inside[1]}", _keys(blocks[0])))
    if owners:
        common = ", ".join(sorted(_keys((EngineConfig, ClusterConfig)[index])))
        return str(
            Problem(
                where,
                f"only engine={one_of(owners)} has this key, so it cannot be set for another"
                f" engine. Keys that every engine has: {common}.",
            )
        )
    struct = re.search(r"Key '[^']+' not in '(\w+?)(Engine|Cluster)'", cause)
    asked = [one for one in Engine if struct and struct[1].lower() == one.value]
    known = {name for one in asked or Engine for name in _keys(ENGINES[one][index])}
    return str(unknown_key(where, known))


def _unknown_deep_key(text: str, cause: str) -> str | None:
    """`Could not override 'prices.discounts.ec2'`, as `_unknown_override`."""
    found = re.search(r"Could not override '([^']+)'", text)
    inside = re.search(r"Key '[^']+' not in '(\w+)'", cause)
    schema = _schemas(Config).get(inside[1]) if inside else None
    return str(unknown_key(found[1], _keys(schema))) if found and schema else None


def _schemas(schema: type) -> dict[str, type]:
    """The schema and those of its fields, by their names."""
    found = {schema.__name__: schema}
    for hint in get_type_hints(schema).values():
        for one in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(one) and isinstance(one, type):
                found |= _schemas(one)
    return found


def _missing_size(text: str, conf: Path) -> str | None:
    found = re.search(r"Could not (?:load|find) 'cluster/(\w+)/(\w+)'", text)
    if found is None or found[1] not in Engine.__members__:
        return None
    known = one_of(sizes(conf, Engine[found[1]]))
    return str(
        Problem(
            f"cluster={found[2]}",
            f"engine={found[1]} has no cluster of this size; it has {known}."
            f" A size of your own needs the file cluster/{found[1]}/{found[2]}.yaml.",
        )
    )


def _missing_plugin(text: str) -> str | None:
    found = re.search(r"Could not find 'hydra/(launcher|sweeper)/(\w+)'", text)
    if found is None:
        return None
    return (
        f"{text}\nIf it is a plugin of Hydra's, install it: pip install hydra-{found[2]}-{found[1]}"
    )


# Hydra's grammar takes no others in a mapping.
_QUOTED_KEY = re.compile(r"""["']([^"':{}\[\],]+)["']\s*:""")


def _unreadable(fault: BaseException) -> str | None:
    """A value that Hydra's grammar cannot read, most often one with brackets or braces."""
    if not isinstance(fault, OverrideParseException):
        return None
    key, _, value = fault.override.partition("=")
    plain = _QUOTED_KEY.sub(r"\1:", value)
    if plain != value:
        shown = f"'{key}={plain}'"
        return str(Problem(fault.override, f"cannot be read; keys stand without quotes: {shown}."))
    quoted = f"""'{key}="{value}"'"""
    return str(Problem(fault.override, f"cannot be read; quote the value: {quoted}."))


def _keys(schema: type) -> set[str]:
    return {one.name for one in dataclasses.fields(schema)}


def _groups(conf: Path) -> set[str]:
    return {folder.name for folder in conf.iterdir() if folder.is_dir()}
