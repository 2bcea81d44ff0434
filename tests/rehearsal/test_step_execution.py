"""A step is really executed by Spark, from what was uploaded and from nothing else."""

from __future__ import annotations

import io
import json
import os
import signal
import textwrap
import zipfile
from datetime import UTC, datetime

import pytest

from tests.rehearsal.conftest import BUCKET, Rehearsed, drivers, seconds_between, step_processes

# No Spark: a driver of under a second.
WHERE = """
import json, os, sys
def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
print(json.dumps({
    "arguments": sys.argv[1:],
    "importable": [name for name in NAMES if importable(name)],
    "environment": dict(os.environ),
    "files": sorted(os.listdir()),
}))
"""
SLEEPER = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def where(*names: str) -> str:
    return f"NAMES = {names!r}\n" + WHERE


def told(cloud: Rehearsed, cluster: str):
    """What a script of `where` has printed."""
    return json.loads(cloud.log(cluster, "_01_000001/stdout.gz"))


def packed(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in files.items():
            file.writestr(name.replace("_py", ".py"), text)
    return content.getvalue()


def test_spark_reads_and_writes_s3_with_what_was_uploaded(cloud: Rehearsed, uploaded) -> None:
    """Python files, an archive and the settings of cluster and step reach driver and workers."""
    code = uploaded("code.zip", packed(tools_py="NAME = 'code'"))
    archive = uploaded("libraries.zip", packed(library_py="def twice(x):\n    return 2 * x"))
    script = textwrap.dedent(
        f"""
        import os, sys
        from pyspark.sql import SparkSession
        from tools import NAME
        import library

        def work(x):
            import library, os
            return library.twice(x), os.environ["OF_EXECUTOR"], NAME

        spark = SparkSession.builder.getOrCreate()
        print(spark.sparkContext.parallelize([21], 1).map(work).collect())
        out = "s3a://{BUCKET}/out"
        spark.range(100).write.mode("overwrite").parquet(out)
        print(spark.read.parquet("s3://{BUCKET}/out").count(), "rows", os.environ["OF_DRIVER"])
        print(spark.conf.get("spark.of.cluster"), spark.conf.get("spark.of.both"))
        print(sys.argv[1:])
        spark.stop()
        """
    )
    options = (
        *("--py-files", code, "--archives", f"{archive}#libraries"),
        *("--conf", "spark.yarn.appMasterEnv.PYTHONPATH=libraries"),
        *("--conf", "spark.executorEnv.PYTHONPATH=libraries"),
        *("--conf", "spark.yarn.appMasterEnv.OF_DRIVER=yes"),
        *("--conf", "spark.yarn.appMasterEnv.PYSPARK_PYTHON=/usr/bin/python3.11"),
        *("--conf", "spark.executorEnv.OF_EXECUTOR=yes", "--conf", "spark.of.both=step"),
    )
    defaults = {
        "Classification": "spark-defaults",
        "Properties": {
            "spark.of.cluster": "cluster",
            "spark.of.both": "cluster",
            "spark.pyspark.python": "/usr/bin/python3.11",
            "spark.executor.memory": "9g",
        },
    }
    cluster = cloud.run(
        cloud.submit(script, "a b", "$(x) 'y'", options=options), Configurations=[defaults]
    )
    status = cloud.until_state(cluster)
    printed = cloud.log(cluster, "_01_000001/stdout.gz")
    assert status["State"] == "TERMINATED", printed
    assert printed.splitlines() == [
        "[(42, 'yes', 'code')]",
        "100 rows yes",
        "cluster step",
        "['a b', \"$(x) 'y'\"]",
    ]
    objects = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]
    assert "out/_SUCCESS" in [one["Key"] for one in objects]
    (step,) = cloud.steps(cluster)
    client = cloud.log(cluster, f"{step['Id']}/stderr.gz")
    assert "final status: SUCCEEDED" in client
    assert "spark-submit --deploy-mode cluster" in cloud.log(cluster, "controller.gz")
    # It has taken as long as it takes, though the clock runs at 3600 seconds a second.
    assert seconds_between(step["Status"], "Start", "End") < 120


def test_nothing_of_this_machine_is_there(cloud: Rehearsed) -> None:
    names = ("json", "ascii_hydra", "dagster_pipes", "boto3", "moto", "pip", "numpy")
    cluster = cloud.run(cloud.submit(where(*names)))
    cloud.until_state(cluster)
    found = told(cloud, cluster)
    assert found["importable"] == ["json"]
    assert [name for name in found["files"] if not name.endswith(".py")] == []
    assert found["environment"]["AWS_ENDPOINT_URL"] == cloud.url
    assert found["environment"]["AWS_ACCESS_KEY_ID"] == "rehearsal"
    kept = {"LANG", "LC_ALL", "TZ", "PATH", "SPARK_HOME", "JAVA_HOME", "PYTHONHASHSEED", "PWD"}
    ours = {name for name in os.environ if name not in kept and not name.startswith("_")}
    same = {name for name in ours if found["environment"].get(name) == os.environ[name]}
    assert same <= {"SHLVL", "OLDPWD"}


