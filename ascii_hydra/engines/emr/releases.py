"""The releases of EMR: what Spark and which Pythons each has.

Sources: AWS's release guide and AWS's announcement of emr-spark-8.0.0, read 2026-11-20, and the
release labels of us-east-1 as dumped in moto 5.2.5. A version that was not found there is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import metadata

from packaging.specifiers import SpecifierSet

from ascii_hydra.config.problems import Problem, one_of


@dataclass(frozen=True)
class Release:
    """What a release of EMR ships.

    Attributes:
        spark: version of Spark, as far as it is known: `3.5.6`, or None.
        pythons: of them, `python<version>` is in /usr/bin.
    """

    label: str
    spark: str | None
    pythons: tuple[str, ...]


_EMR_7 = ("3.9", "3.11")
_EMR_SPARK_8 = ("3.11", "3.12", "3.13")
_SPARKS: Mapping[str, str | None] = {
    **{f"emr-7.{minor}.0": "3.5" for minor in range(8)},
    "emr-7.8.0": "3.5.4",
    "emr-7.9.0": "3.5.5",
    "emr-7.10.0": "3.5.5",
    "emr-7.11.0": "3.5.6",
    "emr-7.12.0": "3.5.6",
    "emr-7.13.0": "3.5.6",
    "emr-7.14.0": None,
    "emr-spark-8.0.0": "4.0.2",
    "emr-spark-8.1.0": None,
}
_LABEL = re.compile(r"emr-(spark-)?(\d+)\.(\d+)\.(\d+)")
_OLDEST = {False: 7, True: 8}


def release_of(label: str) -> Release:
    """A release by its label. Of one that is not known, the Pythons are those of its line."""
    if label == "emr-7.0.0":
        return Release(label, _SPARKS[label], ("3.9",))
    pythons = _EMR_SPARK_8 if label.startswith("emr-spark-") else _EMR_7
    return Release(label, _SPARKS.get(label), pythons)


def label_problem(label: str) -> Problem | None:
    """What is wrong with a release label."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return Problem("engine.release_label", f"{label} is none; write emr-7.12.0.")
    if int(found[2]) < _OLDEST[found[1] is not None]:
        return Problem(
            "engine.release_label",
            f"{label} is too old: steps need emr-7.1.0 or newer, or emr-spark-8.0.0 or newer.",
        )
    return None


def release_problems(label: str, python_version: str) -> Iterator[Problem]:
    """What is wrong with a release label, and with this Python of it."""
    if (wrong := label_problem(label)) is not None:
        yield wrong
        return
    release = release_of(label)
    if python_version not in release.pythons:
        yield Problem(
            "engine.python_version", f"{label} has Python {one_of(release.pythons)} only."
        )
    elif not pipes_pythons().contains(python_version):
        yield Problem(
            "engine.python_version",
            f"dagster_pipes, which every step needs, is for Python {pipes_pythons()}:"
            " use engine.python_version=3.11 and engine.release_label=emr-7.1.0 or newer.",
        )


def release_notice(label: str) -> str | None:
    """What a user should know of a label that may be right though it is not known here."""
    if label in _SPARKS or label_problem(label) is not None:
        return None
    known = ", ".join(list(_SPARKS)[-3:])
    return (
        f"engine.release_label={label} is not known here (known up to {known}): its Pythons and"
        " instance types are taken to be those of the newest known one."
    )


def pipes_pythons() -> SpecifierSet:
    """The Pythons that the installed dagster_pipes is for; it goes along with every step."""
    return SpecifierSet(metadata("dagster-pipes")["Requires-Python"])
