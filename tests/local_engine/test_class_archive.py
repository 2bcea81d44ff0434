"""The archive of Spark's classes: built once, used where it fits, and never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ascii_hydra.engines import class_archive
from ascii_hydra.engines.spark_launch import Installation, driver_conf


def test_it_is_found_again_and_not_built_again(archive):
    assert class_archive.existing(Installation.found()) == archive
    said: list[str] = []
    assert class_archive.ensured(said.append) == archive
    assert said == []
    assert {p.suffix for p in archive.parent.iterdir()} <= {".jsa", ""}


def test_spark_starts_from_it(archive):
    """Java itself says where it takes Spark's main class from."""
    found = Installation.found()
    command = [word for word in found.driver_command({}) if not word.startswith("-Xlog")]
    at = command.index("org.apache.spark.deploy.SparkSubmit")
    command[at:] = [
        f"-XX:SharedArchiveFile={archive}",
        "-Xlog:class+load",
        command[at],
        "--version",
    ]
    ran = subprocess.run(
        command,
        env={**os.environ, **found.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [x for x in ran.stdout.splitlines() if " org.apache.spark.deploy.SparkSubmit " in x]
    assert "source: shared objects file (top)" in line


def test_another_java_or_spark_has_another_archive(archive, tmp_path):
    found = Installation.found()
    other_spark = tmp_path / "pyspark"
    (other_spark / "jars").mkdir(parents=True)
    jar = other_spark / "jars" / found.core_jar.name
    shutil.copy2(found.core_jar, jar)
    moved = replace(found, spark=other_spark, core_jar=jar)
    stems = {class_archive.stem(found), class_archive.stem(moved)}
    os.utime(jar, (1, 1))  # installed anew, at the same place
    renewed = class_archive.stem(moved)
    jar = jar.rename(jar.with_name("spark-core_2.13-9.9.9.jar"))
    upgraded = class_archive.stem(replace(moved, core_jar=jar))
    jdk = tmp_path / "jdk"
    (jdk / "bin").mkdir(parents=True)
    (jdk / "release").write_text('JAVA_VERSION="99"')
    other_java = class_archive.stem(replace(found, java=jdk / "bin" / "java"))
    (jdk / "release").write_text('JAVA_VERSION="100"')
    newer_java = class_archive.stem(replace(found, java=jdk / "bin" / "java"))
    assert len({*stems, renewed, upgraded, other_java, newer_java}) == 6
    # Same place, other version: a build would replace it.
    assert renewed.split("-")[1] == upgraded.split("-")[1]
    assert other_java.split("-")[1] == newer_java.split("-")[1]


def test_an_archive_that_was_cut_short_is_not_used(archive, tmp_path, monkeypatch):
    """Java would not pass over it but crash."""
    (tmp_path / archive.name).write_bytes(archive.read_bytes()[:8192])
    monkeypatch.setenv("ASCII_HYDRA_CACHE", str(tmp_path))
    assert class_archive.existing(Installation.found()) is None


def test_an_archive_that_does_not_fit_is_passed_over_in_silence(tmp_path):
    bad = tmp_path / "bad.jsa"
    bad.write_bytes(b"no classes" * 10_000)
    found = Installation.found()
    conf = driver_conf(memory_mib=256, small_data=True, temporary=tmp_path, archive=bad)
    command = found.driver_command(conf)
    assert f"-XX:SharedArchiveFile={bad}" in command
    at = command.index("org.apache.spark.deploy.SparkSubmit")
    ran = subprocess.run([*command[:at], "-version"], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    assert "warning" not in ran.stderr.replace("WARNING: Using incubator modules", "").lower()


def test_where_it_cannot_be_built_one_line_says_so(bench, monkeypatch):
    blocked = bench.folder / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("ASCII_HYDRA_CACHE", str(blocked / "cache"))
    said: list[str] = []
    assert class_archive.ensured(said.append) is None
    (line,) = said
    assert line.startswith("The archive could not be built, steps start more slowly:")
    assert class_archive.ensured(said.append) is None
    assert said == [line]  # once is enough


def built_by_command(environment) -> tuple[int, list[str], float]:
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "ascii_hydra.engines.class_archive"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout.splitlines(), time.monotonic() - begun


def test_the_command_does_not_fail_where_nothing_can_be_written():
    code, (line,), took_s = built_by_command({"ASCII_HYDRA_CACHE": "/proc/nope"})
    assert code == 0
    assert "could not be built" in line
    assert took_s < 20  # to build takes twice that


def test_a_build_that_failed_is_remembered_and_tried_again_only_by_the_command(
    tmp_path, monkeypatch
):
    jdk = tmp_path / "jdk"
    (jdk / "bin").mkdir(parents=True)
    (jdk / "release").write_text('JAVA_VERSION="99"')
    java = jdk / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho >> {tmp_path}/tries\necho broken >&2\nexit 1\n")
    java.chmod(0o755)
    asked = {"ASCII_HYDRA_CACHE": str(tmp_path / "cache"), "JAVA_HOME": str(jdk)}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    code, said, _ = built_by_command({})
    assert (code, len(said)) == (0, 2)
    assert "broken" in said[1]
    marker = tmp_path / "cache" / f"{class_archive.stem(Installation.found())}.failed"
    assert "broken" in marker.read_text()
    lines: list[str] = []
    assert class_archive.ensured(lines.append) is None
    assert lines == []
    assert (tmp_path / "tries").read_text() == "\n"
    assert built_by_command({})[0] == 0
    assert (tmp_path / "tries").read_text() == "\n\n"


def test_without_java_there_is_one_plain_sentence(bench, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(bench.folder / "nowhere"))
    said: list[str] = []
    assert class_archive.ensured(said.append) is None
    home = f"JAVA_HOME={bench.folder / 'nowhere'}"
    assert said == [f"No java in {home}: install Java 17 or newer, or set JAVA_HOME."]
    ended = bench.run(bench.spark("javaless", "pass"))
    assert ended.cause == f"javaless could not start: {said[0]}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ascii_hydra.engines.pyspark", ["pyspark", "py4j", "boto3", "databricks"]),
        ("ascii_hydra.engines.spark_jvm", ["pyspark", "py4j", "dagster", "dagster_pipes"]),
        ("ascii_hydra.engines.local_request", ["pyspark", "dagster", "psutil"]),
    ],
)
def test_imports_are_lazy(module, absent):
    check = f"import sys, {module}; print([n for n in {absent} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