def test_a_failure_in_cluster_mode_has_its_words_in_the_container_alone(cloud: Rehearsed) -> None:
    script = "print('begun')\nraise ValueError('no luck')\n"
    cluster = cloud.run(cloud.submit(script))
    status = cloud.until_state(cluster)
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"]["Code"] == "STEP_FAILURE"
    (step,) = cloud.steps(cluster)
    failure = step["Status"]["FailureDetails"]
    assert failure["Reason"] == "Unknown Error."
    assert failure["Message"].endswith("finished with failed status")
    assert failure["LogFile"].endswith(f"/steps/{step['Id']}/stderr.gz")
    client = cloud.log(cluster, f"{step['Id']}/stderr.gz")
    assert "final status: FAILED" in client
    assert "no luck" not in client
    assert cloud.log(cluster, "_01_000001/stdout.gz").endswith("ValueError: no luck\n")
    assert "User application exited with status 1" in cloud.log(cluster, "_000001/stderr.gz")


def test_a_failure_in_client_mode_is_in_the_steps_own_logs(cloud: Rehearsed) -> None:
    step = cloud.submit(where() + "raise ValueError('no luck')", action="CONTINUE")
    words = step["HadoopJarStep"]["Args"]
    words[words.index("cluster")] = "client"
    exported = {"Classification": "export", "Properties": {"OF_PRIMARY": "yes"}}
    env = {"Classification": "spark-env", "Configurations": [exported]}
    cluster = cloud.run(step, Configurations=[env])
    cloud.until_state(cluster)
    (ended,) = cloud.steps(cluster)
    assert ended["Status"]["State"] == "FAILED"
    printed = cloud.log(cluster, f"{ended['Id']}/stdout.gz")
    assert "ValueError: no luck" in printed
    assert '"OF_PRIMARY": "yes"' in printed


def test_yarn_starts_a_failed_driver_again(cloud: Rehearsed) -> None:
    step = cloud.submit("raise SystemExit(3)")
    words = step["HadoopJarStep"]["Args"]
    step["HadoopJarStep"]["Args"] = [
        word for word in words if word not in ("--conf", "spark.yarn.maxAppAttempts=1")
    ]
    cluster = cloud.run(step)
    cloud.until_state(cluster)
    for attempt in ("01", "02"):
        said = cloud.log(cluster, f"_{attempt}_000001/stderr.gz")
        assert "exitCode: 3" in said


def test_what_was_not_uploaded_is_missing(cloud: Rehearsed) -> None:
    words = ("spark-submit", "--deploy-mode", "cluster", f"s3://{BUCKET}/no/such.py")
    cluster = cloud.run(cloud.step(*words))
    cloud.until_state(cluster)
    failure = cloud.steps(cluster)[0]["Status"]["FailureDetails"]
    missing = f"No such file or directory 's3://{BUCKET}/no/such.py'"
    assert failure["Message"] == f"java.io.FileNotFoundException: {missing}"


@pytest.mark.parametrize("how", ["SEND_INTERRUPT", "TERMINATE_PROCESS", "terminate"])
def test_a_cancelled_step_has_no_process_left(cloud: Rehearsed, how: str) -> None:
    asked = cloud.submit(SLEEPER, action="CONTINUE")
    words = asked["HadoopJarStep"]["Args"]
    if how != "terminate":
        words[words.index("cluster")] = "client"
    cluster = cloud.kept(asked)
    cloud.until_step(cluster, "RUNNING")
    cloud.until(drivers)
    (step,) = cloud.steps(cluster)
    assert cloud.get("clock")["rate"] == 1
    if how == "terminate":
        cloud.emr.terminate_job_flows(JobFlowIds=[cluster])
        assert cloud.status(cluster)["State"] == "TERMINATING"
    else:
        at = {"ClusterId": cluster, "StepIds": [step["Id"]]}
        told = cloud.emr.cancel_steps(**at, StepCancellationOption=how)["CancelStepsInfoList"]
        assert told == [{"StepId": step["Id"], "Status": "SUBMITTED"}]
    status = cloud.until_step(cluster, "CANCELLED")
    cloud.until(lambda: step_processes() == [], within_s=20)
    assert status["Timeline"]["EndDateTime"] > datetime.fromtimestamp(0, UTC)
    cloud.until(lambda: cloud.get("clock")["rate"] == 3600)
    cloud.end(cluster)


@pytest.mark.parametrize("how", ["SEND_INTERRUPT", "TERMINATE_PROCESS"])
def test_a_driver_on_yarn_survives_the_cancelling_of_its_step(cloud: Rehearsed, how: str) -> None:
    """EMR signals spark-submit on the primary; the application goes on, and may write."""
    cluster = cloud.kept(cloud.submit(SLEEPER, action="CONTINUE"))
    cloud.until(drivers)
    (step,) = cloud.steps(cluster)
    at = {"ClusterId": cluster, "StepIds": [step["Id"]]}
    cloud.emr.cancel_steps(**at, StepCancellationOption=how)
    assert cloud.steps(cluster)[0]["Status"]["State"] == "CANCEL_PENDING"
    cloud.until_step(cluster, "CANCELLED")
    assert drivers() != []
    cloud.end(cluster)
    cloud.until(lambda: step_processes() == [], within_s=20)


def test_a_driver_that_is_killed_from_outside_fails(cloud: Rehearsed) -> None:
    cluster = cloud.run(cloud.submit(SLEEPER))
    for process in cloud.until(drivers):
        process.send_signal(signal.SIGKILL)
    cloud.until_state(cluster)
    (step,) = cloud.steps(cluster)
    assert step["Status"]["State"] == "FAILED"
    assert "Exit code: 137" in cloud.log(cluster, f"{step['Id']}/stderr.gz")
