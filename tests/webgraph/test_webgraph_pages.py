from __future__ import annotations

import sys
import types
import zlib
from html import unescape
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
import webgraph_pages
from warc_bytes import compressed, gzipped, record
from webgraph_pages import (
    Page,
    PageReader,
    anchors,
    codec,
    dechunked,
    declared_charset,
    decoded,
    sortable_date,
    target_uri,
    without_codings,
)
from webgraph_records import BadRecord, Fault

LINK = '<a href="https://there.org/x">there</a>'


def pages(tmp_path: Path, *of_records: bytes) -> list[Page | Fault]:
    path = tmp_path / "one.warc.gz"
    path.write_bytes(compressed(*of_records))
    return list(PageReader().pages(str(path)))


def links(html: str, uri: str = "https://page.org/dir/page") -> list[str]:
    return PageReader().links(uri, html).urls


# -- which records are pages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kept",
    [
        record(body=LINK),
        record(body=LINK, content_type="TEXT/HTML"),
        record(body=LINK, content_type=" text/html ;charset=utf-8"),
        record(body=LINK, content_type="application/xhtml+xml"),
        record(body=LINK, status="200"),
        record("http://page.org/", LINK),
        record("HTTPS://page.org/", LINK),
        record(body=LINK).replace(b"WARC-Type: response", b"warc-type: Response"),
        record(body=LINK).replace(b"HTTP/1.1", b"HTTP/2"),
    ],
)
def test_a_page(tmp_path: Path, kept: bytes) -> None:
    (page,) = pages(tmp_path, kept)
    assert isinstance(page, Page)
    assert page.urls == ["https://there.org/x"]


@pytest.mark.parametrize(
    "dropped",
    [
        record(body=LINK, kind="resource"),
        record(body=LINK, kind="revisit"),
        record(body=LINK, status="404 Not Found"),
        record(body=LINK, status="206 Partial Content"),
        record(body=LINK, status="2000 OK"),
        record(body=LINK, content_type=None),
        record(body=LINK, content_type="text/plain"),
        record(body=LINK, content_type="text/html5"),
        record(body=LINK, content_type="application/json; profile=text/html"),
        record("ftp://page.org/", LINK),
        record("dns:page.org", LINK),
        record("httpx://page.org/", LINK),
    ],
)
def test_no_page(tmp_path: Path, dropped: bytes) -> None:
    assert pages(tmp_path, dropped) == []


def test_identity_is_the_target_as_recorded(tmp_path: Path) -> None:
    uris = ["<http://Page.ORG/a>", "http://Page.ORG/A#part", "http://page.org/"]
    found = pages(tmp_path, *(record(uri) for uri in uris))
    assert [page.uri for page in found if isinstance(page, Page)] == [
        "http://Page.ORG/a",
        "http://Page.ORG/A#part",
        "http://page.org/",
    ]
    assert {page.domain for page in found if isinstance(page, Page)} == {"page.org"}


def test_target_uri() -> None:
    assert target_uri("<http://a.org/>") == "http://a.org/"
    assert target_uri(" http://a.org/<b> ") == "http://a.org/<b>"


def test_a_page_on_a_host_without_domain_is_a_page(tmp_path: Path) -> None:
    (page,) = pages(tmp_path, record("http://203.0.113.7/", LINK))
    assert isinstance(page, Page)
    assert page.domain is None


# -- dates -----------------------------------------------------------------------------------------


def test_dates_in_order_of_time() -> None:
    in_order = [
        "2023",
        "2023-02",
        "2023-02-03T04:05Z",
        "2024-04-25T16:24:43.999999999Z",
        "2024-04-25T16:24:44Z",
        "2024-04-25T16:24:44.000000001Z",
        "2024-04-25T16:24:44.5Z",
        "20240425162445",
        "2024-04-25T18:24:46+02:00",
        "2024-04-25T16:24:46.1Z",
        "2024-12-31T23:59:60Z",
        "2025-01-01T00:00:01Z",
    ]
    keys = [sortable_date(date) for date in in_order]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert len({len(key) for key in keys if key}) == 1


@pytest.mark.parametrize("value", ["", "yesterday", "2024-13-01", "2024-04-25T25:00:00Z", "20"])
def test_no_date(value: str) -> None:
    assert sortable_date(value) is None


