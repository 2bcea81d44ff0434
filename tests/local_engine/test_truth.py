"""An asset is green if its step succeeded and said so, and for no other reason."""

from __future__ import annotations

import os
import textwrap
import threading
import time
from pathlib import Path

import dagster as dg
import pytest

from ascii_hydra.engines.pipes_reader import FileReader
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.step_output import StepOutput
from tests.waiting import until

TRACEBACK = """Traceback (most recent call last):
  File "{}", line 9, in <module>
    river("Lethe")
ValueError: no such river
"""


def test_one_client_serves_two_assets(bench):
    """R1: with the stock reader the second asset lost all its messages."""
    client = LocalSparkClient(sink=bench.sink)
    source = """
        with opened() as context:
            context.report_asset_materialization(metadata={"me": sys.argv[1]})
    """
    first = bench.run(bench.pipes("first", source, arguments=("one",)), client)
    second = bench.run(bench.pipes("second", source, arguments=("two",)), client)
    assert (first.materialized["me"], second.materialized["me"]) == ("one", "two")


def test_one_client_serves_two_assets_at_once_from_other_threads(bench):
    client = LocalSparkClient(sink=bench.sink)
    source = """
        with opened() as context:
            time.sleep(0.5)
            context.report_asset_materialization(metadata={"me": sys.argv[1]})
    """
    requests = [bench.pipes(name, source, arguments=(name,)) for name in ("left", "right")]
    ended = {}

    def run(request):
        ended[request.step] = bench.run(request, client)

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: one.materialized["me"] for name, one in ended.items()} == {
        "left": "left",
        "right": "right",
    }


def test_no_message_no_green(bench):
    """G1: stock Pipes materialises an asset of which it never heard."""
    ended = bench.run(bench.pipes("silent", "print('done')"))
    assert not ended.green
    assert "without any Dagster Pipes message" in ended.cause


def test_pipes_left_open_is_no_green(bench):
    ended = bench.run(
        bench.pipes(
            "hasty",
            """
            context = opened()
            context.report_asset_materialization(metadata={"rows": 1})
            os._exit(0)
            """,
        )
    )
    assert "without closing Dagster Pipes" in ended.cause


def test_closed_with_an_exception_is_no_green_though_the_exit_code_is_0(bench):
    ended = bench.run(
        bench.pipes(
            "tolerant",
            """
            try:
                with opened():
                    raise ValueError("no such column: text")
            except ValueError:
                pass
            """,
        )
    )
    assert ended.cause == "tolerant reported ValueError: no such column: text"


def test_an_exception_is_named_and_its_traceback_starts_in_the_script(bench):
    ended = bench.run(
        bench.pipes(
            "broken",
            """
            with opened():
                raise KeyError("text")
            """,
        )
    )
    assert ended.cause == "broken raised KeyError: 'text'"
    assert ended.evidence["exit"] == "exit code 1"
    assert "step_process" not in ended.evidence["stderr_tail"]
    assert "KeyError: 'text'" in ended.evidence["stderr_tail"]


def test_a_failure_shows_exit_code_command_tail_and_where_the_logs_are(bench, tmp_path):
    """S4: stock says "failed with code N" and no more."""
    logs = tmp_path / "logs"
    request = bench.pipes(
        "failing",
        """
        with opened():
            for number in range(100):
                print("line", number, file=sys.stderr)
        sys.exit(3)
        """,
        arguments=("--rows", "7"),
    )
    ended = bench.run(request, LocalSparkClient(sink=bench.sink, log_folder=logs))
    assert ended.cause == "failing ended with exit code 3; its last words: line 99"
    assert ended.evidence["exit"] == "exit code 3"
    assert f"{request.script} --rows 7" in ended.evidence["command"]
    assert ended.evidence["stderr_tail"].splitlines() == [f"line {n}" for n in range(60, 100)]
    assert str(logs / "failing.stderr.log") in ended.evidence["logs"]
    assert (logs / "failing.stderr.log").read_text().splitlines()[0] == "line 0"


