"""Steps that really run: green if Databricks and the step both say so, and for no other reason."""

from __future__ import annotations

import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ascii_hydra.databricks.workspace import Workspace
from tests.databricks.conftest import BUCKET, ENDLESS, altered, cluster_of, fault
from tests.rehearsal_cloud import GOOD, STEP


def test_a_step_succeeds_and_leaves_nothing(bench, cloud):
    """D5: the link is in the log from the start."""
    ended = bench.run(bench.request("good", arguments=("hello",)))
    assert ended.green, ended.cause
    made = ended.materialized
    assert made["me"] == "hello"
    (run,) = cloud.runs("tests/good")
    assert ended.handles[0]["databricks/run_id"] == str(run["run_id"])
    assert ended.handles[-1] == {
        "databricks/run_id": str(run["run_id"]),
        "databricks/run_page": run["run_page_url"],
        "databricks/cluster_id": cluster_of(run),
    }
    assert ended.handles[-1].items() <= {key: str(value) for key, value in made.items()}.items()
    assert bench.said(f"is at {run['run_page_url']}")
    assert cloud.alive() == []
    assert cloud.files() == []
    states = [one.rpartition(" is ")[2] for one in bench.told if " is " in one]
    assert states[-1] == "TERMINATED SUCCESS"
    assert "PENDING" in states


def test_a_step_of_ten_hours_costs_neither_patience_nor_many_calls(bench, cloud):
    """D5: the stock client asks every 5 s, for ever: 7,200 times here. Nor does its time in the
    queue count as work."""
    cloud.behave(fault("step", "queued", seconds=3 * 3600), step_minutes=600, speed=20_000)
    begun = cloud.clock.now()
    limits = {"timeout_s": 12 * 3600.0, "start_timeout_s": 4 * 3600.0, "poll_s": 300.0}
    ended = bench.run(bench.request("long", **limits))
    assert ended.green, ended.cause
    assert cloud.clock.now() - begun > 13 * 3600
    assert cloud.calls("get") < 250


@pytest.mark.parametrize("root", [f"s3://{BUCKET}/output", "/Volumes/main/default/tests/output"])
def test_a_step_that_writes_nothing_is_not_green(bench, root):
    """An empty table is a table, and what an earlier run has left is not this one's, unless that
    cannot be told."""

    def made(*more):
        output = f"{root}/idle"
        told = ("--engine=databricks", "--mode=full", f"--output={output}", *more)
        return bench.run(bench.request("idle", STEP, arguments=told))

    empty = made("--parameter=rows=0")
    assert empty.green, empty.cause
    assert not [line for line in empty.logged if "nobody can tell" in line]
    idle = made()
    if root.startswith("s3:"):  # Spark does not list _SUCCESS, which an empty append writes
        assert idle.green, idle.cause
        assert [line for line in idle.logged if "nobody can tell" in line]
        return
    assert "idle raised OutputNotWrittenError: nothing was written to " in idle.cause
    assert "file(s) there are of an earlier run. Write to self.output" in idle.cause


def test_the_exception_of_a_step_is_the_cause_of_its_failure(bench, cloud):
    """D5: nothing of it is told by the stock client."""
    ended = bench.run(
        bench.request(
            "wrong",
            """
            with opened() as context:
                print("before it went wrong")
                raise ValueError("nothing to sort")
            """,
        )
    )
    assert ended.cause == "wrong raised ValueError: nothing to sort"
    assert "Traceback" in ended.evidence["databricks/error_trace"]
    assert "nothing to sort" in ended.evidence["databricks/error_trace"]
    # D7: its output is there at once.
    assert "before it went wrong" in ended.evidence["databricks/log_tail"]
    assert ended.evidence["databricks/termination_code"] == "RUN_EXECUTION_ERROR"
    assert cloud.calls("submit") == 1
    assert cloud.result("tests/wrong") == ["FAILED"]


def test_an_exception_before_pipes_is_found_in_the_runs_output(bench):
    ended = bench.run(bench.request("early", "import nothing_of_that_name"))
    assert "early raised ModuleNotFoundError: No module named 'nothing_of_that_name'" in ended.cause


def test_success_needs_the_closing_message(bench):
    """A run that Databricks calls SUCCESS is not enough."""
    ended = bench.run(bench.request("silent", "print('nothing')"))
    assert "silent ended without any Dagster Pipes message" in ended.cause


def test_a_killed_driver_says_so(bench, cloud):
    cloud.behave({"target": "step", "effect": "step_killed", "seconds": 2})
    ended = bench.run(
        bench.request(
            "killed",
            """
            with opened() as context:
                time.sleep(60)
            """,
        )
    )
    assert "killed ran out of memory" in ended.cause
    assert cloud.calls("submit") == 1


def test_whatever_is_raised_here_ends_the_run(bench, cloud):
    """D2: the stock client cancels when it is interrupted, and never else."""
    ended = bench.run(
        bench.request(
            "strange",
            """
            with opened() as context:
                context._write_message("report_asset_check", {"passed": 3})
                time.sleep(600)
            """,
        )
    )
    assert "strange sent a Pipes message that Dagster rejects" in ended.cause
    assert cloud.result("tests/strange") == ["CANCELED"]