# -- codings ---------------------------------------------------------------------------------------

BODY = b"<p>hello</p>" * 50
RAW_DEFLATE = zlib.compressobj(wbits=-15)
BARE = RAW_DEFLATE.compress(BODY) + RAW_DEFLATE.flush()
CHUNKED = (
    b"5\r\n" + BODY[:5] + b"\r\n" + b"%X;x=y\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", BODY),
        ("identity", BODY),
        ("utf-8", BODY),
        ("gzip", gzipped(BODY)),
        ("GZIP", gzipped(BODY)),
        ("x-gzip", gzipped(BODY)),
        ("gzip", gzipped(BODY[:50]) + gzipped(BODY[50:])),
        ("gzip", gzipped(BODY) + b"trailing"),
        ("gzip", BODY),  # undone by the crawler, header kept
        ("deflate", zlib.compress(BODY)),
        ("deflate", BARE),
        ("deflate", BODY),
        ("deflate, gzip", gzipped(zlib.compress(BODY))),
    ],
)
def test_content_codings(coding: str, body: bytes) -> None:
    assert without_codings(body, {"content-encoding": coding}) == BODY


@pytest.mark.parametrize(
    ("body", "http"),
    [
        (CHUNKED, {"transfer-encoding": "chunked"}),
        (CHUNKED, {"transfer-encoding": "Chunked"}),
        (BODY, {"transfer-encoding": "chunked"}),  # undone by the crawler, header kept
        (CHUNKED[:-5], {"transfer-encoding": "chunked"}),
        (CHUNKED.replace(b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"), {"transfer-encoding": "chunked"}),
        (
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzipped(BODY)), gzipped(BODY)),
            {"transfer-encoding": "chunked", "content-encoding": "gzip"},
        ),
        (gzipped(BODY), {"transfer-encoding": "gzip"}),
    ],
)
def test_transfer_codings(body: bytes, http: dict[str, str]) -> None:
    assert without_codings(body, http) == BODY


def test_cut_off_bodies_give_what_they_hold() -> None:
    cut = gzipped(BODY)[:-10]
    assert BODY.startswith(without_codings(cut, {"content-encoding": "gzip"})[:20])
    assert dechunked(b"ff\r\nabc") == b"abc"


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("zstd", BODY, "unsupported_coding"),
        ("compress", BODY, "unsupported_coding"),
        ("gzip", gzipped(BODY)[:-8] + bytes(8), "corrupt_coding"),
        ("deflate", zlib.compress(BODY)[:-4] + bytes(4), "corrupt_coding"),
        ("gzip", gzipped(bytes(40 << 20)), "too_long"),
        ("deflate", zlib.compress(bytes(40 << 20)), "too_long"),
    ],
)
def test_codings_that_cannot_be_undone(coding: str, body: bytes, reason: str) -> None:
    with pytest.raises(BadRecord) as bad:
        without_codings(body, {"content-encoding": coding})
    assert bad.value.reason == reason


def test_brotli_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(BadRecord, match="brotli is missing"):
        without_codings(b"x", {"content-encoding": "br"})


def test_brotli_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Error(Exception):
        pass

    class Decompressor:
        def process(self, piece: bytes) -> bytes:
            if b"!" in piece:
                raise Error("bad")
            return piece.swapcase()

    stand_in = types.SimpleNamespace(Decompressor=Decompressor, error=Error)
    monkeypatch.setitem(sys.modules, "brotli", stand_in)
    assert without_codings(b"aB" * 2000, {"content-encoding": "br"}) == b"Ab" * 2000
    with pytest.raises(BadRecord, match="corrupt_coding"):
        without_codings(b"!", {"content-encoding": "br"})


def test_codings_within_records(tmp_path: Path) -> None:
    body = LINK.encode()
    found = pages(
        tmp_path,
        record("http://a.org/", gzipped(body), headers=(("Content-Encoding", "gzip"),)),
        record(
            "http://b.org/",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
            headers=(("Transfer-Encoding", "chunked"),),
        ),
        record("http://c.org/", body, headers=(("Content-Encoding", "zstd"),)),
        record("http://d.org/", body, headers=(("X-Crawl-Content-Encoding", "zstd"),)),
    )
    assert [page.urls if isinstance(page, Page) else page.reason for page in found] == [
        ["https://there.org/x"],
        ["https://there.org/x"],
        "unsupported_coding",
        ["https://there.org/x"],
    ]


