"""Runs of the rehearsal workspace: their states, and what their scripts really do."""

from __future__ import annotations

import io
import zipfile

import pytest
from databricks.sdk.errors import InvalidParameterValue, InvalidState, ResourceDoesNotExist
from databricks.sdk.service.workspace import ImportFormat

from tests.rehearsal.conftest import BUCKET, Rehearsed, step_processes
from tests.rehearsal.workspace import (
    CLUSTER,
    POOL,
    QUICK,
    SLEEPER,
    VOLUME,
    Workspace,
    result,
    termination,
)

# What one Spark is enough to show.
SPARK = """
import os, sys
from pyspark.sql import SparkSession
existing = SparkSession.getActiveSession()
spark = SparkSession.builder.appName("step").getOrCreate()
print("same", existing is not None and existing.sparkContext is spark.sparkContext)
print(spark.conf.get("spark.of.cluster"), os.environ["OF_CLUSTER"])
spark.range(100).write.mode("overwrite").parquet("s3://rehearsed/databricks")
print(spark.read.parquet("s3a://rehearsed/databricks").count(), "rows")
def work(x):
    import library
    return library.twice(x)
print(spark.sparkContext.parallelize([21], 1).map(work).collect())
"""
CONNECT = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.createDataFrame([(1,), (2,)], ["a"]).filter("a > 1").collect())
for attempt in (
    lambda: spark.sparkContext, lambda: spark._jvm, lambda: spark.range(1).rdd,
    lambda: __import__("pyspark").SparkContext.getOrCreate(),
):
    try:
        print("has", attempt())
    except Exception as fault:
        print(type(fault).__name__, str(fault).split("]")[0])
spark.stop()
"""
FILES = f"""
import json, os, pathlib, sys, runpy
folder = pathlib.Path("{VOLUME}/made/by script")
folder.mkdir(parents=True)
(folder / "a.new").write_text("content")
os.replace(folder / "a.new", folder / "a")
print(os.listdir(folder), open(str(folder / "a")).read(), folder.exists(), sys.argv, __file__)
print(os.path.isdir("/Workspace/Shared"), os.path.exists("/dbfs"), os.path.isfile("/Volumes"))
for name in ("ascii_hydra", "dagster_pipes", "boto3", "databricks", "library"):
    try:
        __import__(name)
        print(name)
    except ImportError:
        pass
