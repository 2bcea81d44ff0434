"""Which rules of the rehearsal cloud's faults mean something."""

from __future__ import annotations

from collections.abc import Iterator

from ascii_hydra.config.problems import Problem
from ascii_hydra.config.schema import FaultEffect, FaultRule, RehearsalConfig

# What a rule may be about, besides the operations of an API, and what can happen there.
EFFECTS = {
    "cluster": {
        FaultEffect.no_capacity,
        FaultEffect.validation_error,
        FaultEffect.bootstrap_failure,
        FaultEffect.start_failure,
        FaultEffect.instance_failure,
    },
    "step": {FaultEffect.step_interrupted, FaultEffect.step_killed},
    "logs": {FaultEffect.logs_late, FaultEffect.logs_missing},
}
OPERATION_EFFECTS = {
    FaultEffect.throttled,
    FaultEffect.refused,
    FaultEffect.server_error,
    FaultEffect.reply_lost,
    FaultEffect.slow,
}


def impossible_fault(rule: FaultRule) -> str | None:
    """Why a rule can never take effect, or None."""
    possible = EFFECTS.get(rule.target, OPERATION_EFFECTS)
    if rule.effect in possible:
        return None
    names = ", ".join(sorted(one.value for one in possible))
    return f"target={rule.target} effect={rule.effect.value}: allowed are {names}"


def fault_problems(rehearsal: RehearsalConfig) -> Iterator[Problem]:
    """Rules that can never take effect."""
    for number, rule in enumerate(rehearsal.faults):
        if (why := impossible_fault(rule)) is not None:
            yield Problem(f"rehearsal.faults[{number}]", f"{why}.")