# -- charsets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html; charset=iso-8859-1", b"\xe4", "ä"),
        ('text/html;Charset="ISO-8859-1"', b"\xe4", "ä"),
        ("text/html; charset='iso-8859-1'; x=y", b"\xe4", "ä"),
        ("text/html; charset=koi8-r", "<meta charset=utf-8>ж".encode("koi8-r"), "ж"),
        ("text/html", '<meta charset="koi8-r">ж'.encode("koi8-r"), "ж"),
        ("text/html", "<META CHARSET=KOI8-R>ж".encode("koi8-r"), "ж"),
        ("text/html", "<meta charset=koi8-r><meta charset=utf-8>ж".encode("koi8-r"), "ж"),
        ("text/html", "<!-- <meta charset=utf-16> --><meta charset=koi8-r>ж".encode("koi8-r"), "ж"),
        (
            "text/html",
            "<meta content='text/html; charset=koi8-r' http-equiv=Content-Type>ж".encode("koi8-r"),
            "ж",
        ),
        ("text/html", "<meta name=charset content='charset=koi8-r'>ж".encode(), "ж"),
        ("text/html", b" " * 4076 + b"<meta charset=koi8-r>"[:20] + b">\xd0\xb6", "ж"),
        ("text/html", b" " * 4097 + "<meta charset=koi8-r>ж".encode(), "ж"),
        ("text/html", "ж".encode(), "ж"),
        ("text/html; charset=unheard-of", "<meta charset=koi8-r>ж".encode("koi8-r"), "ж"),
        ("text/html; charset=unheard-of", "ж".encode(), "ж"),
        ("text/html; charset=", "ж".encode(), "ж"),
        ("text/html; charset=gb2312", "镕".encode("gb18030"), "镕"),
        ("text/html; charset=GBK", "\U00020087".encode("gb18030"), "\U00020087"),
        ("text/html", b"<meta charset=gb2312>" + "镕".encode("gb18030"), "镕"),
        ("text/html; charset=shift_jis", "日".encode("shift_jis"), "日"),
        ("text/html; charset=utf-16le", "ж".encode("utf-16le"), "ж"),
        ("text/html", "<meta charset=utf-16>ж".encode(), "ж"),
        ("text/html; charset=utf-8", b"a\xffb", "a\ufffdb"),
        ("text/html; charset=ascii", b"a\xffb", "a\ufffdb"),
        ("text/html; charset=hex", "ж".encode(), "ж"),
        ("text/html; charset=undefined", "ж".encode(), "ж"),
        ("text/html; charset=idna", "ж".encode(), "ж"),
    ],
)
def test_charset(content_type: str, body: bytes, text: str) -> None:
    assert decoded(body, content_type).endswith(text)


def test_the_meta_must_lie_within_4096_bytes() -> None:
    meta = "<meta charset=koi8-r>"
    assert decoded(b" " * (4096 - len(meta)) + meta.encode() + b"\xd6", "").endswith("ж")
    assert decoded(b" " * (4097 - len(meta)) + meta.encode() + b"\xd6", "").endswith("\ufffd")


def test_labels_that_are_no_charset() -> None:
    assert [codec(label) for label in ("zip", "rot13", "unicode_escape", "a\0b", "")] == [None] * 5
    assert declared_charset(b"<metadata charset=koi8-r>") is None


