"""Two runs at once never write to one output."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from ascii_hydra.engines.output_lock import local_folder
from ascii_hydra.engines.pyspark import LocalSparkClient
from tests.waiting import until

from .conftest import marked_processes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("ASCII_HYDRA_CACHE", str(cache))
    return cache


def open_files(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


def test_another_run_is_refused_at_once_until_the_first_one_is_gone(bench, orchestrator, cache):
    slow = bench.pipes(
        "made",
        """
        with opened():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            print("ready", flush=True)
            time.sleep(60)
        """,
        output=str(bench.folder / "out"),
    )
    process = orchestrator(slow)
    for line in process.stdout:
        if line.startswith("ready"):
            break
    # The same folder by another way.
    link = bench.folder / "link"
    link.symlink_to(bench.folder)
    output = f"file://{link}/out/"
    quick = bench.pipes("quick", "with opened(): pass", output=output)
    assert bench.run(quick).cause == (
        f"quick cannot start: {output} is being written by another run (process {process.pid});"
        " wait for it, or choose another output."
    )
    other = bench.pipes("other", "with opened(): pass", output=str(bench.folder / "elsewhere"))
    assert bench.run(other).green

    (lock,) = (cache / "locks").iterdir()
    assert lock.read_text() == f"{process.pid} made\n"
    assert str(lock) in open_files(process.pid)
    steps = marked_processes()
    assert len(steps) >= 2
    assert not [step for step in steps if str(lock) in open_files(step.pid)]

    # Nobody tidies up after a process that is killed, and its step lives on for a moment.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert bench.run(quick).green
    assert list((cache / "locks").iterdir()) == []
    until(lambda: marked_processes() == [])


def test_two_threads_of_one_process_exclude_each_other(bench):
    wait = 'with opened():\n    while not os.path.exists("go"): time.sleep(0.01)'
    requests = [bench.pipes(name, wait, output="out") for name in ("left", "right")]
    client = LocalSparkClient(sink=bench.sink)
    ended = []

    def run(request):
        ended.append(bench.run(request, client))
        (bench.folder / "go").touch()

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused, done = ended
    assert done.green
    assert f"out is being written by another run (process {os.getpid()});" in refused.cause


def test_without_a_cache_folder_the_step_runs_and_a_warning_says_what_is_missing(
    bench, monkeypatch
):
    monkeypatch.setenv("ASCII_HYDRA_CACHE", "/proc/nope")
    ended = bench.run(bench.pipes("bold", "with opened(): pass", output="out"))
    assert ended.green
    assert [x for x in ended.logged if x.startswith("nothing keeps another run from writing to")]


@pytest.mark.parametrize(
    ("output", "folder"),
    [
        ("", None),
        ("s3://bucket/out", None),
        ("hdfs://host/out", None),
        ("/data/out/", "/data/out"),
        ("file:///data/a%20b", "/data/a b"),
        ("file:/data/out", "/data/out"),
    ],
)
def test_outputs_of_this_machine_are_known_by_their_folder(output, folder):
    assert local_folder(output) == folder
