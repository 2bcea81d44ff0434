"""The same step on a standalone cluster, started from the pyspark package."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ascii_hydra.engines.local_request import local_conf
from ascii_hydra.engines.spark_launch import Installation

from .test_warm_jvm import LOOK


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def cluster(tmp_path) -> Iterator[str]:
    """A master with one worker of one core and 1 GiB; its URL."""
    spark = Installation.found()
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    environment = {
        **os.environ,
        **spark.environment(),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
        "SPARK_WORKER_DIR": str(tmp_path / "worker"),
        "PYSPARK_PYTHON": sys.executable,
    }
    daemon = [str(spark.spark / "bin" / "spark-class"), "org.apache.spark.deploy"]
    logs = [tmp_path / "master.log", tmp_path / "worker.log"]
    started = []
    try:
        for log, words in zip(
            logs,
            (
                ["master.Master", f"--host=127.0.0.1 --port={port} --webui-port=0"],
                ["worker.Worker", f"--host=127.0.0.1 --cores=1 --memory=1g --webui-port=0 {url}"],
            ),
            strict=True,
        ):
            arguments = words[1].replace("=", " ").split()
            with log.open("wb") as file:
                started.append(
                    subprocess.Popen(
                        [daemon[0], f"{daemon[1]}.{words[0]}", *arguments],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file,
                        start_new_session=True,
                    )
                )
            expected = "I have been elected leader" if "Master" in words[0] else "registered with"
            deadline = time.monotonic() + 60
            while expected not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                assert started[-1].poll() is None, log.read_text()
                time.sleep(0.05)
        yield url
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


@pytest.mark.usefixtures("archive")
def test_the_same_step_runs_on_a_standalone_cluster(bench, cluster):
    body = """
    pids = spark.sparkContext.parallelize(range(2), 2).map(lambda n: os.getppid()).collect()
    assert len(pids) == 2
    spark.range(100).write.mode("overwrite").parquet(self.output)
    assert spark.read.parquet(self.output).count() == 100
    executors = spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size()
    assert executors == 2, executors  # the driver counts as one
    """
    conf = {**local_conf(cluster, cores=1), "spark.executor.memory": "640m"}
    ended = bench.run(
        bench.spark("clustered", body + LOOK.replace("\n", "\n    "), conf=conf, timeout_s=120.0)
    )
    assert ended.green, ended.cause
    assert ended.materialized["master"] == cluster

    # More memory than a worker has: Spark would wait for ever, with a warning now and then.
    greedy = bench.spark(
        "greedy",
        "spark.range(10).count()",
        conf={**conf, "spark.executor.memory": "2g", "spark.starvation.timeout": "1s"},
        timeout_s=8.0,
    )
    ended = bench.run(greedy)
    assert "no worker has the cores and memory asked for" in ended.cause, bench.said
