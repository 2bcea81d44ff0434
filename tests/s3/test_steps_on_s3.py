"""Steps of local Spark with their data in S3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg
import psutil
import pyarrow.dataset as ds
import pytest

from ascii_hydra.aws.client import Place
from ascii_hydra.engines import spark_jvm
from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.s3_cause import s3_cause
from ascii_hydra.engines.s3_spark import local_s3_conf
from tests.conftest import PROJECT, SMALL, CommandLine
from tests.s3.conftest import KEY, SECRET, Store, answering, refusing


def on_s3(store: Store, bucket: str) -> list[str]:
    return [
        "mode=small_dev_sample_s3",
        f"mode.bucket={bucket}",
        f"endpoint.url={store.url}",
        "endpoint.path_style=true",
    ]


def rows_of(folder: Path) -> list[dict[str, object]]:
    rows = ds.dataset(folder, format="parquet", partitioning=None).to_table().to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))


def leaks(secret: str, *folders: Path) -> list[str]:
    """Files that hold a secret."""
    files = (one for folder in folders for one in folder.rglob("*") if one.is_file())
    return [str(one) for one in files if secret.encode() in one.read_bytes()]


def test_two_steps_on_s3_with_no_secret_anywhere(
    store: Store,
    bucket: str,
    environment: Mapping[str, str],
    made_here: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    keys = {"ASCII_AWS_ACCESS_KEY_ID": KEY, "ASCII_AWS_SECRET_ACCESS_KEY": SECRET}
    lines: set[str] = set()
    with (tmp_path / "printed").open("w") as printed:
        run = subprocess.Popen(
            [sys.executable, "-m", "ascii_hydra", *on_s3(store, bucket), SMALL["two_steps"]],
            cwd=here,
            env={**environment, **keys, "DAGSTER_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 180
        while run.poll() is None and time.monotonic() < deadline:
            lines |= set(command_lines())
            time.sleep(0.1)
        assert run.wait(timeout=5) == 0, (tmp_path / "printed").read_text()

    assert any("step_process" in line and "s3a://" in line for line in lines)
    assert any("deploy.SparkSubmit" in line and "s3a.jar" in line for line in lines)
    assert [line for line in lines if SECRET in line] == []
    assert leaks(SECRET, tmp_path) == []

    prefix = "small_dev_sample/output/two_steps"
    for step in ("step_1", "step_2"):
        made = store.downloaded(bucket, f"{prefix}/{step}/", tmp_path / "s3" / step)
        assert rows_of(made) == rows_of(made_here("two_steps") / step)
    # The committer's own account, rather than the empty file of Hadoop's ordinary one.
    success = json.loads((tmp_path / "s3" / "step_1" / "_SUCCESS").read_text())
    assert success["committer"] == "magic"
    assert [key for key in store.keys(bucket) if "__magic" in key or "_temporary" in key] == []


def command_lines() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            yield " ".join(process.cmdline())
        except psutil.Error:
            continue


def test_webgraph_on_s3(
    store: Store,
    bucket: str,
    command_line: CommandLine,
    made_here: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    sample = PROJECT / "samples" / "webgraph"
    for path in sample.rglob("*"):
        if path.is_file():
            key = f"small_dev_sample/input/webgraph/{path.relative_to(sample)}"
            store.client.upload_file(str(path), bucket, key)
    chosen = ["pipeline=webgraph", SMALL["webgraph"]]
    keys = {"ASCII_AWS_ACCESS_KEY_ID": KEY, "ASCII_AWS_SECRET_ACCESS_KEY": SECRET}
    there = command_line(*chosen, *on_s3(store, bucket), extra=keys, timeout_s=200)
    assert there.returncode == 0, there.stdout + there.stderr
    local = made_here("webgraph")
    tables = {path.parent.relative_to(local) for path in local.rglob("*.parquet")}
    assert len(tables) == 7
    for table in tables:
        prefix = f"small_dev_sample/output/webgraph/{table}/"
        assert rows_of(store.downloaded(bucket, prefix, tmp_path / "s3" / table)) == rows_of(
            local / table
        )


# --- what goes wrong ------------------------------------------------------------------------

REFUSALS = """
import sys
from ascii_hydra.step import SparkStep
from pyspark.sql import functions as sf

