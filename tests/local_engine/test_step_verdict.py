"""From evidence to one sentence."""

from __future__ import annotations

import json

import pytest

from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.script_frame import script_frame
from ascii_hydra.engines.step_failure import java_cause
from ascii_hydra.engines.step_verdict import Evidence, cause

PYTHON_ERROR = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "step.py", line 6, in parsed
    raise ValueError("no such row")
ValueError: no such row
"""
JAVA_ERROR = """py4j.protocol.Py4JJavaError: An error occurred while calling o45.save.
: java.io.IOException: No space left on device
	at x"""


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        ({}, None),
        ({"opened": False, "closed": False}, "s ended without any Dagster Pipes message"),
        ({"closed": False}, "s ended without closing Dagster Pipes"),
        ({"exception": ("E", "E: why")}, "s reported E: why"),
        ({"exit_code": 1, "exception": ("E", "a.b.E: why\nmore")}, "s raised E: why"),
        ({"exit_code": 1, "exception": ("E", "E")}, "s raised E"),
        (
            {"exit_code": 1, "exception": ("PythonException", PYTHON_ERROR)},
            "s raised ValueError: no such row (in a Python worker of Spark)",
        ),
        (
            {
                "exit_code": 1,
                "exception": ("Py4JJavaError", JAVA_ERROR),
            },
            "s raised Py4JJavaError: java.io.IOException: No space left on device",
        ),
        (
            {"exit_code": 1, "stderr": ("java.lang.OutOfMemoryError: Java heap space", "at x")},
            "s ran out of Java memory: give it more than 512 MiB (a larger cluster=) or less data.",
        ),
        ({"exit_code": -9}, "s failed because its process was killed by SIGKILL, most often by"),
        (
            {"exit_code": 1, "jvm_exit_code": -9, "exception": ("Py4JNetworkError", "x")},
            "s failed because Spark's JVM was killed by SIGKILL, most often by the system",
        ),
        ({"exit_code": -11}, "s was ended from outside by signal SIGSEGV."),
        ({"exit_code": 4}, "s ended with exit code 4; it printed no error"),
        ({"exit_code": 4, "stderr": ("no", "")}, "s ended with exit code 4; its last words: no"),
        (
            {"exit_code": -2, "timed_out_after_s": 5400.0},
            "s was stopped after its time limit of 90 min",
        ),
    ],
)
def test_the_cause_of_an_end(evidence, sentence):
    seen = {"step": "s", "exit_code": 0, "opened": True, "closed": True, "driver_memory_mib": 512}
    said = cause(Evidence(**{**seen, **evidence}))
    assert said == sentence if sentence is None else said.startswith(sentence)


def test_a_request_is_frozen_and_prints_as_json():
    conf = local_conf("local[2]", cores=2)
    request = LocalRequest(step="s", script="/s.py", spark_conf=conf)
    conf["spark.master"] = "changed"
    with pytest.raises(TypeError):
        request.spark_conf["spark.master"] = "changed"
    printed = json.loads(json.dumps(request.as_json()))
    assert printed["spark_conf"]["spark.master"] == "local[2]"
    assert printed["spark_conf"]["spark.ui.enabled"] == "false"


def test_loopback_is_for_this_machine_alone():
    assert local_conf("spark://127.0.0.1:7077", cores=2)["spark.driver.host"] == "127.0.0.1"
    remote = local_conf("spark://head.example:7077", cores=2)
    assert "spark.driver.host" not in remote
    assert remote["spark.cores.max"] == "2"
    assert not LocalRequest(step="s", script="/s", spark_conf=remote).on_this_machine


def test_settings_that_a_jvm_keeps_are_told_apart():
    request = LocalRequest(
        step="s",
        script="/s",
        spark_conf={
            "spark.sql.ansi.enabled": "true",
            "spark.hadoop.fs.s3a.endpoint": "x",
            "spark.jars": "a.jar",
            "spark.driver.extraJavaOptions": "-Da=b",
            "spark.driver.host": "127.0.0.1",
        },
    )
    assert set(request.launch_conf()) == {
        "spark.hadoop.fs.s3a.endpoint",
        "spark.jars",
        "spark.driver.extraJavaOptions",
    }


def reported(message, *stack):
    return {"name": "E", "message": message, "stack": list(stack), "cause": None, "context": None}


DRIVER = (
    '  File "/p/steps/s.py", line 9, in execute_business_logic\n    rows.collect()\n    ^^^^^\n'
)
SPARK = '  File "/v/site-packages/pyspark/sql/dataframe.py", line 5, in collect\n    return\n'
WORKER = PYTHON_ERROR.replace("step.py", "/p/steps/s.py")
LIBRARY = '  File "/tmp/spark-1/userFiles-2/rivers.py", line 4, in named\n    raise KeyError\n'
BESIDE = '  File "/p/steps/lib/near.py", line 2, in near\n'
INSTALLED = '  File "/p/steps/.venv/lib/python3.11/site-packages/x.py", line 3, in x\n'
SYNTAX = ('  File "/p/steps/s.py", line 3', "    if True", "           ^", "SyntaxError: e")


@pytest.mark.parametrize(
    ("exception", "stderr", "where"),
    [
        (
            reported("E: e", DRIVER, SPARK),
            (),
            "/p/steps/s.py:9, in execute_business_logic: rows.collect()",
        ),
        # What a Python worker has raised was raised there.
        (
            reported(WORKER, DRIVER, SPARK),
            (),
            '/p/steps/s.py:6, in parsed: raise ValueError("no such row")',
        ),
        # A file of py_files is imported from where Spark has put it.
        (
            reported("E: e", DRIVER, LIBRARY, SPARK),
            (),
            "/tmp/spark-1/userFiles-2/rivers.py:4, in named: raise KeyError",
        ),
        (reported("E: e", DRIVER, BESIDE, INSTALLED), (), "/p/steps/lib/near.py:2, in near"),
        (None, SYNTAX, "/p/steps/s.py:3: if True"),
        (None, ("no traceback",), None),
        (reported("E: e", SPARK), SYNTAX, None),
    ],
)
def test_the_line_of_the_users_own_code(exception, stderr, where):
    frame = script_frame(exception, stderr, "/p/steps/s.py", ("/p/lib/rivers.py",))
    assert (None if frame is None else str(frame)) == where


def test_the_innermost_java_cause():
    said = JAVA_ERROR + "\nCaused by: a.B: first\n\tat y\nCaused by: c.D: last\n\tat z"
    assert java_cause(said) == "c.D: last"
    assert java_cause(JAVA_ERROR) is None
