"""Pipes by way of a folder in S3: nothing is lost, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache

import dagster as dg
import pytest
from dagster._core.pipes.client import PipesClientCompletedInvocation
from moto.server import ThreadedMotoServer

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.payload_upload import UploadError, ensure_uploaded
from ascii_hydra.engines.pipes_folder import (
    FolderContextInjector,
    FolderReader,
    MessagesUnreadableError,
    PipesFolder,
)
from ascii_hydra.engines.s3_store import S3Store

BUCKET = "messages"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = Place("us-east-1", f"http://{host}:{port}", path_style=True, rehearsal=True)
    aws_client("s3", found).create_bucket(Bucket=BUCKET)
    yield found
    server.stop()


def keys(place: Place, prefix: str = "") -> list[str]:
    found = aws_client("s3", place).list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", ())]


@cache
def store(place: Place) -> S3Store:
    return S3Store(place)  # a new client takes a quarter of a second


def put(place: Place, uri: str, number: int, *messages: dict) -> None:
    lines = "".join(json.dumps(one) + "\n" for one in messages) + "\n"
    store(place).write(f"{uri}/messages/{number}.json", lines.encode())


def message(method: str, **params) -> dict:
    return {"__dagster_pipes_version": "0.1", "method": method, "params": params}


def opened() -> dict:
    return message("opened", extras={})


def rows(asset: str, count: int) -> dict:
    metadata = {"rows": {"raw_value": count, "type": "int"}}
    return message(
        "report_asset_materialization", asset_key=asset, data_version=None, metadata=metadata
    )


def materialized(place: Place, name: str, uri: str, act, folder=None):
    """Run an asset in which `act(reader)` plays the step."""
    warned: list[str] = []
    seen = {}

    @dg.asset(name=name)
    def made(context):
        own = folder or PipesFolder(S3Store(place), uri)
        reader = FolderReader(own, warned.append)
        with dg.open_pipes_session(
            context=context,
            context_injector=FolderContextInjector(own, warned.append),
            message_reader=reader,
        ) as session:
            act(reader)
            seen["report"] = reader.drain()
        if reader.fault is not None:
            raise reader.fault
        return PipesClientCompletedInvocation(session).get_results(implicit_materializations=False)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance, raise_on_error=False)
    return result, seen.get("report"), warned


def test_two_sessions_at_once_each_get_their_own(place):
    """R1: with the stock reader the second asset lost all its messages."""
    results = {}

    def run(name: str, count: int) -> None:
        uri = f"s3://{BUCKET}/pipes/{name}"

        def act(reader: FolderReader) -> None:
            put(place, uri, 1, opened(), rows(name, count))
            put(place, uri, 2, message("closed"))
            assert reader.closed.wait(10)

        results[name] = materialized(place, name, uri, act)

    threads = [threading.Thread(target=run, args=one) for one in (("left", 1), ("right", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, count in (("left", 1), ("right", 2)):
        result, report, warned = results[name]
        (made,) = result.asset_materializations_for_node(name)
        assert made.metadata["rows"].value == count
        assert (report.opened, report.closed, warned) == (True, True, [])
    assert keys(place, "pipes/") == []


def test_a_backlog_is_read_at_once_when_the_step_has_ended(place):
    """R3, R7: the stock reader takes one chunk a second, then gives up."""
    uri = f"s3://{BUCKET}/pipes/backlog"

    def act(reader: FolderReader) -> None:
        for number in range(2, 42):
            put(place, uri, number, message("log", message=str(number), level="INFO"))
        put(place, uri, 42, rows("backlog", 7), message("closed"))
        put(place, uri, 1, opened())
        begun = time.monotonic()
        assert reader.drain().closed
        assert time.monotonic() - begun < 30

    result, _, _ = materialized(place, "backlog", uri, act)
    assert result.asset_materializations_for_node("backlog")[0].metadata["rows"].value == 7


def test_a_line_that_is_no_message_is_counted_and_ends_nothing(place):
    """R8."""
    uri = f"s3://{BUCKET}/pipes/noisy"

    def act(_: FolderReader) -> None:
        put(place, uri, 1, opened(), {"no": "message"})
        put(place, uri, 2, message("closed"))

    _, report, warned = materialized(place, "noisy", uri, act)
    assert (report.closed, report.malformed) == (True, 1)
    assert "could not be read" in warned[0]


def test_context_and_messages_are_deleted_after_a_failure_too(place):
    """R4, R5."""
    uri = f"s3://{BUCKET}/pipes/failing"

    def act(_: FolderReader) -> None:
        assert keys(place, "pipes/failing/") == ["pipes/failing/context.json"]
        put(place, uri, 1, opened())
        raise RuntimeError("the step is lost")

    result, _, _ = materialized(place, "failing", uri, act)
    assert not result.success
    assert keys(place, "pipes/") == []


def test_what_s3_refuses_is_a_fault_and_no_missing_message(place):
    """R4: the stock reader takes every refusal for "not there yet"."""
    bad = PipesFolder(S3Store(place), "s3://there-is-no-such-bucket/pipes/x")
    reader = FolderReader(bad, lambda _: None)
    with reader.read_messages(None) as params:  # type: ignore[arg-type]
        assert params == {"folder": bad.uri}
        reader.drain()
    assert isinstance(reader.fault, MessagesUnreadableError)
    assert "NoSuchBucket" in str(reader.fault)


def test_an_outage_of_s3_is_waited_for():
    """R2: one failed connection ended the stock reader, and the asset was green without it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = Place("us-east-1", f"http://{host}:{port}", path_style=True, rehearsal=True)
    aws_client("s3", place).create_bucket(Bucket=BUCKET)
    uri = f"s3://{BUCKET}/pipes/outage"

    def act(reader: FolderReader) -> None:
        nonlocal server
        put(place, uri, 1, opened())
        server.stop()
        time.sleep(2)
        assert reader.fault is None, repr(reader.fault)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(port), verbose=False)
        server.start()
        put(place, uri, 1, opened())
        put(place, uri, 2, rows("outage", 3), message("closed"))
        assert reader.closed.wait(20)

    result, _, _ = materialized(place, "outage", uri, act)
    server.stop()
    assert result.asset_materializations_for_node("outage")[0].metadata["rows"].value == 3


