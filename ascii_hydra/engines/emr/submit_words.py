"""The words of `spark-submit` for a step on a cluster: a list, which passes no shell of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ascii_hydra.config.engine_schema import EmrEngine
from ascii_hydra.config.problems import Problem
from ascii_hydra.engines.step_run import StepRun, on_a_cluster

# Where the archive of libraries is unpacked, beside the driver and every executor.
LIBRARIES_FOLDER = "libraries"
_PYTHONPATHS = ("spark.yarn.appMasterEnv.PYTHONPATH", "spark.executorEnv.PYTHONPATH")
# A second attempt would report to Dagster what the first one has reported, and a submission that
# does not wait would be a success at once.
_FIXED = {
    "spark.submit.deployMode": "cluster",
    "spark.yarn.maxAppAttempts": "1",
    "spark.yarn.submit.waitAppCompletion": "true",
}
# Spark quotes arguments for the shell that YARN starts a driver with, but for the first two; YARN
# itself expands the others.
_EXPANDED = ("`", "\\", "{{", "}}", "<LOG_DIR>", "<CPS>")


def submit_words(
    run: StepRun, engine: EmrEngine, script: str, py_files: Sequence[str], libraries: str | None
) -> list[str]:
    """`spark-submit ...` with the step's own arguments at the end.

    Args:
        run: the step's run.
        engine: the engine.
        script, py_files, libraries: URIs of what was uploaded; no libraries if None.
    """
    conf = dict(engine.spark_conf)
    files = [*py_files, *_listed(conf.pop("spark.submit.pyFiles", ""))]
    archives = [] if libraries is None else [f"{libraries}#{LIBRARIES_FOLDER}"]
    for key in ("spark.archives", "spark.yarn.dist.archives"):
        archives += _listed(conf.pop(key, ""))
    python = f"/usr/bin/python{engine.python_version}"
    ours = {
        **{key: value for key, value in _FIXED.items() if key != "spark.submit.deployMode"},
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
    }
    conf = {**ours, **conf}
    if libraries is not None:
        for key in _PYTHONPATHS:
            theirs = conf.get(key)
            conf[key] = f"./{LIBRARIES_FOLDER}" + (f":{theirs}" if theirs else "")
    words = ["spark-submit", "--deploy-mode", "cluster"]
    words += ["--name", f"{run.settings.pipeline}/{run.settings.name}"]
    words += [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    words += ["--py-files", ",".join(files)]
    if archives:
        words += ["--archives", ",".join(archives)]
    return [*words, script, *(on_a_cluster(word) for word in run.arguments())]


def spark_conf_in(step_config: Mapping[str, Any]) -> dict[str, str]:
    """The Spark settings that a step's `spark-submit` names, of those that `submit_words` wrote."""
    words = iter(step_config["HadoopJarStep"]["Args"][1:])
    found: dict[str, str] = {}
    for flag in words:
        if not flag.startswith("--"):  # the script, and after it its own arguments
            break
        value = next(words, "")
        if flag == "--conf":
            key, _, text = value.partition("=")
            found[key] = text
    return found


def spark_conf_problems(spark_conf: Mapping[str, str]) -> Iterator[Problem]:
    """Spark settings that a step on a cluster cannot have."""
    for key, fixed in _FIXED.items():
        if spark_conf.get(key, fixed) != fixed:
            yield Problem(
                f"engine.spark_conf.{key}",
                f"is always {fixed} on EMR: otherwise a step's end and its messages would not be"
                " its own.",
            )
    if spark_conf.get("spark.master", "yarn") != "yarn":
        yield Problem("engine.spark_conf.spark.master", "is always yarn on EMR.")


def argument_problems(run: StepRun) -> Iterator[Problem]:
    """Arguments of the step that would not reach it as they are.

    JSON parameters always do: see `StepRun.arguments`.
    """
    words = run.arguments()
    parameters = {one for flag, one in pairwise(words) if flag == "--parameter"}
    for word in words:
        found = [one for one in _EXPANDED if one in word]
        if found and word not in parameters:
            yield Problem(
                f"pipeline.steps.{run.settings.name}",
                f"{word} holds {' and '.join(found)}, which YARN's shell reads as something else:"
                " name the partition or the folder without it.",
            )


def _listed(text: str) -> list[str]:
    return [one for one in text.split(",") if one]
