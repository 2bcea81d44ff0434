"""The steps of a process share one JVM, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ascii_hydra.engines import own_folder, spark_jvm
from ascii_hydra.engines.process_tree import MARK
from ascii_hydra.engines.pyspark import LocalSparkClient
from tests.waiting import until

from .conftest import marked_processes

pytestmark = pytest.mark.usefixtures("archive")

# What a step sees of its JVM and its settings.
LOOK = """
jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
conf = spark.sparkContext.getConf()
context.report_asset_materialization(metadata={
    "jvm": jvm,
    "master": spark.sparkContext.master,
    "name": spark.sparkContext.appName,
    "partitions": spark.conf.get("spark.sql.shuffle.partitions"),
    "mine": conf.get("spark.mine", "unset"),
    "ansi": spark.conf.get("spark.sql.ansi.enabled"),
    "views": len(spark.catalog.listTables()),
    "ui": str(spark.sparkContext.uiWebUrl),
    "heap_mib": spark._jvm.java.lang.Runtime.getRuntime().maxMemory() // 1048576,
})
"""


def jvms() -> list[int]:
    return [p.pid for p in marked_processes() if "java" in p.name()]


def test_two_steps_use_one_jvm_each_with_its_own_settings_and_files(bench, tmp_path):
    first = bench.run(
        bench.spark(
            "first",
            """