WRITER = """
import os, sys, time
from ascii_hydra.step.folder_files import HadoopFolder
from ascii_hydra.step.folder_messages import FolderChannel
folder = sys.argv[1]
with open(folder + "/messages", "w"):
    pass  # a file where the folder should be: nothing can be written
channel = FolderChannel(HadoopFolder("file://" + folder))
channel.start()
channel.write_message({"number": 1})
time.sleep(1.5)
channel.write_message({"number": 2, "text": "x" * 5_000_000})
os.remove(folder + "/messages")
channel.write_message({"number": 3})
channel.finish()
"""


def test_a_writer_that_fails_keeps_its_messages(tmp_path):
    """W1: the stock writer's thread ends at its first failure, and all later messages are lost."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "messages are kept back" in done.stderr
    chunks = sorted((tmp_path / "messages").glob("*.json"), key=lambda one: int(one.stem))
    assert [one.stem for one in chunks] == [str(number + 1) for number in range(len(chunks))]
    lines = [line for one in chunks for line in one.read_text().splitlines() if line]
    assert all(one.read_bytes().endswith(b"\n\n") for one in chunks)
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]


def test_a_payload_is_uploaded_once(place, tmp_path):
    file = tmp_path / "script.py"
    file.write_text("print(1)")
    uploads = [
        Upload(f"s3://{BUCKET}/payload/1/script.py", path=file),
        *(Upload(f"s3://{BUCKET}/payload/2/{n}.zip", content=b"zip") for n in range(10)),
    ]
    ensure_uploaded(uploads, S3Store(place), threading.Event(), lambda _: None)
    s3 = aws_client("s3", place)
    head = s3.head_object(Bucket=BUCKET, Key="payload/1/script.py")
    file.write_text("what is there is not written again")
    ensure_uploaded(uploads, S3Store(place), threading.Event(), lambda _: None)
    again = s3.head_object(Bucket=BUCKET, Key="payload/1/script.py")
    assert again["LastModified"] == head["LastModified"]
    assert len(keys(place, "payload/2/")) == 10


def test_an_upload_that_s3_refuses_says_what_to_do(place):
    upload = Upload("s3://there-is-no-such-bucket/payload/1/x", content=b"x")
    with pytest.raises(UploadError, match="make the bucket there-is-no-such-bucket, or set engine"):
        ensure_uploaded([upload], S3Store(place), threading.Event(), lambda _: None)


def test_uploading_stops(place):
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        ensure_uploaded(
            [Upload(f"s3://{BUCKET}/x", content=b"x")], S3Store(place), stop, lambda _: None
        )


def test_credentials_that_expire_are_an_outage(cloud):
    """They are looked for again, until somebody has logged in."""
    uri = "s3://tests/ascii_hydra/pipes/expiring"
    expired = {"target": "s3:GetObject", "effect": "refused", "code": "ExpiredToken"}

    def act(reader: FolderReader) -> None:
        cloud.behave({**expired, "times": 2})
        for number, lines in ((1, [opened()]), (2, [rows("expiring", 3), message("closed")])):
            cloud.s3.put_object(
                Bucket="tests",
                Key=f"ascii_hydra/pipes/expiring/messages/{number}.json",
                Body="".join(json.dumps(one) + "\n" for one in lines) + "\n",
            )
        assert reader.closed.wait(20)

    result, _, warned = materialized(cloud.place, "expiring", uri, act)
    assert result.asset_materializations_for_node("expiring")[0].metadata["rows"].value == 3
    (told,) = [one for one in warned if "log in again" in one]
    assert "ExpiredToken" in told
