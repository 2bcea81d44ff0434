"""Why a step failed, in one sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ascii_hydra.engines.emr.explain import Evidence, cause, may_pass

BEGUN = {"StartDateTime": datetime.now(UTC)}


def seen(state: str, *, details=None, begun=True, cluster=("TERMINATED", "", ""), **more):
    status = {"State": state, "Timeline": BEGUN if begun else {}}
    if details is not None:
        status["FailureDetails"] = {"Reason": details[0], "Message": details[1]}
    cluster_state, code, message = cluster
    reason = {"Code": code, "Message": message}
    return Evidence(
        "words",
        {"Status": status},
        {"Status": {"State": cluster_state, "StateChangeReason": reason}},
        **more,
    )


def test_only_completed_and_closed_is_a_success():
    assert cause(seen("COMPLETED", opened=True, closed=True)) is None
    assert "without closing Dagster Pipes" in cause(seen("COMPLETED", opened=True))
    assert "without any Dagster Pipes message" in cause(seen("COMPLETED"))
    for state in ("FAILED", "CANCELLED", "INTERRUPTED", "PENDING", "RUNNING", "", "NEW_STATE"):
        assert cause(seen(state, opened=True, closed=True)) is not None


DENIED = "EC2 is out of capacity"


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (
            seen("FAILED", exception=("KeyError", "KeyError: 'text'"), opened=True, closed=True),
            "words raised KeyError: 'text'",
        ),
        (
            seen("COMPLETED", exception=("ValueError", "no"), opened=True, closed=True),
            "words reported ValueError: no",
        ),
        (
            seen("FAILED", details=("Main class not found.", "No class Foo")),
            "words failed: Main class not found: No class Foo.",
        ),
        (
            seen("FAILED", details=("Unknown Error.", ""), tail=("a", "ValueError: no rows", "b")),
            "words failed; its last words: ValueError: no rows",
        ),
        (seen("FAILED"), "words failed, and neither EMR nor its log says why"),
        (
            seen("FAILED", tail=("java.lang.OutOfMemoryError: Java heap space", "x")),
            "words ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            seen("FAILED", tail=("Container killed by YARN ... Exit code is 137",)),
            "words ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            seen("FAILED", tail=("org.apache.spark.SparkException: ExecutorLostFailure (x)",)),
            (
                "words lost its executors, to spot or for want of memory: take fewer workers on"
                " spot (cluster.spot_share), or none, or choose a larger cluster=."
            ),
        ),
        (
            # A script's own words are not the platform's.
            seen("FAILED", exception=("ValueError", "no OOM here"), tail=("ValueError: no OOM",)),
            "words raised ValueError: no OOM here",
        ),
        (
            seen("FAILED", exception=("_ArrayMemoryError", "Unable to allocate 9 GiB")),
            "words ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            seen("FAILED", exception=("Py4JJavaError", "x\n: java.lang.OutOfMemoryError: heap")),
            "words ran out of memory: choose a larger cluster= or less data.",
        ),
        (
            seen("INTERRUPTED"),
            (
                "words lost the instances that it ran on: start it again, or take fewer workers on"
                " spot (cluster.spot_share), or none."
            ),
        ),
        (
            seen(
                "CANCELLED",
                begun=False,
                cluster=("TERMINATED_WITH_ERRORS", "INSTANCE_FLEET_TIMEOUT", "no spot"),
            ),
            (
                "words never began: EC2 had no capacity for its cluster (no spot): name more"
                " instance types (cluster.worker_instance_types, or cluster.filters) or more"
                " engine.subnets, or take fewer on spot (cluster.spot_share)."
            ),
        ),
        (
            seen(
                "CANCELLED",
                begun=False,
                cluster=("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", "The role is missing."),
            ),
            "words never began: EMR refuses its cluster (The role is missing)",
        ),
        (
            seen(
                "CANCELLED",
                begun=False,
                cluster=("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE", "action 1 failed"),
                bootstrap_log="s3://b/node/i-1/bootstrap-actions/1/stderr.gz",
            ),
            (
                "words never began: a bootstrap action of its cluster failed (action 1 failed); its"
                " log: s3://b/node/i-1/bootstrap-actions/1/stderr.gz"
            ),
        ),
        (
            seen("CANCELLED", cluster=("TERMINATED", "USER_REQUEST", "User request")),
            "words was cancelled: its cluster was terminated by somebody else",
        ),
        (seen("CANCELLED", cluster=("WAITING", "", "")), "words was cancelled by somebody else."),
        (
            # What EMR calls a user's request was ours.
            seen(
                "CANCELLED",
                cluster=("TERMINATED", "USER_REQUEST", "User request"),
                own="was stopped after its time limit of 1 h: raise it.",
            ),
            "words was stopped after its time limit of 1 h: raise it.",
        ),
        (
            seen("RUNNING", overdue=True),
            (
                "words was still there when its cluster reached the end of its lifetime: raise"
                " engine.max_lifetime_minutes."
            ),
        ),
    ],
)
def test_the_cause(evidence, told):
    assert cause(evidence) == told


def test_a_second_cluster_only_where_the_cloud_failed_before_the_step_began():
    start = ("TERMINATED_WITH_ERRORS", "INTERNAL_ERROR", "Failed to start the job flow")
    bootstrap = ("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE", "x")
    refused = ("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", "x")
    assert may_pass(seen("CANCELLED", begun=False, cluster=start))
    assert may_pass(seen("CANCELLED", begun=False, cluster=bootstrap))
    assert not may_pass(seen("CANCELLED", begun=False, cluster=refused))
    assert not may_pass(seen("FAILED", cluster=start))
    assert not may_pass(seen("CANCELLED", begun=False, cluster=start, own="took too long"))
