"""Which runtimes and serverless environments the rehearsal workspace has.

It must refuse what Databricks refuses, and not what the plan refuses, so nothing of the plan is
asked. Names: clusters/spark-versions of a workspace, as public projects have recorded it in 2026.
"""

from __future__ import annotations

import re

LISTED = {
    "15.4.x-scala2.12": "15.4 LTS (includes Apache Spark 3.5.0, Scala 2.12)",
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
    "16.4.x-scala2.13": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.13)",
    "17.3.x-scala2.13": "17.3 LTS (includes Apache Spark 4.0.0, Scala 2.13)",
    "18.x-scala2.13": "18 LTS (includes Apache Spark 4.1.0, Scala 2.13)",
    "19.x-scala2.13": "19 (includes Apache Spark 4.2.0, Scala 2.13)",
}
"""What clusters/spark-versions tells, by key."""
# A long-term release since 18 has no minor; those before have.
_KEY = re.compile(
    r"(?:(?P<line>1[89]|[2-9]\d)|(?P<major>1[5-9]|[2-9]\d)\.(?P<minor>\d+))\.x-"
    r"(?:(?:aarch64|photon|cpu-ml|gpu-ml)-){0,2}scala(?P<scala>2\.1[23])"
)
_OLDEST = (15, 4)  # of what is looked after
_SCALA = {15: {"2.12"}, 16: {"2.12", "2.13"}}
_ENVIRONMENT = re.compile(r"[1-9]\d?")


def version_problem(key: str) -> str | None:
    """What is wrong with a `spark_version`."""
    match = _KEY.fullmatch(key)
    if match is not None:
        release = (int(match["line"] or match["major"]), int(match["minor"] or 0))
        if release >= _OLDEST and match["scala"] in _SCALA.get(release[0], {"2.13"}):
            return None
    return f"Spark version {key} is not supported; there are {', '.join(LISTED)}."


def environment_problem(version: str) -> str | None:
    """What is wrong with an `environment_version`."""
    if _ENVIRONMENT.fullmatch(version):
        return None
    return f"Invalid environment_version {version}; there are 1 to 5 and later ones"