print(os.environ["DATABRICKS_RUNTIME_VERSION"], "DATABRICKS_CLIENT_SECRET" in os.environ)
"""


def wheel(number: int, text: str, needs: str = "") -> tuple[str, bytes]:
    tag = "py3-none-any"
    content, about = io.BytesIO(), f"library-{number}.dist-info"
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("library.py", text)
        file.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: library\nVersion: {number}\n{needs}"
        )
        file.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}")
        file.writestr(f"{about}/RECORD", "")
    return f"library-{number}-{tag}.whl", content.getvalue()


def uploaded(workspace: Workspace, number: int, text: str, needs: str = "") -> str:
    name, content = wheel(number, text, needs)
    path = f"{VOLUME}/{name}"
    workspace.sdk.files.upload(path, io.BytesIO(content), overwrite=True)
    return path


def test_a_run_from_its_submission_to_its_end(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.configure(speed=600)
    run = workspace.submit(workspace.body(timeout_seconds=86400))
    assert workspace.sdk.jobs.get_run(run).state.life_cycle_state.value == "PENDING"
    cluster = workspace.sdk.jobs.get_run(run).tasks[0].cluster_instance.cluster_id
    assert set(cloud.get("alive")) == {f"run {run}", cluster}
    told = workspace.sdk.clusters.get(cluster)
    assert (told.state.value, told.cluster_source.value) == ("PENDING", "JOB")
    assert told.custom_tags == {"project": "ascii_hydra"}
    cloud.configure()
    ended = workspace.until(run)
    assert (result(ended), termination(ended)) == ("SUCCESS", ("SUCCESS", "SUCCESS"))
    (task,) = ended.tasks
    assert ended.run_page_url.startswith(cloud.url)
    # 210 s until the instances are there; setup, script and cleanup are all of the run.
    assert 210_000 <= task.setup_duration < 300_000
    assert task.cleanup_duration >= 5_000
    parts = task.setup_duration + task.execution_duration + task.cleanup_duration
    assert abs(parts - ended.run_duration) < 10
    assert (ended.setup_duration, ended.end_time - ended.start_time) == (0, ended.run_duration)
    told = workspace.sdk.clusters.get(cluster)
    assert told.state.value == "TERMINATED"
    assert told.termination_reason.code.value == "JOB_FINISHED"
    kinds = [one.type.value for one in workspace.sdk.clusters.events(cluster)]
    assert kinds == ["TERMINATING", "RUNNING", "CREATING"]
    assert workspace.output(ended).logs == "hello\n"


def test_replies_are_read_by_the_sdk_without_loss(workspace: Workspace) -> None:
    """Every field that is sent is one that the SDK knows."""
    run = workspace.ended(workspace.body())
    cluster = run.tasks[0].cluster_instance.cluster_id
    for path, query, kind in (
        ("2.2/jobs/runs/get", {"run_id": run.run_id}, type(run)),
        (
            "2.2/jobs/runs/get-output",
            {"run_id": run.tasks[0].run_id},
            type(workspace.output(run)),
        ),
        (
            "2.1/clusters/get",
            {"cluster_id": cluster},
            type(workspace.sdk.clusters.get(cluster)),
        ),
        (
            "2.1/clusters/list-node-types",
            {},
            type(workspace.sdk.clusters.list_node_types()),
        ),
    ):
        told = workspace.call("GET", path, query=query)
        assert _full(kind.from_dict(told).as_dict()) == _full(told)


def _full(told: object) -> object:
    """Without what is empty: the SDK drops it."""
    if isinstance(told, dict):
        return {key: _full(one) for key, one in told.items() if one not in ({}, [], None)}
    return [_full(one) for one in told] if isinstance(told, list) else told


def test_a_script_may_be_in_any_place_of_the_workspace(workspace: Workspace) -> None:
    source = b"import sys; print(sys.argv[0])"
    workspace.sdk.workspace.upload("/Shared/any.py", source, format=ImportFormat.RAW)
    workspace.sdk.dbfs.upload("/any.py", io.BytesIO(source))
    workspace.cloud.s3.put_object(Bucket=BUCKET, Key="any.py", Body=source)
    for path in ("/Workspace/Shared/any.py", "dbfs:/any.py", f"s3://{BUCKET}/any.py"):
        task = {"python_file": path, "source": "WORKSPACE"}
        assert workspace.logs(workspace.body(task_spark_python_task=task)) == f"{path}\n"


def test_a_failing_script_tells_its_exception_and_trace(workspace: Workspace) -> None:
    run = workspace.ended(workspace.body("def f():\n    raise ValueError('no luck')\nf()\n"))
    assert (result(run), termination(run)) == ("FAILED", ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"))
    assert run.tasks[0].state.state_message == "Workload failed, see run output for details"
    output = workspace.output(run)
    assert output.error == "ValueError: no luck"
    assert [line.strip() for line in output.error_trace.splitlines()][-2:] == [
        "raise ValueError('no luck')",
        "ValueError: no luck",
    ]
    assert output.error_trace.startswith("Traceback")
    assert "databricks_boot" not in output.error_trace
    with pytest.raises(InvalidParameterValue, match="each individual task run"):
        workspace.sdk.jobs.get_run_output(run.run_id)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit(0)", None),
        ("import os; os._exit(0)", "The Python process exited unexpectedly with exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL: Killed"),
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_how_a_script_can_end(workspace: Workspace, source: str, error: str | None) -> None:
    run = workspace.ended(workspace.body(source))
    told = workspace.output(run).error
    assert (told is None) if error is None else error in told
    assert result(run) == ("SUCCESS" if error is None else "FAILED")


def test_what_is_not_there_is_told(workspace: Workspace) -> None:
    body = workspace.body()
    body["tasks"][0]["spark_python_task"]["python_file"] = f"{VOLUME}/none.py"
    run = workspace.ended(body)
    assert "Cannot read the python file" in workspace.output(run).error
    for call in (workspace.sdk.jobs.get_run, workspace.sdk.jobs.get_run_output):
        with pytest.raises(ResourceDoesNotExist, match="does not exist"):
            call(1)
    with pytest.raises(InvalidParameterValue):
        workspace.sdk.jobs.cancel_run(1)


def test_spark_with_what_was_uploaded(workspace: Workspace) -> None:
    """The session is there before the script; the cluster's settings and libraries reach it."""
    library = uploaded(workspace, 1, "def twice(x):\n    return 2 * x\n")
    spec = {
        **CLUSTER,
        "spark_conf": {"spark.of.cluster": "conf", "spark.executor.memory": "9g"},
        "spark_env_vars": {"OF_CLUSTER": "variable"},
    }
    body = workspace.body(SPARK, task_new_cluster=spec, task_libraries=[{"whl": library}])
    assert workspace.logs(body).splitlines()[:4] == [
        "same True",
        "conf variable",
        "100 rows",
        "[42]",
    ]


