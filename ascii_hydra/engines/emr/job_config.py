"""A step's `emr_job_config`: what a user writes over our RunJobFlow, merged without losing ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ascii_hydra.config.problems import Problem, unknown_key

# By these a cluster is found again, named and ended; a user's value would break that.
_OURS = {
    "Name": "names the step and is how a lost cluster is found again.",
    "Steps": "is the step itself; write what else is to be done as a step of the pipeline.",
    "ReleaseLabel": "is engine.release_label, by which the request is checked.",
    "Instances.KeepJobFlowAliveWhenNoSteps": "decides when a cluster ends; see"
    " launch.reuse_cluster.",
    "Instances.TerminationProtected": "would keep a cluster from being ended.",
    "StepConcurrencyLevel": "is engine.step_concurrency.",
}
OUR_TAGS = ("project", "ascii_hydra/")
# Each of these says which instances there are; a user's takes the place of ours.
_COLLECTIONS = (
    {"InstanceFleets"},
    {"InstanceGroups"},
    {"MasterInstanceType", "SlaveInstanceType", "InstanceCount"},
)
_SUBNETS = ({"Ec2SubnetIds"}, {"Ec2SubnetId"})


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """RunJobFlow's arguments with a user's over them; neither is changed.

    Mappings are merged key by key. `Configurations` are merged by their classification, `Tags` by
    their key, `Applications` by their name; `BootstrapActions` are run after ours. Any other list
    takes the place of ours, and so do other ways to name instances and subnets.
    """
    made = _merged(ours, theirs)
    asked = theirs.get("Instances")
    if isinstance(asked, Mapping) and isinstance(made.get("Instances"), dict):
        for ways in (_COLLECTIONS, _SUBNETS):
            if any(way & set(asked) for way in ways):
                for name in set().union(*ways) - set(asked):
                    made["Instances"].pop(name, None)
    return made


def merged_configurations(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """EMR configuration classifications, one of each; of a property that both have, theirs. Values
    are spelled as Hadoop and Spark spell them: EMR takes texts alone."""
    made: dict[str, dict[str, Any]] = {}
    for one in (*ours, *theirs):
        name = str(one.get("Classification", ""))
        known = made.setdefault(name, {"Classification": name})
        for key, value in one.items():
            if key == "Properties" and isinstance(value, Mapping):
                texts = {name: _as_text(one) for name, one in value.items()}
                known[key] = {**known.get(key, {}), **texts}
            elif key == "Configurations" and isinstance(value, (list, tuple)):
                known[key] = merged_configurations(known.get(key, ()), value)
            else:
                known[key] = value
    return list(made.values())


def job_config_problems(
    where: str, theirs: Mapping[str, Any], known: Sequence[str]
) -> Iterator[Problem]:
    """What a user may not write over our RunJobFlow.

    Args:
        where: the configuration key.
        theirs: the user's.
        known: the names of RunJobFlow's arguments.
    """
    for key, value in theirs.items():
        at = f"{where}.{key}"
        if key not in known:
            yield unknown_key(at, known)
        inside = value if isinstance(value, Mapping) else {}
        for name in (key, *(f"{key}.{one}" for one in inside)):
            if name in _OURS:
                yield Problem(f"{where}.{name}", _OURS[name])
    for list_name, named in (("Configurations", "Classification"), ("Tags", "Key")):
        for number, one in enumerate(_listed(theirs, list_name)):
            if not isinstance(one, Mapping) or not isinstance(one.get(named), str):
                yield Problem(f"{where}.{list_name}[{number}]", f"needs {named}.")
            elif not isinstance(one.get("Properties") or {}, Mapping):
                yield Problem(f"{where}.{list_name}[{number}].Properties", "must be a mapping.")
    for number, one in enumerate(_listed(theirs, "Tags")):
        tag = one.get("Key") if isinstance(one, Mapping) else None
        if isinstance(tag, str) and tag.startswith(OUR_TAGS):
            yield Problem(f"{where}.Tags[{number}]", f"{tag} is a tag of ascii_hydra's own.")


def _listed(value: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = value.get(key)
    return found if isinstance(found, (list, tuple)) else ()


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: _copied(value) for key, value in ours.items()}
    for key, value in theirs.items():
        known = made.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            made[key] = _merged(known, value)
        elif isinstance(known, list) and isinstance(value, (list, tuple)):
            made[key] = _merged_list(key, known, value)
        else:
            made[key] = _copied(value)
    return made


def _merged_list(key: str, ours: list[Any], theirs: Sequence[Any]) -> list[Any]:
    copied = [_copied(one) for one in theirs]
    named = {"Tags": "Key", "Applications": "Name"}.get(key)
    if not all(isinstance(one, Mapping) for one in copied):
        return copied
    if key == "Configurations":
        return merged_configurations(ours, copied)
    if named is not None:
        by_name = {one.get(named): one for one in (*ours, *copied)}
        return list(by_name.values())
    return [*ours, *copied] if key == "BootstrapActions" else copied


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(one) for one in value]
    return value