def test_what_was_said_before_is_shown_whichever_pipe_is_read_first():
    """A pipe keeps no time: on a busy machine the traceback is read before the last print."""
    output = StepOutput(lambda _stream, _line: None)
    pipes = {}
    for name in ("stdout", "stderr"):
        reading, writing = os.pipe()
        pipes[name] = (os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0))
    traceback = TRACEBACK.format("mine.py").encode()
    pipes["stderr"][1].write(b"begun\n" + traceback)
    output.read(pipes["stdout"][0], pipes["stderr"][0])
    try:
        until(lambda: len(output.tail("stderr")) == 1 + traceback.count(b"\n"))
        pipes["stdout"][1].write(b"looking for Lethe\n")
    finally:
        for _, writing in pipes.values():
            writing.close()
        output.finish()
    assert output.own_tail(9, traceback_of="mine.py") == ("begun", "looking for Lethe")


def test_a_failure_shows_where_it_was_and_what_was_said_before(bench):
    """Nor is a traceback that the step has only logged taken for its last, or one that the
    exception's message holds."""
    ended = bench.run(
        bench.pipes(
            "spoken",
            """
            import traceback
            def fails():
                worker = "Traceback (most recent call last):"
                raise ValueError("w\\n\\tat a.b.C(D.java:1)\\n" + worker + "\\n")
            def parses():
                try:
                    int("x")
                except ValueError:
                    traceback.print_exc()
            with opened():
                parses()
                print("going on", file=sys.stderr)
                try:
                    fails()
                except ValueError as fault:
                    raise KeyError("text") from fault
            """,
        )
    )
    assert ended.cause == "spoken raised KeyError: 'text'"
    assert ended.evidence["failed_at"].endswith(', in <module>: raise KeyError("text") from fault')
    lines = ended.evidence["output_tail"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["ValueError: invalid literal for int() with base 10: 'x'", "going on"]


def test_a_kill_is_explained(bench):
    ended = bench.run(bench.pipes("victim", "os.kill(os.getpid(), signal.SIGKILL)"))
    assert "killed by SIGKILL, most often by the system for want of memory" in ended.cause
    assert ended.evidence["exit"] == "signal SIGKILL"


def test_a_missing_script_is_a_failure_that_names_it(bench):
    request = bench.pipes("absent", "")
    (bench.folder / "absent.py").unlink()
    assert request.script in bench.run(request).cause


def test_success_without_a_report_is_a_plain_materialisation(bench):
    ended = bench.run(bench.pipes("modest", "with opened(): pass"))
    assert ended.green
    assert ended.materialized == {}


def test_asset_checks_arrive(bench):
    ended = bench.run(
        bench.pipes(
            "checked",
            """
            with opened() as context:
                context.report_asset_check("rows", passed=True, metadata={"rows": 3})
                context.report_asset_materialization(metadata={"rows": 3})
            """,
        ),
        checks=[dg.AssetCheckSpec("rows", asset="checked")],
    )
    (check,) = ended.result.get_asset_check_evaluations()
    assert check.passed
    assert ended.materialized == {"rows": 3}


MESSAGES = """
path = next(
    decode_param(sys.argv[at + 1])["path"]
    for at, word in enumerate(sys.argv) if word == "--dagster-pipes-messages"
)
"""


def test_a_malformed_message_is_skipped_counted_and_shown(bench):
    """R8: one bad line ended the stock reader, and with it all that followed."""
    ended = bench.run(
        bench.pipes(
            "sloppy",
            f"""
            from dagster_pipes import decode_param
            {MESSAGES.replace(chr(10), chr(10) + " " * 12)}
            with opened() as context:
                for line in ('{{"method": "opened", "par', '[1, 2]', '{{"method": "dance"}}'):
                    with open(path, "a") as file:
                        file.write(line + chr(10))
                context.report_asset_materialization(metadata={{"rows": 5}})
            """,
        )
    )
    assert ended.green
    assert ended.materialized == {"rows": 5, "pipes/malformed_messages": 3}
    warnings = [text for text in ended.logged if "could not be read" in text]
    assert len(warnings) == 3
    assert '{"method": "opened", "par' in warnings[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            """
            context._message_channel.write_message({
                "method": "report_asset_materialization", "params": {
                    "asset_key": "refused", "data_version": None,
                    "metadata": {"rows": {"raw_value": 3, "type": "furlongs"}}}})
            """,
            "sent a Pipes message that Dagster rejects (CheckError: ",
        ),
        (
            """
            context._message_channel.write_message({
                "method": "log", "params": {"words": 1}})
            """,
            "sent a Pipes message that Dagster rejects (TypeError: ",
        ),
        (
            """
            context._message_channel.write_message({
                "__dagster_pipes_version": "9", "method": "report_more", "params": {}})
            """,
            "Unknown message method: report_more",
        ),
        (
            """
            context._message_channel.write_message({
                "method": "report_asset_materialization", "params": {
                    "asset_key": "other", "data_version": None, "metadata": {}}})
            """,
            "refused reported the asset 'other', which its asset does not have",
        ),
        (
            'context.report_asset_check("unknown", passed=True)',
            "refused reported the check 'unknown' of 'refused', which its asset does not have",
        ),
    ],
)
def test_what_dagster_rejects_is_no_green(bench, source, reason):
    """It is a message, so something was to be reported that would be missing."""
    body = "with opened() as context:\n" + textwrap.indent(textwrap.dedent(source), "    ")
    ended = bench.run(bench.pipes("refused", body))
    assert not ended.green
    assert reason in ended.cause


