"""The rules of EMR that its service model does not have. Its words, where they are known.

Known from reports of people who met them: those about roles, release labels, instance types that
are not supported, steps of a cluster that has ended, too many steps, termination protection. The
others are ours. Limits: AWS's API reference of RunJobFlow, AddJobFlowSteps, AutoTerminationPolicy
and InstanceFleetConfig.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ascii_hydra.aws.model import model_problems
from ascii_hydra.rehearsal.emr_errors import ApiError, invalid
from ascii_hydra.rehearsal.emr_instances import Collection, collections
from ascii_hydra.rehearsal.emr_releases import (
    architecture,
    release_labels,
    supported_instance_types,
)

MOST_ACTIVE_STEPS = 256
MOST_STEP_CHARACTERS = 10_240
MOST_STEP_IDS = 10
MOST_TERMINATED_AT_ONCE = 10
_MOST_TYPES, _MOST_TYPES_WITH_STRATEGY = 5, 30
_MOST_BOOTSTRAP_ACTIONS = 16
_MOST_TAGS, _MOST_TAG_KEY, _MOST_TAG_VALUE = 50, 128, 256
_IDLE_TIMEOUT_S = (60, 604_800)
_CONCURRENCY = (1, 256)
_PROFILE = re.compile(r"[\w+=,.@/:-]+")


def check_model(operation: str, params: Mapping[str, Any]) -> None:
    """Raises ApiError if the request breaks the service's model."""
    problems = model_problems("emr", operation, params)
    if problems:
        errors = "error" if len(problems) == 1 else "errors"
        raise invalid(f"{len(problems)} validation {errors} detected: {'; '.join(problems)}")


def check_run_job_flow(params: Mapping[str, Any], region: str) -> None:
    """Raises ApiError for the first rule that the request breaks."""
    for problem in _flow_problems(params, region):
        raise invalid(problem)
    check_concurrency(params.get("StepConcurrencyLevel", 1))
    check_steps(
        params.get("Steps", ()), active=0, concurrency=params.get("StepConcurrencyLevel", 1)
    )
    check_idle_timeout(params.get("AutoTerminationPolicy", {}))
    check_scaling(params.get("ManagedScalingPolicy"))


def check_steps(steps: Sequence[Mapping[str, Any]], *, active: int, concurrency: int) -> None:
    """Raises ApiError if these steps cannot be added to so many active ones."""
    if active + len(steps) > MOST_ACTIVE_STEPS:
        raise invalid(
            "Maximum number of active steps (State = 'Running', 'Pending' or 'Cancel_Pending')"
            " for cluster exceeded."
        )
    for step in steps:
        size = sum(len(text) for text in _strings(step["HadoopJarStep"]))
        if size > MOST_STEP_CHARACTERS:
            raise invalid(
                f"The string values of HadoopJarStep of the step {step['Name']!r} have {size}"
                f" characters, which exceeds the total of {MOST_STEP_CHARACTERS}."
            )
        action = step.get("ActionOnFailure", "TERMINATE_JOB_FLOW")
        if concurrency > 1 and action != "CONTINUE":
            raise invalid(
                f"The ActionOnFailure {action} is not valid for a cluster whose"
                " StepConcurrencyLevel is greater than 1: use CONTINUE."
            )


def check_concurrency(level: int) -> None:
    """Raises ApiError for a StepConcurrencyLevel out of range."""
    low, high = _CONCURRENCY
    if not low <= level <= high:
        raise invalid(f"StepConcurrencyLevel must be between {low} and {high}, but is {level}.")


def check_idle_timeout(policy: Mapping[str, Any]) -> None:
    """Raises ApiError for an IdleTimeout out of range."""
    low, high = _IDLE_TIMEOUT_S
    idle = policy.get("IdleTimeout", low)
    if not low <= idle <= high:
        raise invalid(f"IdleTimeout must be between {low} and {high} seconds, but is {idle}.")


def check_scaling(policy: Mapping[str, Any] | None) -> None:
    """Raises ApiError for a managed scaling policy whose limits do not fit together."""
    if policy is None:
        return
    limits = policy.get("ComputeLimits")
    if limits is None:
        raise invalid("ComputeLimits must be specified in a managed scaling policy.")
    low, high = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    if low < 1 or high < low:
        raise invalid(
            f"MinimumCapacityUnits ({low}) must be at least 1 and not more than"
            f" MaximumCapacityUnits ({high})."
        )
    for name, least in (("MaximumOnDemandCapacityUnits", 0), ("MaximumCoreCapacityUnits", 1)):
        if not least <= limits.get(name, high) <= high:
            raise invalid(f"{name} ({limits[name]}) must be between {least} and {high}.")


def not_there(role: str) -> ApiError:
    """A role that must be given."""
    return invalid(f"{role} is required for creating cluster.")


