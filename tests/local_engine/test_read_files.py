"""What a step is said to have read: the sizes of the files that its queries scan, or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, DagsterInstance

from ascii_hydra.step.read_files import _bytes, _UnknownError
from tests.conftest import SMALL

KEPT = """
a = spark.read.parquet(table).cache()
a.count()
a.agg({"wide": "max"}).collect()
a.unpersist()
"""
OWN_OUTPUT = """
spark.range(10).coalesce(1).write.mode("overwrite").parquet(out)
spark.read.schema("id long").parquet(out).count()
"""
FAILING = """
try:
    spark.read.text(text).selectExpr("raise_error(value)").collect()
except Exception as fault:
    assert "secret" in str(fault)
"""
JOINED = """
rows = spark.read.parquet(table)
rows.join(rows.groupBy("part").count(), "part").count()
"""
PLANNED_ANEW = """
lengths = spark.read.text(text).selectExpr("cast(length(value) AS long) AS small").distinct()
spark.read.parquet(table).join(lengths, "small").count()
"""
OTHER = """
rows = spark.newSession().read.parquet(table)
rows.count()
"""
DROPPED = """
absent = spark.read.text(text).where("value = 'absent'").selectExpr("length(value) AS small")
wide = spark.read.parquet(table).groupBy("wide").agg({"small": "max"})
wide.withColumnRenamed("max(small)", "small").join(absent.distinct(), "small").count()
"""
READS = {
    "nothing": ("spark.range(1000).count()", 0),
    "one column": ("spark.read.parquet(table).agg({'small': 'max'}).collect()", "table"),
    "the whole table": ("spark.read.parquet(table).write.mode('overwrite').csv(out)", "table"),
    "one partition": ("spark.read.parquet(table).where('part = 1').count()", "part=1"),
    "twice": (JOINED, "two tables"),
    "two tables": (PLANNED_ANEW, "table and text"),
    "another session's": (OTHER, "table"),
    "kept": (KEPT, "table"),
    "its own output": (OWN_OUTPUT, "out"),
    "text": ("spark.read.text(text).count()", "text"),
    "a query that fails": (FAILING, "text"),
    "rows of Python": ("spark.createDataFrame([(1,)], 'n int').collect()", None),
    "an RDD": ("spark.sparkContext.textFile(text).count()", None),
    "the RDD of a table": ("spark.read.parquet(table).rdd.count()", None),
    "a row at a time": ("list(spark.read.parquet(table).toLocalIterator())", "table"),
    "a scan that adaptive execution drops": (DROPPED, "table and text"),
    "201 queries": ("for _ in range(201):\n    spark.range(0).collect()", None),
}
BODY = """
import json, shutil
from ascii_hydra.step.choices import Engine
from ascii_hydra.step.read_files import FilesRead
said = {}
# Databricks' readers have other metrics, so nothing is said there.
of_databricks = FilesRead(spark, Engine.databricks)
for name, code in self.parameters["cases"].items():
    files = FilesRead(spark, engine)
    exec(code, {"spark": spark, **self.parameters["paths"]})
    said[name] = files.total()
said["on Databricks"] = of_databricks.total()
context.report_asset_materialization(metadata={"said": json.dumps(said)})
"""


def size(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*.parquet"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """3 MB of one wide column and a narrow one, in three partitions."""
    for part in range(3):
        folder = tmp_path / "table" / f"part={part}"
        folder.mkdir(parents=True)
        wide = [os.urandom(500).hex() for _ in range(1000 * (part + 1))]
        pq.write_table(pa.table({"small": range(len(wide)), "wide": wide}), folder / "a.parquet")
    return tmp_path / "table"


def test_the_sizes_of_the_files_that_are_scanned(bench, table, tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("secret\n" * 10_000)
    paths = {"table": str(table), "text": str(text), "out": str(out)}
    cases = {name: code for name, (code, _) in READS.items()}
    told = [f"--parameter=cases={json.dumps(cases)}", f"--parameter=paths={json.dumps(paths)}"]
    given = ("--engine=pyspark", "--mode=full", "--output=x", "--writes-output=false", *told)
    ended = bench.run(bench.spark("reader", BODY, arguments=given, timeout_s=300.0))
    assert ended.green, ended.cause
    sizes = {
        "table": size(table),
        "part=1": size(table / "part=1"),
        "two tables": 2 * size(table),
        "table and text": size(table) + text.stat().st_size,
        "out": size(out),
        "text": text.stat().st_size,
    }
    assert size(table) > 3_000_000
    # Text where the JVM has forgotten the scan's own count.
    said = json.loads(ended.materialized["said"])
    assert said.pop("on Databricks") is None
    assert said == {
        name: None if expected is None else pytest.approx(sizes.get(expected, 0), rel=0.025)
        for name, (_, expected) in READS.items()
    }


@pytest.mark.parametrize("unknown", [False, True])
def test_what_a_step_has_read_is_on_its_asset(bench, table, unknown):
    body = f"spark.read.parquet({str(table)!r}).agg({{'small': 'max'}}).collect()\n"
    body += f"spark.sparkContext.textFile({str(table / 'part=0')!r}).count()\n" * unknown
    made = bench.run(bench.spark("made", body, timeout_s=300.0)).materialized
    assert made.get("spark/input_bytes") == (None if unknown else size(table))


def test_two_steps_of_one_jvm_read_their_own_files(command_line, shared_home, tmp_path):
    """Spark's store is that of a SparkContext, and the steps' JVM has one after the other. Both
    steps read again what they have written."""
    data = tmp_path / "data"
    ended = command_line(SMALL["two_steps"], f"mode.output_root={data}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    read = {}
    with DagsterInstance.from_config(str(shared_home)) as instance:
        for step in ("step_1", "step_2"):
            event = instance.get_latest_materialization_event(AssetKey(["two_steps", step]))
            read[step] = event.asset_materialization.metadata["spark/input_bytes"].value
    first, second = (size(data / "two_steps" / step) for step in read)
    assert read == pytest.approx({"step_1": first, "step_2": first + second}, rel=0.025)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0.0 B", 0),
        ("2047.0 B", 2047),
        ("2.0 KiB", 2048),
        ("1953.2 KiB", 2_000_077),
        ("total (min, med, max (stageId: taskId))\n3.0 MiB (1.0 MiB, 1.0 MiB, 1.0 MiB)", 3 << 20),
    ],
)
def test_the_text_of_a_size(text, size_bytes):
    assert _bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "3", "1.0 KB", "1,0 KiB", "2.0 KiB and more"])
def test_another_text_is_no_size(text):
    with pytest.raises(_UnknownError):
        _bytes(text)