def test_a_half_written_message_is_waited_for(bench):
    ended = bench.run(
        bench.pipes(
            "slow_writer",
            f"""
            import json
            from dagster_pipes import decode_param
            {MESSAGES.replace(chr(10), chr(10) + " " * 12)}
            with opened() as context:
                line = json.dumps({{
                    "__dagster_pipes_version": "0.1", "method": "report_asset_materialization",
                    "params": {{"asset_key": "slow_writer", "data_version": None,
                               "metadata": {{"rows": {{"raw_value": 9, "type": "int"}}}}}},
                }})
                with open(path, "a") as file:
                    file.write(line[:40]); file.flush(); time.sleep(0.2)
                    file.write(line[40:] + chr(10))
            """,
        )
    )
    assert ended.materialized == {"rows": 9}


def test_a_burst_of_messages_is_read_to_its_end_at_once(bench):
    """R3, R7: stock read one chunk a second after the end, and dropped the rest after ten."""
    request = bench.pipes(
        "talkative",
        """
        with opened() as context:
            for number in range(500):
                context.report_custom_message({"number": number})
            context.report_asset_materialization(metadata={"ended": time.time()})
        """,
    )
    seen = []

    @dg.asset
    def talkative(context):
        run = LocalSparkClient(sink=bench.sink).run(context=context, request=request)
        seen.append((time.time(), run.get_custom_messages()))
        return run.get_results()

    result = dg.materialize([talkative])
    ((read_at, messages),) = seen
    assert [message["number"] for message in messages] == list(range(500))
    (made,) = result.asset_materializations_for_node("talkative")
    assert read_at - made.metadata["ended"].value < 10.0


def test_a_reader_that_breaks_is_no_green(bench):
    """R2: the stock reader's thread died of one error, and the asset went green."""

    class Handler:
        def handle_message(self, message):
            raise ConnectionError("event log gone")

    reader = FileReader(warn=print)
    with reader.read_messages(Handler()) as params:
        with Path(params["path"]).open("a") as file:
            file.write('{"method": "opened", "params": {}}\n')
        assert not reader.drain().opened
    assert isinstance(reader.fault, ConnectionError)


def test_a_reader_serves_one_session(bench):
    reader = FileReader(warn=print)
    with reader.read_messages(object()):
        pass
    with pytest.raises(RuntimeError), reader.read_messages(object()):
        pass
