"""A proxy between an engine and the rehearsal cloud, by which answers are broken on their way.

The rehearsal's own faults are those of the service; these are what a gateway, a proxy or a cut
connection makes of its answers.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HTML = (
    b"<html><head><title>Busy</title></head><body><h1>Too busy</h1>"
    + b" " * 900
    + b"</body></html>"
)
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive"}
_OWN = "/_rehearsal/"


@dataclass(frozen=True)
class Answer:
    """An answer on its way to the client.

    Attributes:
        cut: only half of the body is sent, though Content-Length tells of all of it.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    cut: bool = False


Change = Callable[[Answer], Answer]


@dataclass
class Rule:
    """What happens to answers of an operation.

    Args:
        operation: a pattern of what is called: `ListSteps`, `GET /api/2.0/fs/files/`.
        change: makes another answer of the cloud's, which has carried the call out; None for an
            answer that the cloud knows nothing of.
        instead: that answer.
        after: so many answers are left as they are.
        times: and so many are then changed.

    Attributes:
        seen: how many such calls have come.
    """

    operation: str
    change: Change | None = None
    instead: Answer | None = None
    after: int = 0
    times: int = 1
    seen: int = 0

    @property
    def effects(self) -> int:
        """How many answers it has changed."""
        return min(max(0, self.seen - self.after), self.times)


def cut(operation: str, **when: int) -> Rule:
    """A connection that ends within the answer."""
    return Rule(operation, change=lambda answer: replace(answer, cut=True), **when)


def body(operation: str, content: bytes, **when: int) -> Rule:
    """An answer with another body, though the call was carried out."""
    return Rule(operation, change=lambda answer: replace(answer, body=content), **when)


def refusal(
    operation: str, status: int, content: bytes = b"", *headers: tuple[str, str], **when: int
) -> Rule:
    """A gateway's answer, which does not let the call through."""
    told = [("Content-Type", "text/html"), *headers]
    return Rule(operation, instead=Answer(status, told, content), **when)


@dataclass
class CloudProxy:
    """The proxy.

    Attributes:
        url: where it answers.
        rules: of each call, the first one that takes effect counts.
    """

    url: str = ""
    rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def behave(self, *rules: Rule) -> None:
        """From now on; what the rules have seen before does not count."""
        self.rules = [*rules]
        for rule in rules:
            rule.seen = 0

    def rule(self, operation: str) -> Rule | None:
        """What happens to this call."""
        effective = None
        with self._lock:
            for one in self.rules:
                if re.search(one.operation, operation):
                    one.seen += 1
                    if one.after < one.seen <= one.after + one.times:
                        effective = effective or one
        return effective


class Waits:
    """A clock that waits for nothing.

    Attributes:
        s: how long it was to wait, each time.
    """

    def __init__(self) -> None:
        self.s: list[float] = []

    def now(self) -> float:
        return time.time() + sum(self.s)

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        self.s.append(seconds)


@contextmanager
def proxy_of(url: str) -> Iterator[CloudProxy]:
    """A proxy before a rehearsal cloud.

    Args:
        url: of the rehearsal.
    """
    proxy = CloudProxy()
    cloud = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            operation = target or f"{self.command} {self.path}"
            rule = None if self.path.startswith(_OWN) else proxy.rule(operation)
            if rule is not None and rule.instead is not None:
                answer = rule.instead
            else:
                answer = self._cloud_answer(asked)
                if rule is not None and rule.change is not None:
                    answer = rule.change(answer)
            self._send(answer)

        def _cloud_answer(self, asked: bytes) -> Answer:
            connection = HTTPConnection(cloud.hostname or "", cloud.port, timeout=60)
            try:
                connection.request(self.command, self.path, asked, dict(self.headers.items()))
                reply = connection.getresponse()
                return Answer(reply.status, reply.getheaders(), reply.read())
            finally:
                connection.close()

        def _send(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            length = str(len(answer.body))
            for name, value in answer.headers:
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
                elif name.lower() == "content-length" and self.command == "HEAD":
                    length = value
            self.send_header("Content-Length", length)
            if answer.cut:
                self.close_connection = True
            self.end_headers()
            sent = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
            self.wfile.write(b"" if self.command == "HEAD" else sent)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _handle  # noqa: N815

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
