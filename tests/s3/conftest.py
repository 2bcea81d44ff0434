"""S3 on this machine: one that works, and one that refuses everything."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from ascii_hydra.aws.client import Place, aws_client

STEPS = Path(__file__).resolve().parents[2] / "steps" / "webgraph"
if str(STEPS) not in sys.path:  # as a script finds the modules beside it
    sys.path.insert(0, str(STEPS))

KEY, SECRET = "AKIAOFATESTALONE", "secret-of-a-test-alone"


@dataclass(frozen=True)
class Store:
    """An S3 with a bucket of its own for each test that asks."""

    url: str

    @property
    def place(self) -> Place:
        return Place("us-east-1", self.url, path_style=True)

    @cached_property
    def client(self) -> Any:
        return aws_client("s3", self.place)

    def keys(self, bucket: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def downloaded(self, bucket: str, prefix: str, folder: Path) -> Path:
        """A folder of this machine with all that is below a prefix."""
        for key in self.keys(bucket):
            if key.startswith(prefix) and not key.endswith("/"):
                target = folder / key.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.client.download_file(bucket, key, str(target))
        return folder


@pytest.fixture(scope="session")
def served() -> Iterator[Store]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Store(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def store(served: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An S3, and credentials for it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASCII_AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("ASCII_AWS_SECRET_ACCESS_KEY", SECRET)
    return served


@pytest.fixture
def bucket(store: Store, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own."""
    name = f"test-{abs(hash(request.node.nodeid)):x}"
    store.client.create_bucket(Bucket=name)
    return name


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that answers every GET, HEAD and PUT in one way; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def do_HEAD(self) -> None:
            answer(self)

        def do_PUT(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refusing(code: str, status: int = 403) -> Answer:
    """An answer of S3 that is an error."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        asked.send_response(status)
        asked.send_header("Content-Type", "application/xml")
        asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        if asked.command != "HEAD":
            asked.wfile.write(body)

    return answer
