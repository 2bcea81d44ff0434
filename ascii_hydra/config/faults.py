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
        FaultEffect.library_failure,  # of Databricks alone
    },
    "step": {
        FaultEffect.step_interrupted,  # of EMR alone
        FaultEffect.step_killed,
        FaultEffect.queued,  # both of Databricks alone
        FaultEffect.skipped,
    },
    "logs": {FaultEffect.logs_late, FaultEffect.logs_missing},
}
OPERATION_EFFECTS = {
    FaultEffect.throttled,
    FaultEffect.refused,
    FaultEffect.server_error,
    FaultEffect.reply_lost,
    FaultEffect.slow,
}
DATABRICKS_EFFECTS = {*OPERATION_EFFECTS, FaultEffect.expired}
_DATABRICKS = "databricks:"
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
        *(f"fs/files {method}" for method in ("PUT", "GET", "HEAD", "DELETE")),
        *(f"fs/directories {method}" for method in ("PUT", "GET", "HEAD", "DELETE")),
    )
}


def impossible_fault(rule: FaultRule) -> str | None:
    """Why a rule can never take effect, or None."""
    possible = EFFECTS.get(rule.target, OPERATION_EFFECTS)
    if rule.target.startswith(_DATABRICKS):
        possible = DATABRICKS_EFFECTS
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
                f"is none.{meant} Write cluster, step, logs, or an operation of EMR (RunJobFlow),"
                " of S3 (s3:PutObject) or of Databricks (databricks:jobs/runs/submit).",
            )
        elif (why := impossible_fault(rule)) is not None:
            yield Problem(at, f"{why}.")


def _targets() -> set[str]:
    from botocore.session import Session

    session = Session()
    emr, s3 = (session.get_service_model(one).operation_names for one in ("emr", "s3"))
    return {*EFFECTS, *DATABRICKS_OPERATIONS, *emr, *(f"s3:{one}" for one in s3)}