# -- markup and links ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "hrefs"),
    [
        ("<a href=1><A HREF='2'><a\nhref = \"3\"><a x=y href=4 href=5></a>", ["1", "2", "3", "4"]),
        ("<a>none</a><a name=x><area href=1><link href=2><ab href=3>", []),
        ("<table><a href=1><tr><a href=2><td></table></div><p><a href=3></b>", ["1", "2", "3"]),
        ("<script>'<a href=1>'</script><!-- <a href=2> --><a href=3>", ["3"]),
        ("<textarea><a href=1></textarea><title><a href=2></title><a href=3>", ["3"]),
        ("<a href='?a=1&amp;b=2&copy=3&#x41;'>", ["?a=1&b=2&copy=3A"]),
        ("<a href='a\0b'>", ["a\ufffdb"]),
        ("\ufeff<a href=1>", ["1"]),
        ('<?xml version="1.0" encoding="gb2312"?><meta charset=gb2312><a href="/ж">', ["/ж"]),
        ("<svg><a href=1 xlink:href=2 /></svg>", ["1"]),
        ("<a href>", [""]),
        ("<a href='never closed", []),
        ("", []),
        (" \n\t", []),
        ("<!-- only -->", []),
        ("<!DOCTYPE html>", []),
        ("just text", []),
        ("\0", []),
        ("\ud800<a href=1>", ["1"]),
    ],
)
def test_anchors(html: str, hrefs: list[str]) -> None:
    assert anchors(html) == (None, hrefs)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    html = "".join(
        f"<p title='ä&amp;{n}'><a href='/ö/{n}?x&amp;y'>ü</a><!-- {n} -->" for n in range(300)
    )
    whole = anchors(html)
    for size in (1, 7, 64):
        monkeypatch.setattr(webgraph_pages, "_FED", size)
        assert anchors(html) == whole
    assert len(whole[1]) == 300


@pytest.mark.parametrize(
    "bomb",
    [
        "<div>" * 300_000 + "<a href=in>",
        "<a " + " ".join(f"a{n}=1" for n in range(100_000)) + " href=in>",
        "<table>" * 5000 + "<a href=in>" + "</table>" * 5000,
        "&" * 500_000 + "<a href=in>",
        "<" * 500_000 + "<a href=in>",
        "<p>" + "x" * 20_000_000 + "<a href=in>",
    ],
    ids=["depth", "attributes", "tables", "ampersands", "brackets", "text"],
)
@pytest.mark.timeout(30)
def test_parser_bombs(bomb: str) -> None:
    assert anchors(bomb)[1] == ["in"]


def test_a_page_that_takes_too_long_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webgraph_pages, "LONGEST_PARSE", -1.0)
    (fault,) = pages(tmp_path, record(body=LINK))
    assert isinstance(fault, Fault)
    assert fault.reason == "slow_to_parse"


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("https://there.org/x", "https://there.org/x"),
        ("x", "https://page.org/dir/x"),
        ("../x", "https://page.org/x"),
        ("/x", "https://page.org/x"),
        ("?q", "https://page.org/dir/page?q"),
        ("//there.org", "https://there.org"),
        (" \n x \t", "https://page.org/dir/x"),
        ("\u00a0https://there.org/\u3000", "https://there.org/"),
        ("ht\ntps://the\tre.org/", "https://there.org/"),
        ("https://there.org/#part", "https://there.org/"),
        ("x#part#y", "https://page.org/dir/x"),
        ("HTTP://there.org/", "http://there.org/"),
        ("http://user:word@there.org:81/", "http://user:word@there.org:81/"),
        ("http://There.org./", "http://There.org./"),
        ("http://bücher.de/ä", "http://bücher.de/ä"),
    ],
)
def test_link(href: str, url: str) -> None:
    assert links(f'<a href="{href}">') == [url]


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("#", "fragment_only"),
        (" #part ", "fragment_only"),
        ("mailto:a@b.org", "not_http"),
        ("javascript:void(0)", "not_http"),
        ("JavaScript:alert('http://there.org')", "not_http"),
        ("tel:+1", "not_http"),
        ("data:text/html,x", "not_http"),
        ("ftp://there.org/", "not_http"),
        ("http://[oops/", "no_url"),
        ("http://a\u2100b.org/", "no_url"),
        ("http:///x", "no_host"),
        ("http://192.168.0.1/", "ip_address"),
        ("http://[::1]/", "ip_address"),
        ("http://localhost/", "no_public_suffix"),
        ("http://co.uk/", "is_public_suffix"),
        ("http://a b.org/", "invalid_host"),
    ],
)
def test_skipped_link(href: str, reason: str) -> None:
    found = PageReader().links("https://page.org/", f'<a href="{href}">')
    assert found.urls == found.domains == []
    assert dict(found.skipped) == {reason: 1}


