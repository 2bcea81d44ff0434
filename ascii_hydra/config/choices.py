"""The closed choices of the configuration, and the ranges of its numbers.

Enum names equal their values, because OmegaConf matches names and people type values. Numbers
carry their unit in the name and their allowed range in the field's metadata (`ranged`).
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum, StrEnum
from typing import Any


class ClusterSize(StrEnum):
    """How much computing a step gets; the same promise on every engine."""

    small = "small"
    medium = "medium"
    large = "large"


class Action(StrEnum):
    """What to do with the composed configuration."""

    run = "run"
    plan = "plan"
    refresh_prices = "refresh_prices"


class Endpoint(StrEnum):
    """Whose cloud is talked to."""

    cloud = "cloud"
    rehearsal = "rehearsal"


class ReuseCluster(StrEnum):
    """Whom a cloud cluster serves: one step, or all steps of one launch (a command of the command
    line, or a run of the UI)."""

    step = "step"
    run = "run"


class AllocationStrategy(StrEnum):
    """How EMR chooses among the spot instance types of a fleet."""

    price_capacity_optimized = "price_capacity_optimized"
    capacity_optimized = "capacity_optimized"
    lowest_price = "lowest_price"
    diversified = "diversified"


class InstanceCollection(StrEnum):
    """How EMR is asked for instances."""

    fleets = "fleets"
    groups = "groups"


class Architecture(StrEnum):
    """Of an instance type's processors."""

    x86_64 = "x86_64"
    arm64 = "arm64"


class CatalogueSource(StrEnum):
    """Where instance types and their prices are looked up: in the package, or asked of AWS."""

    packaged = "packaged"
    live = "live"


class DataSecurityMode(StrEnum):
    """Of a Databricks cluster: for one user (dedicated), for several who are kept apart (standard),
    or as Databricks chooses."""

    single_user = "single_user"
    user_isolation = "user_isolation"
    auto = "auto"


class Tier(StrEnum):
    """Of a Databricks workspace: decides what a DBU costs."""

    premium = "premium"
    enterprise = "enterprise"


class PlanFormat(StrEnum):
    """How a plan is told."""

    text = "text"
    json = "json"


class FaultEffect(StrEnum):
    """What goes wrong in the rehearsal cloud. docs/rehearsal.md tells each."""

    throttled = "throttled"
    refused = "refused"
    server_error = "server_error"
    reply_lost = "reply_lost"
    slow = "slow"
    effect_late = "effect_late"
    visible_late = "visible_late"
    no_capacity = "no_capacity"
    validation_error = "validation_error"
    bootstrap_failure = "bootstrap_failure"
    start_failure = "start_failure"
    instance_failure = "instance_failure"
    step_interrupted = "step_interrupted"
    step_killed = "step_killed"
    logs_late = "logs_late"
    logs_missing = "logs_missing"
    queued = "queued"
    skipped = "skipped"
    library_failure = "library_failure"
    expired = "expired"


# What a sweep does after a row that failed. (`continue` is a keyword: no class body can name it.)
OnFailure = Enum("OnFailure", {"continue": "continue", "stop": "stop"}, type=str)


def ranged(default: Any, low: float, high: float) -> Any:
    """A number's field: its default and the inclusive range that `settle` holds it to."""
    return field(default=default, metadata={"range": (low, high)})
