"""What a step prints is seen at once, all of it, where one looks for it."""

from __future__ import annotations

import threading
import time

import dagster as dg
import pytest

from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.step_output import TAIL_LINES
from tests.waiting import until


def test_a_megabyte_without_a_newline_and_a_burst_do_not_block(bench):
    """S1: with its pipes unread, a stock step stood still for ever at 64 kB."""
    ended = bench.run(
        bench.pipes(
            "loud",
            """
            with opened():
                sys.stdout.write("x" * 1_000_000)
                for number in range(20_000):
                    sys.stderr.write("0123456789" + chr(10))
            """,
        )
    )
    assert ended.green
    assert sum(len(line) for stream, line in bench.said if stream == "stdout") == 1_000_000
    assert [line for stream, line in bench.said if stream == "stderr"] == ["0123456789"] * 20_000


def test_lines_arrive_while_the_step_still_runs(bench):
    arrived = []
    request = bench.pipes(
        "ticking",
        """
        with opened():
            print("first"); print("second", file=sys.stderr)
            time.sleep(0.7)
            print("ended", time.time())
        """,
    )
    client = LocalSparkClient(sink=lambda stream, line: arrived.append((time.time(), stream, line)))
    assert bench.run(request, client).green
    at = {line.split()[0]: (when, stream) for when, stream, line in arrived}
    ended = float(arrived[-1][2].split()[1])
    assert at["first"][1] == "stdout"
    assert at["second"][1] == "stderr"
    assert at["first"][0] < ended - 0.4
    assert at["second"][0] < ended - 0.4


def test_bytes_that_are_no_text_are_replaced(bench):
    assert bench.run(
        bench.pipes("binary", r"with opened(): os.write(1, b'caf\xe9 \xc3\xa9 end')")
    ).green
    assert ("stdout", "caf\ufffd \xe9 end") in bench.said


def test_the_whole_output_is_kept_in_files(bench, tmp_path):
    request = bench.pipes(
        "chatty",
        """
        with opened():
            for number in range(1000):
                print(number)
        """,
    )
    assert bench.run(request, LocalSparkClient(sink=bench.sink, log_folder=tmp_path / "logs")).green
    kept = (tmp_path / "logs" / "chatty.stdout.log").read_text().splitlines()
    assert kept == [str(number) for number in range(1000)]
    assert len(kept) > TAIL_LINES


def test_the_output_is_in_the_runs_compute_logs(bench, tmp_path):
    request = bench.pipes(
        "logged",
        """
        with opened():
            print("seen on stdout"); print("seen on stderr", file=sys.stderr)
        """,
    )

    @dg.asset
    def logged(context):
        return LocalSparkClient().run(context=context, request=request).get_results()

    with dg.DagsterInstance.local_temp(
        tempdir=str(tmp_path),
        overrides={
            "compute_logs": {
                "module": "dagster._core.storage.local_compute_log_manager",
                "class": "LocalComputeLogManager",
                "config": {"base_dir": str(tmp_path / "compute")},
            }
        },
    ) as instance:
        result = dg.materialize([logged], instance=instance)
        (captured,) = [
            event.event_specific_data
            for event in result.all_events
            if event.event_type_value == "LOGS_CAPTURED"
        ]
        key = [result.run_id, "compute_logs", captured.file_key]
        data = instance.compute_log_manager.get_log_data(key)
    assert b"seen on stdout" in data.stdout
    assert b"seen on stderr" in data.stderr


def test_a_sink_that_fails_stops_the_step(bench):
    """S3: an exception that is no interrupt never stopped the stock step."""
    request = bench.pipes(
        "unheard",
        """
        with opened():
            print("hello")
            time.sleep(60)
        """,
    )

    def broken(stream, line):
        raise BrokenPipeError("terminal gone")

    @dg.asset
    def unheard(context):
        return LocalSparkClient(sink=broken).run(context=context, request=request).get_results()

    # Earlier tests of this process (servers, pools of the SDKs) may have threads of their own.
    threads_before = set(threading.enumerate())
    begun = time.monotonic()
    with pytest.raises(BrokenPipeError, match="terminal gone"):
        dg.materialize([unheard])
    assert time.monotonic() - begun < 40
    until(lambda: set(threading.enumerate()) <= threads_before)
