"""Messages by way of a folder, whatever store it is in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from ascii_hydra.engines import pipes_folder
from ascii_hydra.engines.calls import CallFault
from ascii_hydra.engines.cloud_client import folder_session
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.payload_upload import UploadError, ensure_uploaded
from ascii_hydra.engines.pipes_folder import (
    FolderContextInjector,
    FolderError,
    FolderReader,
    MessagesUnreadableError,
    PipesFolder,
)
from ascii_hydra.engines.pipes_reader import Report
from ascii_hydra.engines.pipes_run import completed, dagsters_faults
from tests.pipes.folder_store import FolderStore
from tests.waiting import until

BROKEN = CallFault("Broken", "Broken: a bad moment", transient=True)
DENIED = CallFault("Denied", "Denied: not you", denied=True)
ODD = CallFault("Odd", "Odd: 418")
EXPIRED = CallFault("Expired", "Expired: too late", expired=True, undone=True)


def line(method: str, **params: object) -> bytes:
    message = {"__dagster_pipes_version": "0.1", "method": method, "params": params}
    return json.dumps(message).encode() + b"\n"


def chunk(*lines: bytes) -> bytes:
    return b"".join(lines) + b"\n"


OPENED, CLOSED = line("opened", extras={}), line("closed")
ROWS = line(
    "report_asset_materialization",
    asset_key="made",
    data_version=None,
    metadata={"rows": {"raw_value": 3, "type": "int"}},
)


@dataclass
class Bench:
    """A folder, and what came of a session with it."""

    path: Path
    store: FolderStore = field(default_factory=FolderStore)
    warned: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @property
    def folder(self) -> PipesFolder:
        return PipesFolder(self.store, str(self.path))

    def put(self, number: int, content: bytes) -> None:
        messages = self.path / "messages"
        messages.mkdir(parents=True, exist_ok=True)
        (messages / f"{number}.json").write_bytes(content)

    def session(
        self, act: Callable[[FolderReader], None], *, adopted: bool = False, poll_s: float = 1.0
    ) -> dg.ExecuteInProcessResult:
        """Run an asset in which `act` plays the step."""

        @dg.asset
        def made(context):
            with dagsters_faults("made"):
                reader = FolderReader(self.folder, self.warned.append, poll_s=poll_s)
                injector = FolderContextInjector(self.folder, self.warned.append, adopted=adopted)
                with dg.open_pipes_session(
                    context=context, context_injector=injector, message_reader=reader
                ) as session:
                    act(reader)
                    self.report = reader.drain()
                if reader.fault is not None:
                    raise reader.fault
                return completed(context, session, self.report, {}).get_results()

        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([made], instance=instance, raise_on_error=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "pipes")


def rows(result: dg.ExecuteInProcessResult) -> object:
    (made,) = result.asset_materializations_for_node("made")
    return made.metadata["rows"].value


def cause(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [one for one in result.all_events if one.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def test_a_half_written_chunk_is_waited_for(bench: Bench) -> None:
    """Also if it ends with a line."""

    def act(reader: FolderReader) -> None:
        for half in (b"", OPENED[:9], OPENED, OPENED + ROWS[:9], OPENED + ROWS):
            bench.put(1, half)
            time.sleep(0.3)
            assert not reader.report.opened
        bench.put(1, chunk(OPENED, ROWS))
        bench.put(2, chunk(CLOSED))
        assert reader.closed.wait(10)

    assert rows(bench.session(act)) == 3
    assert bench.warned == []
    assert not bench.path.exists()


def test_of_a_chunk_that_was_never_finished_the_whole_lines_count(bench: Bench) -> None:
    """A step that was killed has said what it had said."""

    def act(reader: FolderReader) -> None:
        bench.put(1, chunk(OPENED))
        bench.put(2, ROWS + CLOSED[:9])

    bench.session(act)
    assert (bench.report.opened, bench.report.closed, bench.report.malformed) == (True, False, 0)


def test_transient_faults_are_borne_with(bench: Bench) -> None:
    bench.store.fail("write", BROKEN)

    def act(reader: FolderReader) -> None:
        assert (bench.path / "context.json").exists()
        bench.store.fail("read", BROKEN, 2)
        bench.store.fail("read", EXPIRED)
        bench.put(1, chunk(OPENED, ROWS, CLOSED))
        assert reader.closed.wait(20)
        bench.store.fail("names", BROKEN)
        bench.store.fail("delete", EXPIRED)

    assert rows(bench.session(act)) == 3
    assert bench.store.renewed == 2
    (told,) = bench.warned
    assert "accepted no more (Expired: too late)" in told
    assert not bench.path.exists()


def test_a_cloud_is_asked_no_sooner_than_it_wants(bench: Bench) -> None:
    busy = CallFault("Busy", "Busy: later", transient=True, undone=True, retry_after_s=2.0)
    bench.store.fail("write", busy)
    begun = time.monotonic()
    bench.folder.write("context.json", b"{}")
    assert time.monotonic() - begun >= 2.0


def test_what_is_denied_is_a_fault_and_no_missing_message(bench: Bench) -> None:
    bench.store.fail("read", DENIED)

    def act(reader: FolderReader) -> None:
        deadline = time.monotonic() + 10
        while reader.fault is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert isinstance(reader.fault, MessagesUnreadableError)

    result = bench.session(act)
    expected = (
        f"made was given up: its messages in {bench.path} cannot be read (Denied: not you): ask for"
        " the right to it"
    )
    assert cause(result) == expected


def at_work(bench: Bench, reader: FolderReader) -> None:
    """A step that has opened Pipes, and was heard to."""
    bench.put(1, chunk(OPENED))
    until(lambda: reader.report.opened)


@pytest.mark.parametrize("fault", [DENIED, ODD])
def test_a_false_refusal_is_no_reason_to_give_up_a_step_at_work(
    bench: Bench, fault: CallFault
) -> None:
    def act(reader: FolderReader) -> None:
        at_work(bench, reader)
        bench.store.fail("read", fault, 2)
        until(lambda: bench.warned)
        bench.put(2, chunk(ROWS, CLOSED))
        assert reader.closed.wait(20)
        bench.store.fail("read", fault)  # and none is lost at the end

    assert rows(bench.session(act)) == 3
    (told, *_) = bench.warned
    assert told == (
        f"its messages in {bench.path} cannot be read at the moment ({fault.words}); asking again"
    )


@pytest.mark.parametrize("adopted", [True, False])
def test_a_false_refusal_of_the_first_look_does_not_end_an_adopted_step(
    bench: Bench, adopted: bool
) -> None:
    """An earlier execution could read its folder; a new step's missing rights are told at once."""
    bench.store.fail("read", DENIED)
    bench.put(1, chunk(OPENED, ROWS))
    bench.put(2, chunk(CLOSED))

    @dg.asset
    def made(context):
        with (
            dagsters_faults("made"),
            folder_session(
                context, bench.store, str(bench.path), None, adopted=adopted, poll_s=1.0
            ) as opened,
        ):
            until(lambda: opened.reader.closed.is_set() or opened.reader.fault is not None)
            report = opened.reader.drain()
            return completed(context, opened.session, report, {}).get_results()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
        said = [one.user_message for one in instance.all_logs(result.run_id)]
    assert result.success is adopted
    if adopted:
        assert rows(result) == 3
        assert (
            f"its messages in {bench.path} cannot be read at the moment (Denied: not you); asking"
            " again"
        ) in said
    else:
        assert "cannot be read (Denied: not you): ask for the right to it" in cause(result)


