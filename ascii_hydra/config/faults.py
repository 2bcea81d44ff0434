"""Which rules of the rehearsal cloud's faults mean something."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.problems import Problem
from ascii_hydra.config.schema import FaultRule, RehearsalConfig
from ascii_hydra.step.choices import Engine

# What a rule may be about, besides the operations of an API, and what can happen there.
EFFECTS = {
    "cluster": {
        FaultEffect.no_capacity,
        FaultEffect.validation_error,
        FaultEffect.bootstrap_failure,
        FaultEffect.start_failure,
        FaultEffect.instance_failure,
        FaultEffect.library_failure,
    },
    "step": {
        FaultEffect.step_interrupted,
        FaultEffect.step_killed,
        FaultEffect.queued,
        FaultEffect.skipped,
    },
    "logs": {FaultEffect.logs_late, FaultEffect.logs_missing},
}
_OF_EMR = {FaultEffect.step_interrupted}
_OF_DATABRICKS = {FaultEffect.library_failure, FaultEffect.queued, FaultEffect.skipped}
OPERATION_EFFECTS = {
    FaultEffect.throttled,
    FaultEffect.refused,
    FaultEffect.server_error,
    FaultEffect.reply_lost,
    FaultEffect.slow,
}
# Calls that EMR may carry out, or show, long after their reply was lost.
SUBMISSIONS = {"RunJobFlow", "AddJobFlowSteps"}
SUBMISSION_EFFECTS = {*OPERATION_EFFECTS, FaultEffect.effect_late, FaultEffect.visible_late}
DATABRICKS_EFFECTS = {*OPERATION_EFFECTS, FaultEffect.expired}
_DATABRICKS = "databricks:"
_PRICES = {"GetProducts", "DescribeSpotPriceHistory"}
# What the rehearsal workspace answers, by its path after /api/2.x/.
DATABRICKS_OPERATIONS = {
    f"{_DATABRICKS}{one}"
    for one in (
        *(".well-known/databricks-config", "oidc/.well-known/oauth-authorization-server"),
        *("oidc/v1/token", "preview/scim/v2/Me"),
        *(f"jobs/runs/{name}" for name in ("submit", "get", "list", "cancel", "get-output")),
        *("jobs/runs/delete", "clusters/create", "clusters/get", "clusters/list"),
        *("clusters/events", "clusters/delete", "clusters/permanent-delete"),
        *("clusters/list-node-types", "clusters/spark-versions"),
        *(f"instance-pools/{name}" for name in ("create", "get", "list", "edit", "delete")),
        *(f"dbfs/{name}" for name in ("put", "create", "add-block", "close", "read")),
        *(f"dbfs/{name}" for name in ("get-status", "list", "mkdirs", "move", "delete")),
        *(f"workspace/{name}" for name in ("import", "export", "get-status", "list", "mkdirs")),
        "workspace/delete",
        "sql/statements",
        *(f"fs/files {method}" for method in ("PUT", "GET", "HEAD", "DELETE")),
        *(f"fs/directories {method}" for method in ("PUT", "GET", "HEAD", "DELETE")),
    )
}


def impossible_fault(rule: FaultRule) -> str | None:
    """Why a rule can never take effect, or None."""
    possible = EFFECTS.get(rule.target, OPERATION_EFFECTS)
    if rule.target.startswith(_DATABRICKS):
        possible = DATABRICKS_EFFECTS
    if rule.target in SUBMISSIONS:
        possible = SUBMISSION_EFFECTS
    if rule.effect in possible:
        late = rule.effect in SUBMISSION_EFFECTS - OPERATION_EFFECTS
        if late and not rule.seconds:
            return f"target={rule.target} effect={rule.effect.value}: give seconds, above 0"
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
                f"is none.{meant} Write cluster, step, logs, or an operation of EMR (RunJobFlow),"
                " of S3 (s3:PutObject) or of Databricks (databricks:jobs/runs/submit).",
            )
        elif (why := impossible_fault(rule)) is not None:
            yield Problem(at, f"{why}.")


def fault_notices(rehearsal: RehearsalConfig, engines: Collection[Engine]) -> Iterator[str]:
    """Rules that no step of a run will meet.

    Args:
        rehearsal: the rules.
        engines: those that the run's steps are on.
    """
    for number, rule in enumerate(rehearsal.faults):
        of = _engines_of(rule)
        if of and not of & set(engines):
            names = " or ".join(sorted(one.value for one in of))
            yield (
                f"rehearsal.faults[{number}] (target={rule.target} effect={rule.effect.value}) will"
                f" not happen: no step runs on {names}."
            )


def _engines_of(rule: FaultRule) -> set[Engine]:
    """Whose rule it is; empty for all that use S3."""
    if rule.target.startswith(_DATABRICKS) or rule.effect in _OF_DATABRICKS:
        return {Engine.databricks}
    if rule.target.startswith("s3:"):
        return set()
    if rule.target in _PRICES:
        return {Engine.emr, Engine.databricks}
    if rule.target not in EFFECTS or rule.target == "logs" or rule.effect in _OF_EMR:
        return {Engine.emr}
    return {Engine.emr, Engine.databricks}


def _targets() -> set[str]:
    from botocore.session import Session

    session = Session()
    emr, s3 = (session.get_service_model(one).operation_names for one in ("emr", "s3"))
    return {*EFFECTS, *_PRICES, *DATABRICKS_OPERATIONS, *emr, *(f"s3:{one}" for one in s3)}
