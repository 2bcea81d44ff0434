"""WARC files in memory, written by warcio."""

from __future__ import annotations

import gzip
import io

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

HTML = "text/html; charset=utf-8"


def record(
    uri: str = "https://page.org/",
    body: bytes | str = "",
    *,
    content_type: str | None = HTML,
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (),
    kind: str = "response",
    date: str = "2024-04-25T16:24:44Z",
    identity: str = "<urn:uuid:00000000-0000-0000-0000-000000000001>",
) -> bytes:
    """The bytes of one record, not compressed."""
    payload = body.encode() if isinstance(body, str) else body
    typed = () if content_type is None else (("Content-Type", content_type),)
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=False)
    writer.write_record(
        writer.create_warc_record(
            uri,
            kind,
            payload=io.BytesIO(payload),
            http_headers=StatusAndHeaders(status, [*typed, *headers], protocol="HTTP/1.1"),
            warc_headers_dict={"WARC-Date": date, "WARC-Record-ID": identity},
        )
    )
    return out.getvalue()


def gzipped(content: bytes) -> bytes:
    """A gzip member without the time: bytes in the names of tests must be the same in every process
    that collects them."""
    return gzip.compress(content, mtime=0)


def compressed(*records: bytes) -> bytes:
    """Records as a .warc.gz file: a gzip member for each."""
    return b"".join(gzipped(one) for one in records)