def test_a_lasting_refusal_is_none_that_passes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes_folder, "_DENIED_S", 1.0)

    def act(reader: FolderReader) -> None:
        at_work(bench, reader)
        bench.store.fail("read", DENIED, 1000)
        until(lambda: reader.fault)

    assert "cannot be read (Denied: not you): ask for the right to it" in cause(bench.session(act))


def test_a_step_that_says_little_is_asked_seldom(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes_folder, "_INTERVAL_S", 0.05)
    silent_s = 3.0

    def act(reader: FolderReader) -> None:
        at_work(bench, reader)
        asked = bench.store.calls["read"]
        time.sleep(silent_s)  # nothing happens in this time: that is what is measured
        assert 5 <= bench.store.calls["read"] - asked <= silent_s / 0.05 * 2 / 3
        bench.put(2, chunk(ROWS, CLOSED))

    assert rows(bench.session(act, poll_s=60.0)) == 3


def test_a_context_that_cannot_be_left_is_a_failure_before_anything_runs(bench: Bench) -> None:
    bench.store.fail("write", DENIED)
    result = bench.session(lambda _: pytest.fail("the step has begun"))
    expected = (
        f"made could not start: {bench.path} cannot be written (Denied: not you): ask for the right"
        " to it"
    )
    assert cause(result) == expected


