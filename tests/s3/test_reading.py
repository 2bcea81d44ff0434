"""Files of S3 without Spark: the partitions of an input, and what the webgraph reads."""

from __future__ import annotations

import csv
import io
from http.server import BaseHTTPRequestHandler

import pytest
import webgraph_locations
from webgraph_locations import BrokenReadError, opened
from webgraph_pages import PageReader
from webgraph_records import Fault

from ascii_hydra.aws.client import Place
from ascii_hydra.aws.files import file_opener
from ascii_hydra.config.partitions import dimension_values
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import PartitionDimension, PipelineConfig
from ascii_hydra.engines.spark_launch import step_environment
from tests.s3.conftest import KEY, SECRET, Answer, Store, answering, refusing

CRAWLS = {"crawl": PartitionDimension(csv="manifest.csv", column="crawl")}


def crawls(folder: str, place: Place) -> dict[str, tuple[str, ...]]:
    pipeline = PipelineConfig(input=folder, partition_dimensions=CRAWLS)
    return dimension_values(pipeline, file_opener(place))


def refused(folder: str, place: Place) -> str:
    with pytest.raises(ConfigError) as fault:
        crawls(folder, place)
    return str(fault.value)


@pytest.mark.parametrize("scheme", ["s3a", "s3"])
def test_partitions_of_an_input_in_s3(store: Store, bucket: str, scheme: str) -> None:
    body = "\ufeffcrawl,path\nc1,a\nc2,b\n".encode()
    store.client.put_object(Bucket=bucket, Key="in put/manifest.csv", Body=body)
    assert crawls(f"{scheme}://{bucket}/in put/", store.place) == {"crawl": ("c1", "c2")}


def test_an_input_that_is_not_there(store: Store, bucket: str) -> None:
    assert refused(f"s3a://{bucket}/x", store.place) == (
        f"pipeline.input: there is no file s3a://{bucket}/x/manifest.csv, from which crawl is read."
    )
    assert refused("s3a://nobodys-bucket/x", store.place) == (
        f"mode.bucket=nobodys-bucket: there is no such bucket at {store.url}: make it, or name"
        " another one."
    )
    assert refused("hdfs://x", store.place) == (
        "pipeline.input: hdfs://x/manifest.csv is no file of this machine."
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "AccessDenied",
            (
                "mode.bucket=b: s3a://b/manifest.csv may not be read with these credentials: they"
                " need s3:GetObject and s3:ListBucket there."
            ),
        ),
        (
            "InvalidAccessKeyId",
            (
                "ASCII_AWS_ACCESS_KEY_ID, ASCII_AWS_SECRET_ACCESS_KEY: S3 at URL does not accept"
                " the credentials (InvalidAccessKeyId). Set both, or configure AWS as usual"
                " (AWS_PROFILE, aws sso login, a role)."
            ),
        ),
        ("Odd", "mode.bucket=b: s3a://b/manifest.csv cannot be read: No. (Odd)."),
    ],
)
def test_an_input_that_may_not_be_read(store: Store, code: str, said: str) -> None:
    with answering(refusing(code)) as url:
        place = Place("us-east-1", url, path_style=True)
        assert refused("s3a://b", place) == said.replace("URL", url)


def test_an_input_that_cannot_be_reached(store: Store) -> None:
    place = Place("us-east-1", "http://127.0.0.1:9", path_style=True)
    said = refused("s3a://b", place)
    assert said.startswith("endpoint.url=http://127.0.0.1:9: s3a://b/manifest.csv cannot be read:")


# --- what a step on Spark reads by itself ---------------------------------------------------


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Quick to give up, and with no client of another test."""
    webgraph_locations._s3.cache_clear()
    monkeypatch.setattr(webgraph_locations.time, "sleep", lambda _: None)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return monkeypatch


def in_environment(place: Place, reading: pytest.MonkeyPatch) -> None:
    """Have what the engine gives to a step's processes."""
    for name, value in step_environment({}, on_this_machine=True, place=place).items():
        if name.startswith("AWS_"):
            reading.setenv(name, value)


def test_a_file_of_s3_as_a_stream(store: Store, bucket: str, reading: pytest.MonkeyPatch) -> None:
    reading.setenv("AWS_SESSION_TOKEN", "of other keys")
    in_environment(store.place, reading)
    content = bytes(range(256)) * 4_000
    store.client.put_object(Bucket=bucket, Key="warc/a b.gz", Body=content)
    store.client.put_object(Bucket=bucket, Key="empty", Body=b"")
    store.client.put_object(Bucket=bucket, Key="seeds.csv", Body="query,url\nq,ü\n".encode())
    with opened(f"s3a://{bucket}/warc/a b.gz") as stream:
        assert stream.read(10) == content[:10]
        assert stream.read() == content[10:]
        assert stream.read() == b""
    with opened(f"s3://{bucket}/empty") as stream:
        assert stream.read() == b""
    with opened(f"s3a://{bucket}/seeds.csv") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        assert list(csv.DictReader(text)) == [{"query": "q", "url": "ü"}]
    with pytest.raises(FileNotFoundError, match=f"there is no s3a://{bucket}/x"):
        opened(f"s3a://{bucket}/x")


def in_pieces(content: bytes, most: int, asked: list[str | None], etag: str = '"1"') -> Answer:
    """An S3 whose connections end after so many bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        request.send_response(206 if wanted else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("ETag", etag)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(content[start : start + most])
        request.close_connection = True

    return answer


def test_a_broken_connection_is_taken_up_where_it_broke(reading: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 1_000
    asked: list[str | None] = []
    with answering(in_pieces(content, 100_000, asked)) as url:
        in_environment(Place("us-east-1", url, rehearsal=True), reading)
        with opened("s3a://b/k") as stream:
            assert stream.read() == content
    assert asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_storage_that_stays_broken_fails_the_task(reading: pytest.MonkeyPatch) -> None:
    """It is no fault of the file: Spark is to try again, and not to go on without its pages."""
    with answering(in_pieces(b"WARC/1.0\r\n" * 10, 0, [])) as url:
        in_environment(Place("us-east-1", url, rehearsal=True), reading)
        with pytest.raises(BrokenReadError, match="s3a://b/k broke off at byte 0"):
            list(PageReader().pages("s3a://b/k"))
    with pytest.raises(BrokenReadError, match="s3a://b/k cannot be read"):
        list(PageReader().pages("s3a://b/k"))


def test_a_file_that_may_not_be_read_is_a_fault(reading: pytest.MonkeyPatch) -> None:
    with answering(refusing("AccessDenied")) as url:
        in_environment(Place("us-east-1", url, rehearsal=True), reading)
        (fault,) = PageReader().pages("s3a://b/k")
    assert isinstance(fault, Fault)
    assert fault.whole_file
    assert fault.detail == "PermissionError: s3a://b/k cannot be read: No. (AccessDenied)"


def test_credentials_are_in_the_environment_of_a_process_alone(store: Store) -> None:
    found = step_environment({}, on_this_machine=True, place=store.place)
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == (KEY, SECRET)
    assert found["AWS_ENDPOINT_URL"] == store.url
    assert "AWS_PROFILE" not in found
    assert SECRET not in str(store.place)