spark.range(20).createOrReplaceTempView("left_over")
spark.range(20).repartition(4).write.mode("overwrite").parquet(self.output)
pythons = spark.sparkContext.parallelize(range(4), 2).map(lambda n: sys.executable)
assert set(pythons.collect()) == {sys.executable}
"""
            + LOOK,
            conf={"spark.mine": "a", "spark.sql.ansi.enabled": "false"},
        )
    )
    assert first.green, first.cause
    second = bench.run(
        bench.spark(
            "second",
            "assert spark.read.parquet('out').count() == 20\n" + LOOK,
            conf={"spark.master": "local[2]", "spark.sql.shuffle.partitions": "3"},
        )
    )
    assert second.green, second.cause
    one, two = first.materialized, second.materialized
    assert one["jvm"] == two["jvm"] == jvms()[0]
    assert (one["master"], two["master"]) == ("local[1]", "local[2]")
    assert (one["partitions"], two["partitions"]) == ("8", "3")
    assert (one["mine"], two["mine"]) == ("a", "unset")
    assert (one["ansi"], two["ansi"]) == ("false", "true")
    assert (one["views"], two["views"]) == (1, 0)
    assert one["ui"] == two["ui"] == "None"
    assert 600 <= one["heap_mib"] <= 660
    # Nothing but the output is left where the steps ran, and nothing at all in /tmp.
    assert {p.name for p in bench.folder.iterdir()} == {"out", "first.py", "second.py"}
    (jvm,) = spark_jvm._idle
    assert jvm._temporary.is_dir()
    spark_jvm.close_all()
    assert not jvm._temporary.exists()
    assert marked_processes() == []
    # The log is Spark's warnings, without those that come every time.
    assert [line for stream, line in bench.said if stream == "stderr"] == []


def test_a_step_that_fails_or_leaves_its_context_does_not_harm_the_next(bench):
    """Whatever a step did to its JVM, the next one gets a sound one."""
    good = bench.spark("good", LOOK)
    crash = bench.spark("crash", "spark.range(5).count(); os._exit(7)")
    ends = [bench.run(good)]
    assert bench.run(crash).cause.startswith("crash ended with exit code 7")
    assert jvms() == []  # it went with the step that crashed in it
    ends.append(bench.run(good))

    # Not a SparkStep: it ends well and leaves its SparkContext behind.
    left = bench.pipes(
        "left",
        """
        from pyspark import SparkContext
        with opened() as context:
            SparkContext("local[1]", "left").parallelize([1]).count()
            context.report_asset_materialization()
        sys.stdout.flush()
        os._exit(0)
        """,
        **{k: getattr(good, k) for k in ("spark_conf", "small_data", "driver_memory_mib")},
        reuse_jvm=True,
    )
    assert bench.run(left).green
    ends.append(bench.run(good))
    assert [end.green for end in ends] == [True, True, True]
    assert len({end.materialized["jvm"] for end in ends}) == 3
    assert len(jvms()) == 1


def test_a_failure_in_spark_is_named_and_the_stop_event_frees_the_jvm(bench, stop):
    absent = bench.spark("absent", "spark.read.parquet('nowhere').count()")
    ended = bench.run(absent)
    assert ended.cause.startswith("absent raised AnalysisException: [PATH_NOT_FOUND] Path does")
    assert "nowhere" in ended.cause

    slow = bench.spark("slow", "print('busy', flush=True)\nspark.range(10**13).count()")
    client = LocalSparkClient(
        sink=lambda stream, line: stop.set() if line == "busy" else None, stop=stop
    )
    ended = bench.run(slow, client)
    assert not ended.green
    assert [text for text in ended.logged if "interrupted" in text]
    assert marked_processes() == []


def test_a_jvm_that_dies_is_the_cause_that_is_shown(bench):
    ended = bench.run(
        bench.spark(
            "starved",
            "os.kill(spark._jvm.java.lang.ProcessHandle.current().pid(), 9)\n"
            "spark.range(5).count()",
        )
    )
    assert "because Spark's JVM was killed by SIGKILL" in ended.cause


def test_the_gateways_secret_is_shown_to_nobody(bench, tmp_path):
    watched: list[list[str]] = []
    secrets: set[str] = set()
    seen = tmp_path / "seen"

    def watch(stream: str, line: str) -> None:
        for process in marked_processes():
            with suppress(psutil.NoSuchProcess):  # it ends with its last line
                environment = process.environ()
                watched.append(process.cmdline())
                secrets.update(filter(None, [environment.get("PYSPARK_GATEWAY_SECRET")]))
        seen.touch()

    client = LocalSparkClient(sink=watch, log_folder=tmp_path / "logs")
    ended = bench.run(bench.spark("secretive", "print('now', flush=True)\nspark.range(3).count()"))
    ended = bench.run(
        bench.spark(
            "secretive",
            f"""
            import time
            print('now', flush=True)
            while not os.path.exists({str(seen)!r}):
                time.sleep(0.01)
            raise ValueError
            """,
        ),
        client,
    )
    (secret,) = secrets
    assert len(secret) >= 16
    assert watched
    assert not [words for words in watched if any(secret in word for word in words)]
    assert "PYSPARK_GATEWAY_SECRET" not in os.environ
    shown = "\n".join([*ended.logged, *ended.evidence.values(), ended.cause])
    kept = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert secret not in shown + kept
    assert not list(Path(bench.folder).rglob("connection"))


def test_two_steps_at_once_take_turns(bench):
    requests = [bench.spark(name, LOOK) for name in ("left", "right")]
    ends = {}

    def run(request):
        ends[request.step] = bench.run(request)

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends["left"].materialized["jvm"] == ends["right"].materialized["jvm"]


def test_if_the_orchestrator_is_killed_step_and_jvm_end_by_themselves(bench, orchestrator):
    request = bench.spark("made", "print('ready', flush=True)\nspark.range(10**13).count()")
    process = orchestrator(request)
    for line in process.stdout:
        if line.startswith("ready"):
            break
    before = marked_processes()
    assert {"java"} <= {p.name() for p in before}
    assert len({p.environ()[MARK] for p in before}) == 2
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(p.pid) and p.is_running() for p in before), 15)
    own_folder.sweep(str(bench.folder))  # as the next start does
    assert list(bench.folder.glob("ascii_hydra-*")) == []


def test_a_jvm_that_hangs_is_thrown_away_and_blocks_nobody(bench, monkeypatch, stop):
    monkeypatch.setattr(spark_jvm, "_ANSWER_S", 5.0)
    spec = spark_jvm.JvmSpec.of(bench.spark("any", "pass"))
    with spark_jvm.leased(spec) as lease:
        lease.jvm.connection()
        lease.keep = True
    hung = lease.jvm
    (pid,) = jvms()
    os.kill(pid, signal.SIGSTOP)
    used: list[spark_jvm.SparkJvm] = []

    def use():
        with spark_jvm.leased(spec) as lease:
            used.append(lease.jvm)

    begun = time.monotonic()
    asking = threading.Thread(target=use)
    asking.start()
    until(lambda: spark_jvm._leased == [hung])
    # While it is being asked, others are not held up, and do not take another one.
    with spark_jvm._lock:
        assert spark_jvm._idle == []
    spark_jvm.close_all()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(InterruptedError), spark_jvm.leased(spec, stop):
        pass
    assert time.monotonic() - begun < 4.5
    asking.join()
    assert time.monotonic() - begun < 30
    assert not psutil.pid_exists(pid)
    assert used
    assert used[0] is not hung
    assert spark_jvm._leased == spark_jvm._living == []


def test_a_stop_is_heard_while_a_hung_jvm_is_asked(bench, monkeypatch, stop):
    monkeypatch.setattr(spark_jvm, "_ANSWER_S", 0.5)
    spec = spark_jvm.JvmSpec.of(bench.spark("any", "pass"))
    with spark_jvm.leased(spec) as lease:
        lease.jvm.connection()
        lease.keep = True
    os.kill(jvms()[0], signal.SIGSTOP)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(InterruptedError), spark_jvm.leased(spec, stop):
        pass
    assert spark_jvm._leased == spark_jvm._idle == spark_jvm._living == []