def test_serverless_has_no_jvm_and_no_session_to_stop(workspace: Workspace) -> None:
    run = workspace.ended(workspace.serverless(CONNECT))
    output = workspace.output(run)
    hidden = "PySparkAttributeError [JVM_ATTRIBUTE_NOT_SUPPORTED"
    rdd = "PySparkAttributeError [ATTRIBUTE_NOT_SUPPORTED"
    remote = "PySparkRuntimeError [CONTEXT_UNAVAILABLE_FOR_REMOTE_CLIENT"
    assert output.logs.splitlines()[:5] == ["[Row(a=2)]", hidden, hidden, rdd, remote]
    # Its last line has stopped the session.
    assert output.error == "The spark context has stopped and the driver is restarting."
    assert result(run) == "FAILED"
    assert run.tasks[0].cluster_instance is None
    assert run.tasks[0].setup_duration < 60_000


def test_python_finds_the_workspaces_folders_and_nothing_of_this_machine(
    workspace: Workspace,
) -> None:
    library = uploaded(workspace, 2, "")
    body = workspace.body(FILES, "a b", "{x}", task_libraries=[{"whl": library}])
    path = body["tasks"][0]["spark_python_task"]["python_file"]
    assert workspace.logs(body).splitlines() == [
        f"['a'] content True {[path, 'a b', '{x}']} {path}",
        "True True False",
        "library",
        "17.3 False",
    ]
    made = workspace.sdk.files.download(f"{VOLUME}/made/by script/a").contents.read()
    assert made == b"content"


def test_pip_installs_what_needs_more(workspace: Workspace) -> None:
    needs = 'Requires-Dist: nothing; extra == "more"\n'
    library = uploaded(workspace, 3, "NAME = 'by pip'\n", needs)
    assert workspace.logs(workspace.serverless("import library; print(library.NAME)", library)) == (
        "by pip\n"
    )


def test_a_library_that_cannot_be_installed(workspace: Workspace) -> None:
    path = f"{VOLUME}/broken-1-py3-none-any.whl"
    workspace.sdk.files.upload(path, io.BytesIO(b"no wheel"), overwrite=True)
    for body in (
        workspace.body(task_libraries=[{"whl": path}]),
        workspace.serverless(QUICK, f"{VOLUME}/none-1-py3-none-any.whl"),
    ):
        run = workspace.ended(body)
        assert run.state.life_cycle_state.value == "INTERNAL_ERROR"
        assert termination(run) == ("LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR")
        assert ".whl" in run.state.state_message


def test_cancelling_kills_the_script(workspace: Workspace) -> None:
    run = workspace.submit(workspace.body(SLEEPER))
    workspace.until(run, "RUNNING")
    workspace.cloud.until(step_processes)
    assert workspace.cloud.get("clock")["rate"] == 1
    with pytest.raises(InvalidState):
        workspace.sdk.jobs.delete_run(run)
    workspace.sdk.jobs.cancel_run(run)
    ended = workspace.until(run)
    assert (result(ended), termination(ended)[0]) == ("CANCELED", "USER_CANCELED")
    assert ended.state.user_cancelled_or_timedout
    assert step_processes() == []
    workspace.sdk.jobs.cancel_run(run)  # of one that has ended: nothing happens
    workspace.sdk.jobs.delete_run(run)
    with pytest.raises(ResourceDoesNotExist):
        workspace.sdk.jobs.get_run(run)


def test_a_run_can_be_cancelled_before_its_cluster_is_there(workspace: Workspace) -> None:
    workspace.cloud.configure(speed=60)
    run = workspace.submit(workspace.body())
    workspace.sdk.jobs.cancel_run(run)
    assert workspace.sdk.jobs.get_run(run).state.life_cycle_state.value == "TERMINATING"
    assert result(workspace.until(run)) == "CANCELED"


@pytest.mark.parametrize("where", ["run", "task"])
def test_time_limits(workspace: Workspace, where: str) -> None:
    # While the script runs, time is real; so the limit is met before it can.
    limit = {"timeout_seconds" if where == "run" else "task_timeout_seconds": 60}
    run = workspace.ended(workspace.body(SLEEPER, **limit))
    assert (result(run), termination(run)[0]) == ("TIMEDOUT", "CANCELED")
    assert run.run_duration == 65_000


