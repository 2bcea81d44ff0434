"""Sentences for people, by what Databricks says of a run."""

from __future__ import annotations

import pytest

from ascii_hydra.engines.databricks.explain import Evidence, cause, is_in_vain, may_pass

BEGUN = [{"execution_duration": 60_000}]


def ended(code="RUN_EXECUTION_ERROR", kind="CLIENT_ERROR", message="", **more):
    """Evidence of a run that has failed."""
    begun = more.pop("begun", False)
    result = more.pop("result", "FAILED")
    run = {
        "state": {"life_cycle_state": "TERMINATED", "result_state": result},
        "status": {
            "state": "TERMINATED",
            "termination_details": {"code": code, "type": kind, "message": message},
        },
        "tasks": BEGUN if begun else [],
    }
    return Evidence(step="rank", run=run, **more)


LIBRARY = (
    "Library installation failed for library due to user error for pypi"
    ' { package: "nope==1.0" }. Error messages: No matching distribution'
)


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (
            ended(begun=True, output={"error": "KeyError: 'text'"}),
            "rank raised KeyError: 'text'",
        ),
        (
            ended(
                begun=True,
                output={
                    "error": "Workload failed",
                    "error_trace": "\x1b[31mTraceback\x1b[0m\n  File x\npkg.BadInputError: no rows",
                },
            ),
            "rank raised pkg.BadInputError: no rows",
        ),
        (
            ended(
                begun=True,
                output={
                    "error": "SystemExit: 2",
                    "logs": "usage: als.py [-h] --rank N\nals.py: error: --rank is required\n",
                },
            ),
            "rank raised SystemExit: 2; its last words: als.py: error: --rank is required",
        ),
        (
            ended(begun=True, opened=True, exception=("ValueError", "ValueError: 3")),
            "rank raised ValueError: 3",
        ),
        (
            ended(
                begun=True,
                output={"error": "The Python process exited with exit code 137 (SIGKILL: Killed)."},
            ),
            (
                "rank was killed, most often for want of memory: choose a larger cluster= or less"
                " data."
            ),
        ),
        (
            # A script's own words are not the platform's.
            ended(begun=True, opened=True, exception=("ValueError", "column out of memory_class")),
            "rank raised ValueError: column out of memory_class",
        ),
        (
            ended(begun=True, opened=True, exception=("_ArrayMemoryError", "Unable to allocate")),
            "rank ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            ended(
                begun=True,
                opened=True,
                exception=("Py4JJavaError", "A call failed\n: java.lang.OutOfMemoryError: heap"),
            ),
            "rank ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            ended(
                "CLUSTER_ERROR",
                "CLOUD_FAILURE",
                begun=True,
                cluster={"termination_reason": {"code": "SPOT_INSTANCE_TERMINATION"}},
            ),
            (
                "rank lost the instances that it ran on (SPOT_INSTANCE_TERMINATION): start it"
                " again, or take fewer workers on spot (cluster.spot_share), or none."
            ),
        ),
        (
            ended("DRIVER_ERROR", "INTERNAL_ERROR", "Could not reach driver", begun=True),
            (
                "rank lost its driver (Could not reach driver): start it again; if that"
                " repeats, choose a larger cluster=."
            ),
        ),
        (
            ended("LIBRARY_INSTALLATION_ERROR", message=LIBRARY),
            (
                f"rank never began: the library nope==1.0 could not be installed ({LIBRARY}):"
                " check the step's libraries, engine.libraries and the cluster's way to them."
            ),
        ),
        (
            ended("UNAUTHORIZED_ERROR", message="No READ FILES."),
            (
                "rank never began: it lacks a permission (No READ FILES): grant it to who runs"
                " the step, or change what it uses."
            ),
        ),
        (
            ended(result="CANCELED", code="USER_CANCELED", message="Run cancelled."),
            "rank was cancelled by somebody else (Run cancelled).",
        ),
        (
            ended(own="was stopped after its time limit of 3 h", result="CANCELED"),
            "rank was stopped after its time limit of 3 h",
        ),
        (
            ended(
                "CLUSTER_ERROR",
                message="Init script failed",
                cluster={"termination_reason": {"code": "INIT_SCRIPT_FAILURE"}},
            ),
            (
                "rank never began: an init script failed (Init script failed;"
                " INIT_SCRIPT_FAILURE): look at its log, and mend or leave out"
                " engine.init_scripts, or the policy's."
            ),
        ),
        (ended(code="NEW_CODE"), "rank failed, and Databricks does not say why."),
    ],
)
def test_a_failure_in_one_sentence(evidence, told):
    assert cause(evidence) == told


def test_what_a_retry_may_change():
    assert is_in_vain(ended("INVALID_CLUSTER_REQUEST"))
    assert not is_in_vain(ended("WORKSPACE_RUN_LIMIT_EXCEEDED"))
    assert not is_in_vain(ended(begun=True))
    assert is_in_vain(ended(own="was stopped"))
    assert not may_pass(ended("CLOUD_FAILURE", "CLOUD_FAILURE", begun=True))
    assert may_pass(ended("CLOUD_FAILURE", "CLOUD_FAILURE"))
