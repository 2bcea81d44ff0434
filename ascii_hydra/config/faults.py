"""Which rules of the rehearsal cloud's faults mean something."""

from __future__ import annotations

import difflib
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
    targets = _targets() if rehearsal.faults else set()
    for number, rule in enumerate(rehearsal.faults):
        at = f"rehearsal.faults[{number}]"
        if rule.target not in targets:
            close = difflib.get_close_matches(rule.target, targets, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            yield Problem(
                f"{at}.target={rule.target}",
                f"is none.{meant} Write cluster, step, logs, an operation of EMR (RunJobFlow), or"
                " of S3 (s3:PutObject).",
            )
        elif (why := impossible_fault(rule)) is not None:
            yield Problem(at, f"{why}.")


def _targets() -> set[str]:
    from botocore.session import Session

    session = Session()
    emr, s3 = (session.get_service_model(one).operation_names for one in ("emr", "s3"))
    return {*EFFECTS, *emr, *(f"s3:{one}" for one in s3)}