def test_the_same_token_is_the_same_run(workspace: Workspace) -> None:
    body = workspace.body(idempotency_token="t" * 64)
    run = workspace.submit(body)
    assert workspace.submit(body) == run
    workspace.until(run)
    assert workspace.submit(body) == run, "also when it has ended"
    assert workspace.submit({**body, "idempotency_token": "another"}) != run
    workspace.until(workspace.submit({**body, "idempotency_token": "another"}))


def test_runs_are_listed_the_newest_first(workspace: Workspace) -> None:
    workspace.cloud.configure(speed=60)
    since = int(workspace.cloud.get("clock")["now"] * 1000)
    runs = [workspace.submit(workspace.body(run_name=f"list {n}")) for n in range(3)]
    jobs = workspace.sdk.jobs
    listed = [one.run_id for one in jobs.list_runs(active_only=True, limit=2)]
    assert listed == runs[::-1]
    (first,) = workspace.call("GET", "2.2/jobs/runs/list", query={"limit": 1})["runs"]
    assert first["run_name"] == "list 2"
    assert "tasks" not in first
    (full,) = workspace.call("GET", "2.2/jobs/runs/list?limit=1&expand_tasks=true")["runs"]
    assert [one["task_key"] for one in full["tasks"]] == ["step"]
    for run in runs:
        jobs.cancel_run(run)
        workspace.until(run)
    assert list(jobs.list_runs(active_only=True)) == []
    assert len(list(jobs.list_runs(completed_only=True, start_time_from=since))) == 3


def test_a_cluster_that_stays_keeps_what_was_installed(workspace: Workspace) -> None:
    clusters = workspace.sdk.clusters
    cluster = workspace.call("POST", "2.1/clusters/create", body=CLUSTER)["cluster_id"]
    workspace.cloud.until(lambda: clusters.get(cluster).state.value == "RUNNING")
    on = {"task_new_cluster": None, "task_existing_cluster_id": cluster}
    script = "import library; print(library.NAME)"
    old, new = (uploaded(workspace, 10 + n, f"NAME = {n}\n") for n in range(2))
    for path in (old, new):
        body = workspace.body(script, task_libraries=[{"whl": path}], **on)
        assert workspace.logs(body) == "0\n", "a newer version waits for a restart"
    clusters.delete(cluster)
    workspace.cloud.until(lambda: clusters.get(cluster).state.value == "TERMINATED")
    body = workspace.body(script, task_libraries=[{"whl": new}], **on)
    assert workspace.logs(body) == "1\n", "a run starts a cluster that has ended"
    clusters.permanent_delete(cluster)
    with pytest.raises(ResourceDoesNotExist):
        clusters.get(cluster)


def test_a_pools_instances_wait_for_the_next_cluster(workspace: Workspace) -> None:
    workspace.cloud.configure(speed=100)  # 50 s are half a second of a busy machine
    pools = workspace.sdk.instance_pools
    pool = workspace.call("POST", "2.0/instance-pools/create", body=POOL)["instance_pool_id"]
    spec = {
        "spark_version": "17.3.x-scala2.13",
        "num_workers": 1,
        "instance_pool_id": pool,
    }
    setups = []
    for _ in range(2):
        run = workspace.ended(workspace.body(task_new_cluster=spec))
        setups.append(run.tasks[0].setup_duration // 1000)
        assert pools.get(pool).stats.idle_count == 2
    assert 210 <= setups[0] < 260
    assert 60 <= setups[1] < 110
    workspace.cloud.configure()
    workspace.cloud.until(lambda: pools.get(pool).stats.idle_count == 0)
    assert [one.instance_pool_id for one in pools.list()] == [pool]
    assert workspace.cloud.get("alive") == [pool]
    with pytest.raises(InvalidParameterValue, match="already in use"):
        workspace.call("POST", "2.0/instance-pools/create", body=POOL)
    pools.delete(pool)
    with pytest.raises(ResourceDoesNotExist):
        pools.get(pool)


def test_a_step_may_take_as_long_as_is_asked_for(workspace: Workspace) -> None:
    workspace.cloud.configure(step_minutes=60)
    run = workspace.ended(workspace.body())
    assert run.tasks[0].execution_duration == 3600 * 1000