@pytest.mark.parametrize(
    ("head", "url"),
    [
        ("<base href='https://base.org/a/'>", "https://base.org/a/x"),
        ("<base href='/a/'>", "https://page.org/a/x"),
        ("<base href=' ../a/\n'>", "https://page.org/a/x"),
        ("<base href='//base.org'>", "https://base.org/x"),
        ("<base target=t><base href='/a/'><base href='/b/'>", "https://page.org/a/x"),
        ("<base href=''>", "https://page.org/dir/x"),
        ("<base href='http://[oops/'>", "https://page.org/dir/x"),
        ("<BASE HREF='/a/'>", "https://page.org/a/x"),
    ],
)
def test_base(head: str, url: str) -> None:
    assert links(f"{head}<a href=x>") == [url]
    assert links(f"<a href=x>{head}") == [url]


BASES = [
    "https://page.org",
    "https://page.org/a/b/c?q=/x#/y",
    "http://page.org?q=/x",
    "HTTP://Page.org:8080/a/",
    "https://me:secret@page.org/a//b/",
    "mailto:me@page.org",
    "data:text/html,x",
]
HREFS = [
    *("x", "./x", "../x", "../../../x", "/x", "/../x", "/a/./b/../c", "/", "//there.org/x", "///x"),
    *("?q", "?q=/", "/?q=1&amp;r", "/x;y?z", ";y", "x#f", "/x#f?q", "https:x", "http:/x"),
    *("https://there.org", "http://there.org/../x", "http://there.org/a;b?c#d", "http:///x"),
    *("HTTPS://There.org/", "http://?q", "http://#f", "https://there.org?q=/", "/x:y", "x:y"),
]


@pytest.mark.parametrize("base", BASES)
def test_links_resolve_as_urljoin_does(base: str) -> None:
    """What is remembered from link to link makes no difference."""
    reader = PageReader()
    written = "".join(f"<a href='{href}'>" for href in HREFS)
    expected = [urldefrag(urljoin(base, unescape(href))).url for href in HREFS]
    # urljoin hands some URLs back as they were written: no reason to tell them apart.
    expected = [urlsplit(url).geturl() for url in expected]
    kept = [
        url
        for url in expected
        if urlsplit(url).scheme in ("http", "https") and reader.domain(url) is not None
    ]
    for _ in range(2):
        assert reader.links(base, written).urls == kept


def test_links_keep_their_order_and_number() -> None:
    html = "<a href=b><a href=https://there.org><a href=b><a href=#><a href=a>"
    found = PageReader().links("https://page.org/", html)
    assert found.urls == [
        "https://page.org/b",
        "https://there.org",
        "https://page.org/b",
        "https://page.org/a",
    ]
    assert found.domains == ["page.org", "there.org", "page.org", "page.org"]


# -- files -----------------------------------------------------------------------------------------


def test_counts_and_faults_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "one.warc.gz"
    path.write_bytes(
        compressed(
            record(body="<a href=#><a href=https://there.org>"),
            record(body=LINK, kind="resource"),
            record(body=LINK, status="404 Not Found"),
            record(body=LINK)[:-30],
        )
    )
    reader = PageReader()
    page, fault = reader.pages(f"file://{path}")
    assert isinstance(page, Page)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.whole_file) == ("cut_short", False)
    assert fault.record_id == "<urn:uuid:00000000-0000-0000-0000-000000000001>"
    assert reader.counts == {
        "records": 4,
        "responses": 3,
        "page_records": 1,
        "skipped_fragment_only": 1,
    }


@pytest.mark.parametrize("name", ["missing.warc.gz", "", "gs://bucket/key"])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, name: str) -> None:
    location = name if "://" in name else str(tmp_path / name)
    (fault,) = PageReader().pages(location)
    assert isinstance(fault, Fault)
    assert fault.whole_file
    assert fault.reason == "unreadable_file"


def test_whatever_happens_within_a_record_is_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(html: str) -> tuple[None, list[str]]:
        if "two" in html:
            raise RecursionError("too deep")
        return None, []

    monkeypatch.setattr(webgraph_pages, "anchors", failing)
    found = pages(tmp_path, record(body="one"), record(body="two"), record(body="three"))
    assert [isinstance(one, Page) for one in found] == [True, False, True]
    assert isinstance(found[1], Fault)
    assert (found[1].reason, found[1].detail) == ("unexpected", "RecursionError: too deep")