def test_an_adopted_step_keeps_its_context_and_what_it_has_said(bench: Bench) -> None:
    bench.put(1, chunk(OPENED, ROWS))
    (bench.path / "context.json").write_bytes(b"as it was")

    def act(reader: FolderReader) -> None:
        assert (bench.path / "context.json").read_bytes() == b"as it was"
        bench.put(2, chunk(CLOSED))

    assert rows(bench.session(act, adopted=True)) == 3


def test_the_folder_of_a_step_that_may_live_is_left_with_a_stop(bench: Bench) -> None:
    injector = FolderContextInjector(bench.folder, bench.warned.append)
    with injector.inject_context({}):
        injector.end_unseen()
    assert (bench.path / "stop").exists()
    assert "asks the step to end itself" in bench.warned[0]
    assert bench.folder.stop_asked()


@pytest.mark.parametrize("last", ["stopped", "messages/1.json"])
def test_a_step_that_was_asked_to_stop_is_seen_to(bench: Bench, last: str) -> None:
    """By its mark, or because it has said farewell."""
    bench.put(1, chunk(OPENED))
    bench.folder.ask_to_stop()

    def stop() -> None:
        time.sleep(0.5)
        (bench.path / last).write_bytes(chunk(OPENED, CLOSED) if "/" in last else b"")

    thread = threading.Thread(target=stop)
    thread.start()
    assert bench.folder.seen_stopping()
    thread.join()
    assert bench.folder.stop_asked()
    bench.folder.forget_stop()
    assert not bench.folder.stop_asked()


def test_a_folder_that_cannot_be_deleted_is_told(bench: Bench) -> None:
    bench.store.fail("delete", DENIED)
    result = bench.session(lambda _: bench.put(1, chunk(OPENED, CLOSED)))
    assert result.success
    assert "is left" in bench.warned[0]
    assert "cannot be deleted (Denied: not you)" in bench.warned[0]


def test_an_upload_is_tried_again_and_made_once(bench: Bench) -> None:
    upload = Upload(str(bench.path / "payload" / "step.py"), content=b"pass")
    stop = threading.Event()
    bench.store.fail("exists", BROKEN)
    bench.store.fail("create", BROKEN)
    ensure_uploaded([upload], bench.store, stop, bench.warned.append)
    bench.store.fail("create", DENIED)
    ensure_uploaded([upload], bench.store, stop, bench.warned.append)  # it is there
    other = Upload(str(bench.path / "other"), content=b"")
    with pytest.raises(UploadError, match="Denied: not you"):
        ensure_uploaded([other], bench.store, stop, bench.warned.append)


def test_what_is_no_fault_of_a_call_is_raised_as_it_is(bench: Bench) -> None:
    bench.path.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="pipes"):
        bench.folder.write("context.json", b"{}")
    assert not issubclass(FolderError, OSError)
