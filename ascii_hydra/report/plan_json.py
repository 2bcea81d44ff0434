"""A plan for machines: everything that the text tells, and every line of the bills."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ascii_hydra.config.settle import Settings
from ascii_hydra.costs.bill import Bill, Part
from ascii_hydra.engines.estimate import PlannedRun, PlannedStep
from ascii_hydra.engines.planned import describe
from ascii_hydra.engines.request import keeps_promise, request_notices
from ascii_hydra.engines.step_run import planned_run

VERSION = 1
"""Rises when a key changes its meaning or goes; new keys may come."""


def plan_json(settings: Settings, planned: PlannedRun) -> dict[str, Any]:
    """The plan in plain types. Money is in USD, durations in seconds, memory in GiB; null is what
    is not known. `bill` is of all partitions of a step, `bill_per_hour` of an hour's execution."""
    config, spread = settings.config, planned.spread_usd
    dates = planned.bill.price_dates
    return {
        "plan_version": VERSION,
        "pipeline": config.pipeline.name,
        "mode": config.mode.name.value,
        "endpoint": config.endpoint.name.value,
        "configuration": settings.digest,
        "overrides": list(settings.overrides),
        "total": {
            "usd": planned.usd,
            "known_usd": planned.known_usd,
            "estimated": planned.known_usd > 0,
            "low_usd": None if spread is None else spread[0],
            "high_usd": None if spread is None else spread[1],
            "duration_s": planned.duration_s,
            "lacking": list(planned.lacking),
            "price_dates": None if dates is None else list(dates),
        },
        "steps": [_step(settings, one) for one in planned.steps],
        "shared": _bill(planned.shared, told=False),
        "keeps_promise": keeps_promise(settings),
        "notices": [*settings.notices, *request_notices(settings)],
    }


def _step(settings: Settings, one: PlannedStep) -> dict[str, Any]:
    step, estimate = settings.steps[one.step], one.estimate
    told = {
        "step": one.step,
        "engine": step.engine.name.value,
        "cluster": step.cluster.size.value,
        "computing": describe(one.asked),
        "region": step.engine.region,
        "vcpus": estimate.vcpus,
        "executor_vcpus": estimate.executor_vcpus,
        "memory_gib": estimate.memory_gib,
        "output": planned_run(settings, step).output,
        "dimensions": list(step.config.partitions),
        "partitions": one.partitions,
        "expected": asdict(estimate.expected),
        "usd": one.usd,
        "usd_per_partition": estimate.usd,
        "low_usd_per_partition": estimate.low_usd,
        "high_usd_per_partition": estimate.high_usd,
        "usd_per_hour": estimate.usd_per_hour,
        "lacking": list(one.lacking),
        "bill": _bill(one.bill, told=estimate.expected.samples == 0),
        "bill_per_hour": one.hour.as_json(),
    }
    if settings.config.plan.requests:
        told["request"] = one.asked.as_json()
    return told


def _bill(bill: Bill, *, told: bool) -> dict[str, Any]:
    """A bill to come. Its start-up is an estimate, and so is all of it unless somebody has told how
    long the step takes."""
    lines = tuple(
        replace(line, estimated=line.estimated or not told or line.part is Part.startup_idle)
        for line in bill.lines
    )
    return replace(bill, lines=lines).as_json()
