"""How the command of a step is read."""

from __future__ import annotations

import pytest

from ascii_hydra.rehearsal.container import most_attempts
from ascii_hydra.rehearsal.spark_submit import UnsupportedStepError, parsed


def submit(*words: str):
    return parsed({"Jar": "command-runner.jar", "Args": ["spark-submit", *words]})


def test_options_end_at_the_script_and_its_arguments_are_its_own() -> None:
    read = submit(
        *("--deploy-mode", "cluster", "--conf", "a=b=c", "--conf=d= e ", "--name", "my step"),
        *("--py-files", "s3://b/x.zip,s3://b/y.py", "--verbose", "s3://b/script.py"),
        *("--conf", "mine", "$(x)", ""),
    )
    assert read is not None
    assert read.script == "s3://b/script.py"
    assert read.arguments == ("--conf", "mine", "$(x)", "")
    assert (read.conf["a"], read.conf["d"], read.conf["spark.app.name"]) == (
        "b=c",
        " e ",
        "my step",
    )
    assert read.listed("spark.submit.pyFiles") == ("s3://b/x.zip", "s3://b/y.py")
    assert read.in_cluster


def test_what_does_nothing() -> None:
    assert parsed({"Jar": "command-runner.jar", "Args": ["state-pusher-script"]}) is None


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"Jar": "s3://b/my.jar"}, "step's jar is s3://b/my.jar"),
        ({"Jar": "command-runner.jar"}, "step's command is nothing"),
        ({"Jar": "command-runner.jar", "Args": ["hive", "-e", "x"]}, "step's command is hive"),
    ],
)
def test_what_cannot_be_run(step, why: str) -> None:
    with pytest.raises(UnsupportedStepError, match=why):
        parsed(step)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--packages", "a:b:1", "s.py"), "does not know spark-submit's --packages"),
        (("--no-such", "s.py"), "Unrecognized option: --no-such"),
        (("--conf", "novalue", "s.py"), "without '=': novalue"),
        (("--conf",), "Missing argument for option '--conf'"),
        (("--deploy-mode", "cluster"), "Missing application resource"),
        (("s3://b/app.jar",), "Python scripts alone"),
    ],
)
def test_what_spark_submit_would_refuse(words, why: str) -> None:
    with pytest.raises(UnsupportedStepError, match=why):
        submit(*words)


@pytest.mark.parametrize(
    ("words", "configurations", "most"),
    [
        (("--deploy-mode", "client"), [], 1),
        (("--deploy-mode", "cluster"), [], 2),
        (("--deploy-mode", "cluster", "--conf", "spark.yarn.maxAppAttempts=1"), [], 1),
        (("--deploy-mode", "cluster", "--conf", "spark.yarn.maxAppAttempts=9"), [], 2),
        (
            ("--deploy-mode", "cluster"),
            [
                {
                    "Classification": "spark-defaults",
                    "Properties": {"spark.yarn.maxAppAttempts": "1"},
                }
            ],
            1,
        ),
    ],
)
def test_how_often_yarn_starts_the_driver(words, configurations, most: int) -> None:
    read = submit(*words, "s3://b/s.py")
    assert read is not None
    assert most_attempts(read, configurations) == most
