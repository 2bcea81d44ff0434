"""A step's `databricks_cluster_config`: what a user writes over our `new_cluster`, merged without
losing ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ascii_hydra.config.problems import Problem, unknown_key

# What is decided elsewhere, or not for a job cluster at all.
_OURS = {
    "spark_version": "is engine.spark_version, by which the request is checked.",
    "cluster_name": "is given to job clusters by Databricks.",
    "autotermination_minutes": "is not for job clusters, which end with their run.",
    "policy_id": "is engine.policy_id.",
}
# Each of these says how many workers there are; a user's takes the place of ours.
_COUNTS = ({"num_workers"}, {"autoscale"}, {"is_single_node"})
OUR_TAGS = ("project", "ascii_hydra/")


def merged_cluster(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`new_cluster` with a user's over it; neither is changed. Mappings are merged key by key, null
    takes a key away, anything else takes the place of ours."""
    made = _merged(ours, theirs)
    if any(way & set(theirs) for way in _COUNTS):
        for name in set().union(*_COUNTS) - set(theirs):
            made.pop(name, None)
    return made


def cluster_config_problems(
    where: str, theirs: Mapping[str, Any], known: tuple[str, ...]
) -> Iterator[Problem]:
    """What a user may not write over our `new_cluster`.

    Args:
        where: the configuration key.
        theirs: the user's.
        known: the names of a cluster's fields.
    """
    for key in theirs:
        if key not in known:
            yield unknown_key(f"{where}.{key}", known)
        elif key in _OURS:
            yield Problem(f"{where}.{key}", _OURS[key])
    tags = theirs.get("custom_tags")
    if "custom_tags" in theirs and not isinstance(tags, Mapping):
        yield Problem(f"{where}.custom_tags", "must be a mapping: by its tags a cluster is found.")
    for key in tags if isinstance(tags, Mapping) else ():
        if str(key).startswith(OUR_TAGS):
            yield Problem(f"{where}.custom_tags.{key}", "is a tag of ascii_hydra's own.")


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(ours)
    for key, value in theirs.items():
        known = made.get(key)
        if value is None:
            made.pop(key, None)
        elif isinstance(value, Mapping):
            made[key] = _merged(known if isinstance(known, Mapping) else {}, value)
        else:
            made[key] = _copied(value)
    return made


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(one) for one in value]
    return value