def test_a_step_that_works_too_long_is_cancelled(bench, cloud):
    cloud.behave(step_minutes=600)
    ended = bench.run(bench.request("slow", timeout_s=1800.0))
    assert "slow was stopped after its time limit of 30 min" in ended.cause
    assert cloud.result("tests/slow") == ["CANCELED"]


def test_a_step_that_ends_before_it_can_be_cancelled_has_succeeded(bench, cloud):
    cloud.behave(fault("cancel", "throttled", seconds=7200), step_minutes=60)
    ended = bench.run(bench.request("punctual", timeout_s=60.0))
    assert ended.green, ended.cause
    assert cloud.result("tests/punctual") == ["SUCCESS"]


def test_a_run_whose_step_has_begun_is_not_repeated(bench, cloud):
    """Whatever Databricks says of it: here it calls the driver lost, before anything was run."""
    failed = {"life_cycle_state": "INTERNAL_ERROR", "result_state": "FAILED"}
    details = {"code": "DRIVER_ERROR", "type": "INTERNAL_ERROR", "message": "The driver is lost."}
    told = {"state": failed, "status": {"state": "TERMINATED", "termination_details": details}}

    def lost(path, reply):
        if not path.endswith("/runs/get") or reply["state"].get("result_state") != "FAILED":
            return reply
        return {**reply, **told, "tasks": [{**reply["tasks"][0], **told, "execution_duration": 0}]}

    source = """
    with opened() as context:
        context.report_asset_materialization(metadata={"me": "the first run"})
        raise ValueError("no rows")
    """
    with altered(cloud.url, lost) as url:
        ended = bench.run(replace(bench.request("begun", source), workspace=Workspace(url)))
    assert ended.cause == "begun raised ValueError: no rows"
    assert cloud.calls("submit") == 1


def test_the_runs_own_time_limit_is_said(bench, cloud):
    """It ends the run should this process die; here it is lower than ours."""
    cloud.behave(step_minutes=600)
    ended = bench.run(bench.request("backstop", body={"timeout_seconds": 1200}))
    assert "backstop was stopped by Databricks after the time limit of its run" in ended.cause
    assert cloud.result("tests/backstop") == ["TIMEDOUT"]


def test_an_existing_cluster_is_used_and_left(bench, cloud, host):
    """D8: the same script finds its arguments on a cluster of its own, an existing one, serverless
    compute."""
    ended = bench.run(bench.request("guest", task={"existing_cluster_id": host}))
    assert ended.green, ended.cause
    assert ended.materialized["databricks/cluster_id"] == host
    assert cloud.alive() == [host]


def test_serverless_compute(bench, cloud):
    """D8."""
    ended = bench.run(bench.request("light", task={"environment_key": "step"}))
    assert ended.green, ended.cause
    assert "databricks/cluster_id" not in ended.materialized


def test_staging_in_the_workspace(bench, cloud):
    root = "/Workspace/Shared/tests"
    ended = bench.run(bench.request("office", root=root))
    assert ended.green, ended.cause
    assert cloud.files(f"{root}/pipes") == []
    assert len(cloud.files(f"{root}/payload")) == 2


def test_staging_in_dbfs(bench, cloud):
    """D6: only when asked for; nothing is cut at 1 MB."""
    root = "dbfs:/tests"
    ended = bench.run(
        bench.request(
            "legacy",
            """
            with opened() as context:
                context.report_asset_materialization(metadata={"much": "x" * 3_000_000})
            """,
            root=root,
        )
    )
    assert ended.green, ended.cause
    assert ended.materialized["much"] == "x" * 3_000_000
    assert cloud.files(f"{root}/pipes") == []


def test_staging_in_s3(bench, cloud):
    root = f"s3://{BUCKET}/staging"
    ended = bench.run(
        bench.request(
            "bucket",
            """
            from pyspark.sql import SparkSession
            SparkSession.builder.getOrCreate()
            """
            + textwrap.indent(GOOD, " " * 12),
            root=root,
        )
    )
    assert ended.green, ended.cause
    left = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="staging/pipes/")
    assert left["KeyCount"] == 0


def test_two_assets_at_once(bench, cloud):
    """D10: each has its own messages."""
    request = [bench.request(f"twin_{one}", arguments=(one,)) for one in "ab"]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(bench.run, request)
    assert first.green, first.cause
    assert second.green, second.cause
    assert (first.materialized["me"], second.materialized["me"]) == ("a", "b")


def test_stopping_a_working_step(bench, cloud):
    """D1: the stock client makes a success of it, and starts what depends on it."""
    ended = bench.stopped(bench.request("endless", ENDLESS), lambda: bench.said("is RUNNING"))
    assert "DagsterExecutionInterruptedError: endless was stopped" in ended.cause
    assert cloud.result("tests/endless") == ["CANCELED"]
    assert cloud.files() == []