def _flow_problems(params: Mapping[str, Any], region: str) -> Iterator[str]:
    instances = params["Instances"]
    label = params.get("ReleaseLabel")
    if label is None:
        yield "ReleaseLabel must be specified."
    elif label not in release_labels(region):
        yield f"The supplied release label is invalid: {label}."
    if not params.get("JobFlowRole"):
        yield not_there("InstanceProfile").message
    elif not _PROFILE.fullmatch(params["JobFlowRole"]):
        yield f"Invalid InstanceProfile: {params['JobFlowRole']}."
    if not params.get("ServiceRole"):
        yield not_there("ServiceRole").message
    log_uri = params.get("LogUri")
    if log_uri is not None and not re.match(r"s3[an]?://[^/]+", log_uri):
        yield f"LogUri {log_uri!r} is not a valid S3 path."
    yield from _collection_problems(instances)
    asked = collections(instances) if _has_instances(instances) else []
    yield from _type_problems(asked, label or "")
    yield from _network_problems(instances)
    if len(params.get("BootstrapActions", ())) > _MOST_BOOTSTRAP_ACTIONS:
        yield f"No more than {_MOST_BOOTSTRAP_ACTIONS} bootstrap actions are allowed."
    yield from _tag_problems(params.get("Tags", ()))


def _has_instances(instances: Mapping[str, Any]) -> bool:
    return any(
        instances.get(one) for one in ("InstanceFleets", "InstanceGroups", "MasterInstanceType")
    )


def _collection_problems(instances: Mapping[str, Any]) -> Iterator[str]:
    if instances.get("InstanceFleets") and (
        instances.get("InstanceGroups") or instances.get("MasterInstanceType")
    ):
        yield "Specify either instance groups or instance fleets, but not both."
        return
    if not _has_instances(instances):
        yield "Instances must have a master: InstanceGroups, InstanceFleets or MasterInstanceType."
        return
    asked = collections(instances)
    for role in ("MASTER", "CORE"):
        count = sum(one.role == role for one in asked)
        if count > 1 or (role == "MASTER" and count == 0):
            yield f"Exactly one {role} instance {_kind(asked)} must be specified, not {count}."
    for one in asked:
        units = sum(units for _, units in one.wanted())
        if one.role == "MASTER" and units not in (1, 3):
            yield f"The MASTER instance {_kind(asked)} must have a capacity of 1 or 3, not {units}."
        if one.role == "CORE" and units < 1:
            yield f"The CORE instance {_kind(asked)} must have a capacity of at least 1."
        if one.role == "TASK" and one.is_fleet and units < 1:
            yield "The TASK instance fleet must have a capacity of at least 1."


def _kind(asked: Sequence[Collection]) -> str:
    return "fleet" if asked[0].is_fleet else "group"


def _type_problems(asked: Sequence[Collection], label: str) -> Iterator[str]:
    supported = supported_instance_types(label)
    found: dict[str, str] = {}
    for one in asked:
        types = [config["InstanceType"] for config in one.types]
        if not types:
            yield f"The {one.role} instance fleet must have at least one instance type."
        if len(set(types)) < len(types):
            yield f"The instance types of the {one.role} instance fleet must differ."
        for name in types:
            if name not in supported:
                yield f"Instance type '{name}' is not supported."
            found.setdefault(architecture(name) or "", name)
        specifications = one.asked.get("LaunchSpecifications", {})
        strategic = any("AllocationStrategy" in spec for spec in specifications.values())
        most = _MOST_TYPES_WITH_STRATEGY if strategic else _MOST_TYPES
        if len(types) > most:
            how = "with" if strategic else "without"
            yield (
                f"The {one.role} instance fleet has {len(types)} instance types; at most {most}"
                f" are allowed {how} an allocation strategy."
            )
        spot = dict(one.wanted()).get("SPOT", 0)
        if one.is_fleet and spot and "SpotSpecification" not in specifications:
            yield f"The {one.role} instance fleet asks for Spot and has no SpotSpecification."
    if len(found) > 1:
        names = " and ".join(f"{name} ({kind})" for kind, name in sorted(found.items()))
        yield f"The instance types of a cluster must have one architecture, unlike {names}."


def _network_problems(instances: Mapping[str, Any]) -> Iterator[str]:
    several, fleets = instances.get("Ec2SubnetIds"), instances.get("InstanceFleets")
    if several and instances.get("Ec2SubnetId"):
        yield "Specify either Ec2SubnetId or Ec2SubnetIds, but not both."
    if several and len(several) > 1 and not fleets:
        yield "Several subnets (Ec2SubnetIds) can be specified for instance fleets only."
    pair = ("EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup")
    given = [name for name in pair if instances.get(name)]
    if len(given) == 1:
        yield f"{' and '.join(pair)} must be specified together."


def _tag_problems(tags: Sequence[Mapping[str, str]]) -> Iterator[str]:
    if len(tags) > _MOST_TAGS:
        yield f"At most {_MOST_TAGS} tags are allowed, not {len(tags)}."
    keys = [tag.get("Key", "") for tag in tags]
    if len(set(keys)) < len(keys):
        yield "The keys of tags must differ."
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        fits = 1 <= len(key) <= _MOST_TAG_KEY and len(value) <= _MOST_TAG_VALUE
        if not fits or key.startswith("aws:"):
            yield (
                f"The tag {key!r} is not valid: a key has 1 to {_MOST_TAG_KEY} characters and does"
                f" not begin with aws:, a value has up to {_MOST_TAG_VALUE}."
            )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _strings(one)
