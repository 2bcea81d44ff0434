"""A step is green only if it has written its output, now and not at some other time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

ROWS = 'spark.range({rows}).write.mode("overwrite").parquet(self.output)'
WRITES = {
    "an empty table": ROWS.format(rows=0),
    "a table again": ROWS.format(rows=3),
    "more rows": 'spark.range(3).write.mode("append").parquet(self.output)',
    "below it": 'spark.range(3).write.mode("overwrite").parquet(self.output + "/below/it")',
    "an empty table of partitions": (
        'spark.range(0).selectExpr("id", "id AS day").write.partitionBy("day")'
        '.mode("overwrite").parquet(self.output)'
    ),
    "one of its partitions": (
        'spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")\n'
        'spark.sql("SELECT 1 AS id, 2 AS day").write.partitionBy("day")'
        '.mode("overwrite").parquet(self.output)'
    ),
    "a file of plain Python": (
        "os.makedirs(self.output, exist_ok=True)\n"
        'open(f"{self.output}/plain.txt", "w").write("new")'
    ),
    "a copy with the times of its source": (
        "os.makedirs(self.output, exist_ok=True)\n"
        'open(f"{self.output}/plain.txt", "w").write("old")\n'
        'os.utime(f"{self.output}/plain.txt", (1_700_000_000, 1_700_000_000))'
    ),
}
IDLE = {
    "nothing": "spark.range(3).count()",
    "elsewhere": 'spark.range(3).write.mode("overwrite").parquet(self.output + "_of_another")',
    "if it is not there": 'spark.range(3).write.mode("ignore").parquet(self.output)',
    "an empty folder": "os.makedirs(self.output + '/empty', exist_ok=True)",
    "less": "[os.remove(f.path) for f in os.scandir(self.output) if 'part-0' in f.name]",
}


def arguments(output: Path, *more: str) -> tuple[str, ...]:
    mode = "--mode=small_dev_sample_local"
    return ("--engine=pyspark", mode, f"--output={output}", *more)


def earlier(output: Path) -> Path:
    """What a run of yesterday has left."""
    output.mkdir()
    for name in ("part-0.parquet", "part-1.parquet", "_SUCCESS", "plain.txt"):
        (output / name).write_text("old")
        os.utime(output / name, (1_700_000_000, 1_700_000_000))
    return output


BODY = """
import json, types
from ascii_hydra.step.written_output import OutputNotWrittenError, OutputWatch
said = {}
for name, (code, output) in self.parameters["cases"].items():
    watch = OutputWatch(output, engine, spark)
    exec(code, {"spark": spark, "os": os, "self": types.SimpleNamespace(output=output)})
    try:
        watch.check("KEY")
        said[name] = "written" if watch.unknown is None else watch.unknown
    except OutputNotWrittenError:
        said[name] = "not written"
context.report_asset_materialization(metadata={"said": json.dumps(said)})
"""


@pytest.mark.parametrize("there", [False, True])
def test_what_counts_as_written(bench, tmp_path, there):
    """One process writes all of it: Spark's seconds are paid once."""
    expected = {**dict.fromkeys(WRITES, "written"), **dict.fromkeys(IDLE, "not written")}
    if not there:
        expected["if it is not there"] = "written"
        del expected["less"]
    outputs = {name: tmp_path / name.replace(" ", "_") for name in expected}
    if there:
        for output in outputs.values():
            earlier(output)
    cases = {name: ({**WRITES, **IDLE}[name], str(path)) for name, path in outputs.items()}
    told = f"--parameter=cases={json.dumps(cases)}"
    given = arguments(tmp_path / "none", "--writes-output=false", told)
    ended = bench.run(bench.spark("various", BODY, arguments=given, timeout_s=300.0))
    assert ended.green, ended.cause
    assert json.loads(ended.materialized["said"]) == expected


def test_a_step_that_writes_nothing_fails(bench, tmp_path):
    """It says where it should have written, and what to do."""
    output = tmp_path / "output"
    body = "context.report_asset_materialization(metadata={'rows': spark.range(3).count()})"
    ended = bench.run(bench.spark("idle", body, arguments=arguments(output)))
    assert ended.cause == (
        f"idle raised OutputNotWrittenError: nothing was written to {output}: there is no file."
        " Write to self.output; a step that has no output of its own says"
        " pipeline.steps.STEP.writes_output=false, or writes_output=False of spark_asset."
    )
    declared = bench.run(
        bench.spark("idle", body, arguments=arguments(output, "--writes-output=false"))
    )
    assert declared.green, declared.cause


def test_the_output_of_an_earlier_run_is_not_this_ones(bench, tmp_path):
    output = earlier(tmp_path / "output")
    read = "spark.read.text(self.output).count()"
    ended = bench.run(bench.spark("stale", read, arguments=arguments(output)))
    assert "the 4 file(s) there are of an earlier run" in ended.cause
    again = bench.run(bench.spark("stale", ROWS.format(rows=0), arguments=arguments(output)))
    assert again.green, again.cause


def test_a_script_that_does_not_run_its_step_fails(bench, tmp_path):
    request = bench.spark("defined", "raise AssertionError", arguments=arguments(tmp_path / "out"))
    script = Path(request.script)
    script.write_text(script.read_text().replace("\nStep.run()\n", "\n"))
    assert "without any Dagster Pipes message" in bench.run(request).cause


def test_a_folder_of_very_many_files_is_not_listed(bench, tmp_path):
    """The list is one text, in the memory of the step's driver."""
    uri = earlier(tmp_path / "it").as_uri()
    body = f"""
    from ascii_hydra.step import written_output as watch
    said = []
    for most in (4, 3):
        watch._MOST_FILES = most
        try:
            said.append(len(list(watch._hadoop_files({uri!r}, spark))))
        except watch.UnlistedError as fault:
            said.append(str(fault))
    context.report_asset_materialization(metadata={{"said": str(said)}})
    """
    made = bench.run(bench.spark("many", body)).materialized
    assert made["said"] == "[4, 'it has more than 3 files']"
