"""The runtimes of Databricks: what Spark, Python and Scala each has, and until when it is looked
after.

Sources: Databricks' release notes of its runtimes (docs.databricks.com/release-notes/runtime and
learn.microsoft.com/azure/databricks/release-notes/runtime) and of serverless environment versions
(docs.databricks.com/aws/release-notes/serverless/environment-version), and the Python that
databricks-connect of the same version asks for; read 2026-11-21.

From 18 on, a long-term release is a line of its own, which `spark_version` names without a minor:
`18.x-scala2.13` (so listed by clusters/spark-versions; databricks-sdk-java has a test of it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ascii_hydra.config.problems import Problem, one_of

_WHERE, _ENVIRONMENT = "engine.spark_version", "engine.environment_version"
_DEFAULT = "17.3.x-scala2.13"
_OLDEST = (15, 4)
_LINES_SINCE = 18
_NOTICE = timedelta(days=180)
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?\.x-((?:[a-z0-9]+-)*)scala(\d+\.\d+)")


@dataclass(frozen=True)
class Runtime:
    """A release of the Databricks Runtime.

    Attributes:
        release: `17.3`; of a line `18`.
        spark: version of Spark; None where it is not known.
        python: `3.12`.
        scalas: versions of Scala that there are images for.
        end_of_support: the day on which Databricks ceases to mend it; None where it is not known.
    """

    release: str
    spark: str | None
    python: str
    scalas: tuple[str, ...]
    end_of_support: date | None = None


@dataclass(frozen=True)
class Environment:
    """A version of the environment that steps have on serverless compute."""

    python: str
    end_of_support: date | None = None


RUNTIMES: Mapping[str, Runtime] = {
    one.release: one
    for one in (
        Runtime("15.4", "3.5.0", "3.11", ("2.12",), date(2027, 8, 19)),
        Runtime("16.4", "3.5.2", "3.12", ("2.12", "2.13"), date(2028, 5, 9)),
        Runtime("17.0", "4.0.0", "3.12", ("2.13",), date(2025, 12, 23)),
        Runtime("17.1", "4.0.0", "3.12", ("2.13",), date(2026, 2, 1)),
        Runtime("17.2", "4.0.0", "3.12", ("2.13",), date(2026, 3, 26)),
        Runtime("17.3", "4.0.0", "3.12", ("2.13",), date(2028, 10, 22)),
        Runtime("18.0", "4.1.0", "3.12", ("2.13",), date(2026, 6, 9)),
        Runtime("18", "4.1.0", "3.12", ("2.13",), date(2029, 6, 10)),
        # "Determined at LTS transition"
        Runtime("19", "4.2.0", "3.12", ("2.13",)),
    )
}
ENVIRONMENTS: Mapping[str, Environment] = {
    "1": Environment("3.10", date(2027, 3, 12)),
    "2": Environment("3.11", date(2027, 11, 21)),
    "3": Environment("3.12", date(2028, 6, 13)),
    "4": Environment("3.12", date(2028, 8, 13)),
    "5": Environment("3.12", date(2029, 2, 25)),
}


def spark_versions() -> Iterator[tuple[str, Runtime]]:
    """Every image that is known, as `spark_version` names it: `17.3.x-scala2.13`."""
    for one in RUNTIMES.values():
        for scala in one.scalas:
            yield f"{one.release}.x-scala{scala}", one


def runtime_of(spark_version: str) -> Runtime:
    """The runtime that a `spark_version` names. One that is not known is taken to be as the newest
    known one of its major version; of a newer major version, Spark is not known, and the rest is
    taken to be as in the newest of all. Raises ValueError for what is no version."""
    found = _VERSION.fullmatch(spark_version)
    if found is None or (found[2] is None and int(found[1]) < _LINES_SINCE):
        raise ValueError(spark_version)
    release = found[1] if found[2] is None else f"{found[1]}.{found[2]}"
    if release in RUNTIMES:
        return RUNTIMES[release]
    alike = [one for one in RUNTIMES.values() if one.release.split(".")[0] == found[1]]
    if alike:
        return replace(alike[-1], release=release, end_of_support=None)
    return replace(list(RUNTIMES.values())[-1], release=release, spark=None, end_of_support=None)


def python_of(spark_version: str) -> str:
    """The Python of a runtime; for what is none, that of the newest known one."""
    try:
        return runtime_of(spark_version).python
    except ValueError:
        return list(RUNTIMES.values())[-1].python


def runtime_problem(spark_version: str) -> Problem | None:
    """What is wrong with a `spark_version`."""
    wrong = _fault(spark_version)
    return None if wrong is None else Problem(f"{_WHERE}={spark_version}", wrong)


def _fault(spark_version: str) -> str | None:
    found = _VERSION.fullmatch(spark_version)
    try:
        runtime = runtime_of(spark_version)
    except ValueError:
        return f"is no Databricks Runtime; write {_DEFAULT}."
    assert found is not None
    if (int(found[1]), int(found[2] or 0)) < _OLDEST:
        return f"is too old: steps need 15.4.x-scala2.12 or newer, or {_DEFAULT}."
    variant, scalas = found[3], runtime.scalas
    if "photon-" in variant:
        plain = spark_version.replace("photon-", "")
        wrong = f"write {plain} and cluster.photon=true."
    elif "gpu-" in variant:
        wrong = "is for instance types with GPUs, of which none is known here."
    elif variant not in ("", "cpu-ml-", "aarch64-"):
        wrong = f"{variant[:-1]} is no variant; there are cpu-ml and aarch64."
    elif found[4] not in scalas:
        images = (f"{runtime.release}.x-{variant}scala{one}" for one in scalas)
        wrong = f"there is no such image; write {one_of(images)}."
    else:
        return None
    return wrong


def runtime_notice(spark_version: str, today: date | None = None) -> str | None:
    """What a user should know of a `spark_version` that is right as far as is known here."""
    if runtime_problem(spark_version) is not None:
        return None
    runtime = runtime_of(spark_version)
    if runtime.release not in RUNTIMES:
        spark = "is not known" if runtime.spark is None else f"is taken to be {runtime.spark}"
        return (
            f"{_WHERE}={spark_version} is not known here (known are {', '.join(RUNTIMES)}):"
            f" its Spark {spark}, and its Python is taken to be {runtime.python}."
        )
    return _support_notice(f"{_WHERE}={spark_version}", runtime.end_of_support, today)


def environment_of(version: str) -> Environment:
    """An environment version; one that is not known has the Python of the newest known one."""
    return ENVIRONMENTS.get(version) or Environment(list(ENVIRONMENTS.values())[-1].python)


def environment_problem(version: str) -> Problem | None:
    """What is wrong with a version of the serverless environment."""
    if re.fullmatch(r"[1-9]\d*", version):
        return None
    return Problem(f"{_ENVIRONMENT}={version}", f"must be {one_of(ENVIRONMENTS)}, or a later one.")


def environment_notice(version: str, today: date | None = None) -> str | None:
    """What a user should know of a version of the serverless environment."""
    if environment_problem(version) is not None:
        return None
    if version not in ENVIRONMENTS:
        return (
            f"{_ENVIRONMENT}={version} is not known here (known are {', '.join(ENVIRONMENTS)}):"
            f" its Python is taken to be {environment_of(version).python}."
        )
    return _support_notice(f"{_ENVIRONMENT}={version}", ENVIRONMENTS[version].end_of_support, today)


def _support_notice(where: str, end: date | None, today: date | None) -> str | None:
    now = today or date.today()  # noqa: DTZ011 - a day at Databricks, to within a day
    if end is None or end - now > _NOTICE:
        return None
    ends = "has ceased to be supported" if end <= now else "ceases to be supported"
    return f"{where} {ends} on {end.isoformat()} (Databricks' release notes)."