class Step(SparkStep):
    def execute_business_logic(self, context, execution_mode, partition_key, spark, engine):
        said = {}
        for bucket in ("nobodys-bucket", "denied", "gone"):
            try:
                spark.range(10).write.mode("overwrite").parquet(f"s3a://{bucket}/out")
            except Exception as fault:
                said[bucket] = f"{type(fault).__name__}: {fault}"
        context.report_asset_materialization(metadata={"said": said})
        own = self.output
        spark.range(1000).write.mode("overwrite").parquet(own + "/before")

        @sf.udf("long")
        def failing(number):
            if number == 999:
                raise ValueError("the last row is lost")
            return number

        rows = spark.range(1000).repartition(4).select(failing("id").alias("id"))
        rows.write.mode("overwrite").parquet(own + "/half")

if __name__ == "__main__":
    Step.run()
"""


@pytest.fixture
def quiet_end() -> Iterator[None]:
    yield
    spark_jvm.close_all()


def local_request(script: Path, place: Place, conf: Mapping[str, str], output: str) -> LocalRequest:
    asked = {**local_conf("local[2]", cores=2), **conf}
    return LocalRequest(
        step=script.stem,
        script=str(script),
        arguments=("--engine=pyspark", "--mode=small_dev_sample_s3", f"--output={output}"),
        output=output,
        spark_conf=local_s3_conf(place, asked),
        driver_memory_mib=640,
        small_data=True,
        place=place,
        timeout_s=120,
    )


def failure_of(asked: LocalRequest) -> tuple[str, list[str]]:
    """Why an asset failed that is made so, and the step's own lines."""
    printed: list[str] = []
    client = LocalSparkClient(sink=lambda _, line: printed.append(line))

    @dg.asset(name=asked.step)
    def made(context):
        return client.run(context=context, request=asked).get_results()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
        assert not any(SECRET in str(one) for one in instance.all_logs(result.run_id))
    (event,) = [one for one in result.all_events if one.is_step_failure]
    return event.step_failure_data.user_failure_data.description, printed


@pytest.mark.usefixtures("quiet_end")
def test_a_failed_job_leaves_no_half_output_and_refusals_are_told(
    store: Store, bucket: str, tmp_path: Path
) -> None:
    script = tmp_path / "refusals.py"
    told = tmp_path / "told.json"
    script.write_text(
        REFUSALS.replace(
            'context.report_asset_materialization(metadata={"said": said})',
            f"import json; open({str(told)!r}, 'w').write(json.dumps(said))",
        )
    )
    with answering(refusing("AccessDenied")) as denied:
        places = {"denied": denied, "gone": "http://127.0.0.1:9"}
        conf = {f"spark.hadoop.fs.s3a.bucket.{k}.endpoint": v for k, v in places.items()}
        conf["spark.hadoop.fs.s3a.bucket.gone.retry.limit"] = "1"
        output = f"s3a://{bucket}/out"
        cause, printed = failure_of(local_request(script, store.place, conf, output))
    assert cause == "refusals raised ValueError: the last row is lost (in a Python worker of Spark)"
    assert any("the last row is lost" in line for line in printed)
    keys = store.keys(bucket)
    assert any(key.startswith("out/before/part-") for key in keys)
    # Of the job that failed: nothing but the folder's own marker.
    assert [key for key in keys if key.startswith("out/half") and not key.endswith("/")] == []
    assert store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert [line for line in printed if SECRET in line] == []

    said = {
        name: s3_cause(text, store.place) for name, text in json.loads(told.read_text()).items()
    }
    at = f"at {store.url}"
    assert said == {
        "nobodys-bucket": f"did not find the bucket nobodys-bucket {at}: make it, or set"
        " mode.bucket to one that is there.",
        "denied": f"may not read or write s3a://denied/out {at} (access denied): its credentials"
        " must be valid, and allow s3:GetObject, s3:PutObject, s3:DeleteObject,"
        " s3:AbortMultipartUpload and s3:ListBucket for the bucket denied; or set mode.bucket to"
        " another one.",
        "gone": f"could not reach S3 {at} for the bucket gone: check endpoint.url.",
    }
