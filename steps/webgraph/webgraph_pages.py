"""From the records of a WARC file to pages and their links: the rules of what counts.

A page is a record with WARC-Type response, an http(s) target, status 200 and a Content-Type of
HTML or XHTML. Its links are every `<a href>` in document order that leads to an http(s) URL on a
host with a registered domain; everything else is counted by the reason for which it is skipped.
"""

from __future__ import annotations

import codecs
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from lxml import etree
from webgraph_hosts import Nodes
from webgraph_locations import BrokenReadError, opened
from webgraph_records import LONGEST_CONTENT, BadRecord, Fault, Record, records

HTML = frozenset({"text/html", "application/xhtml+xml"})
META_WITHIN = 4096  # bytes of a page in which its charset may be declared
LONGEST_PARSE = 60.0  # seconds of CPU for one page; only a page made to be slow takes as many
_FED = 1 << 16  # bytes parsed between two looks at the clock


# A URL that does not depend on the page it stands on.
_ABSOLUTE = re.compile(r"https?://[^/?#]", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    """One fetch of a page, and where it links to.

    Attributes:
        uri: the target URI as recorded, which is the page's identity within a crawl.
        fetched: WARC-Date as `sortable_date` writes it; None if it cannot be read.
        record_id: WARC-Record-ID, empty if the record has none.
        offset: where the record begins in its file, in bytes.
        domain: the registered domain of the page's own host, or None.
        urls: link targets in document order, without fragment.
        domains: the registered domain of every target, in the same order.
    """

    uri: str
    fetched: str | None
    record_id: str
    offset: int
    domain: str | None
    urls: list[str]
    domains: list[str]


class Target(NamedTuple):
    """Where a link leads: a URL and its registered domain, or the reason to skip it."""

    url: str
    domain: str
    reason: str


class Links(NamedTuple):
    """Targets of a page's links (see `Page`), and how many links were skipped for which reason."""

    urls: list[str]
    domains: list[str]
    skipped: Counter[str]


class PageReader:
    """Reads pages, and remembers the hosts and targets it has met. Make one for a task.

    Args:
        private_suffixes: see `webgraph_hosts.Nodes`.

    Attributes:
        counts: what was met so far. `records`, `responses`, `page_records` (pages before
            duplicates are dropped), `page_records_without_domain` of those, and
            `skipped_<reason>` for their links.
    """

    def __init__(self, private_suffixes: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self._nodes = Nodes(private_suffixes)
        self._target = lru_cache(maxsize=1 << 16)(self._target_of)
        self._target_from = lru_cache(maxsize=1 << 16)(self._joined_target)

    def pages(self, location: str) -> Iterator[Page | Fault]:
        """The pages of one WARC file in their order, and what could not be read of it.

        Nothing that a file holds or lacks ends the reading of other files: also a file that is
        missing is a fault.
        """
        try:
            with opened(location) as stream:
                for found in records(stream, compressed=location.lower().endswith(".gz")):
                    if isinstance(found, Fault):
                        yield found
                        continue
                    self.counts["records"] += 1
                    page = self._page_or_fault(found)
                    if page is not None:
                        yield page
        except BrokenReadError:
            raise  # another attempt may succeed: this is for Spark to repeat
        except Exception as fault:  # noqa: BLE001 - storage fails in its own ways; it is recorded
            yield Fault(0, None, "unreadable_file", _described(fault), whole_file=True)

    def _page_or_fault(self, record: Record) -> Page | Fault | None:
        try:
            return self._page(record)
        except BadRecord as bad:
            return Fault(record.offset, record.record_id, bad.reason, bad.detail)
        except BrokenReadError:
            raise
        except Exception as fault:  # noqa: BLE001 - hostile bytes; whatever it is, it is recorded
            return Fault(record.offset, record.record_id, "unexpected", _described(fault))

    def _page(self, record: Record) -> Page | None:
        if record.headers.get("warc-type", "").lower() != "response":
            return None
        self.counts["responses"] += 1
        uri = target_uri(record.headers.get("warc-target-uri", ""))
        if not is_http(uri):
            return None
        status, http = record.http_head()
        if status.split(maxsplit=2)[1:2] != ["200"] or media_type(http) not in HTML:
            return None
        html = decoded(without_codings(record.rest(), http), http.get("content-type", ""))
        links = self.links(uri, html)
        domain = self.domain(uri)
        self.counts["page_records"] += 1
        if domain is None:
            self.counts["page_records_without_domain"] += 1
        for reason, times in links.skipped.items():
            self.counts[f"skipped_{reason}"] += times
        return Page(
            uri=uri,
            fetched=sortable_date(record.headers.get("warc-date", "")),
            record_id=record.record_id or "",
            offset=record.offset,
            domain=domain,
            urls=links.urls,
            domains=links.domains,
        )

    def domain(self, uri: str) -> str | None:
        """The registered domain of a URL's host, or None."""
        try:
            return self._nodes.of_host(urlsplit(uri).hostname).domain
        except ValueError:
            return None

    def links(self, uri: str, html: str) -> Links:
        """The links of a page.

        Args:
            uri: the page's own URL.
            html: its text.

        Raises:
            BadRecord: the page takes absurdly long to parse.
        """
        base_href, hrefs = anchors(html)
        base = uri
        if base_href is not None:
            try:
                base = urljoin(uri, _cleaned(base_href))
            except ValueError:
                base = uri  # a base that is no URL is none
        root = base[:end] if (end := base.find("/", base.find("://") + 3)) > 0 else base
        found = Links([], [], Counter())
        for href in hrefs:
            target = self._resolved(base, root, _cleaned(href))
            if target.reason:
                found.skipped[target.reason] += 1
            else:
                found.urls.append(target.url)
                found.domains.append(target.domain)
        return found

    def _resolved(self, base: str, root: str, href: str) -> Target:
        """Where a link leads, if need be from a base whose scheme and host are `root`."""
        if not href:
            return Target("", "", "empty")
        if href[0] == "#":
            return Target("", "", "fragment_only")
        try:
            if _ABSOLUTE.match(href):
                return self._target(href)
            # Resolving takes most of the time, and the links of a site repeat from page to page.
            # A path from the root means the same on each of them.
            if href[0] == "/" and href[:2] != "//":
                return self._target_from(root, href)
            return self._target(urljoin(base, href))
        except ValueError:  # such as http://[oops/
            return Target("", "", "no_url")

    def _joined_target(self, base: str, href: str) -> Target:
        return self._target(urljoin(base, href))

    def _target_of(self, url: str) -> Target:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            return Target("", "", "not_http")
        node = self._nodes.of_host(parts.hostname)
        if node.domain is None:
            return Target("", "", node.reason)
        return Target(parts._replace(fragment="").geturl(), node.domain, "")


def target_uri(value: str) -> str:
    """The target URI of a header value, without the angle brackets that wget puts around it."""
    uri = value.strip()
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def is_http(uri: str) -> bool:
    return uri[:8].lower().startswith(("http://", "https://"))


def media_type(http: dict[str, str]) -> str:
    """The media type of a message in lower case, empty if it has no Content-Type."""
    return http.get("content-type", "").partition(";")[0].strip().lower()


# -- dates ---------------------------------------------------------------------------------------

_DATE = re.compile(
    r"(\d{4})-?(\d\d)?-?(\d\d)?(?:T?(\d\d):?(\d\d):?(\d\d)?(?:[.,](\d+))?)?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


def sortable_date(value: str) -> str | None:
    """A WARC-Date as `2024-04-25T16:24:44.000000000Z`, so that text order is time order.

    As they stand, dates with and without a fraction would compare wrongly (`.` comes before `Z`).
    WARC 1.1 allows nine digits of fraction, more than a timestamp holds, and dates that stop at
    the year, the month, the day or the minute: they count from its start. None for anything else.
    """
    match = _DATE.fullmatch(value.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            *(int(part or least) for part, least in ((year, 1), (month, 1), (day, 1))),
            *(int(part or 0) for part in (hour, minute)),
            tzinfo=timezone.utc,
        )
        # A leap second is not known to datetime; as a duration it is.
        moment += timedelta(seconds=int(second or 0))
        if zone and zone != "Z":
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            offset = timedelta(hours=hours, minutes=minutes)
            moment += offset if zone[0] == "-" else -offset
    except (ValueError, OverflowError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{(fraction or '')[:9]:0<9}Z"


# -- codings -------------------------------------------------------------------------------------

_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_UNSUPPORTED = frozenset({"zstd", "compress", "x-compress", "dcb", "dcz"})


def without_codings(body: bytes, http: dict[str, str]) -> bytes:
    """A message body with its transfer coding and its content coding undone.

    Crawlers also store bodies already undone under headers that still speak of a coding: a body
    that does not begin as the coding would is taken as it is. One that ends too early (crawlers
    cut off long bodies) gives what it holds.

    Raises:
        BadRecord: the coding is damaged, or not known here.
    """
    transfer = _tokens(http.get("transfer-encoding", ""))
    if "chunked" in transfer:
        body = dechunked(body)
    codings = _tokens(http.get("content-encoding", "")) + [c for c in transfer if c != "chunked"]
    for coding in reversed(codings):
        if coding in ("gzip", "x-gzip"):
            body = _gunzipped(body)
        elif coding == "deflate":
            body = _undeflated(body)
        elif coding == "br":
            body = _unbrotlied(body)
        elif coding in _UNSUPPORTED:
            raise BadRecord("unsupported_coding", f"Content-Encoding: {coding}")
        # Anything else, "identity" and nonsense such as "utf-8" alike, changes nothing.
    return body


def _tokens(value: str) -> list[str]:
    return [token for part in value.split(",") if (token := part.strip().lower())]


def dechunked(body: bytes) -> bytes:
    """The data of a chunked body; from where it is not chunked on, the body as it is."""
    pieces, at = [], 0
    while at < len(body):
        head = _CHUNK.match(body, at)
        if head is None:
            pieces.append(body[at:])
            break
        size = int(head.group(1), 16)
        if not size:
            break
        pieces.append(body[head.end() : head.end() + size])
        at = head.end() + size
        at += 2 if body[at : at + 2] == b"\r\n" else body[at : at + 1] == b"\n"
    return b"".join(pieces)


def _gunzipped(body: bytes) -> bytes:
    pieces, room = [], LONGEST_CONTENT
    rest = body
    while rest.startswith(b"\x1f\x8b"):  # there may be several members
        inflated, rest = _inflated(rest, 16 + zlib.MAX_WBITS, room)
        pieces.append(inflated)
        room -= len(inflated)
    return b"".join(pieces) if pieces else body


def _undeflated(body: bytes) -> bytes:
    # "deflate" means the zlib format; some servers send the bare stream within it.
    if len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0:
        return _inflated(body, zlib.MAX_WBITS, LONGEST_CONTENT)[0]
    try:
        return _inflated(body, -zlib.MAX_WBITS, LONGEST_CONTENT)[0]
    except BadRecord as bad:
        if bad.reason == "too_long":
            raise
        return body


def _inflated(body: bytes, window: int, room: int) -> tuple[bytes, bytes]:
    """What a body inflates to, and what follows behind its end."""
    inflate = zlib.decompressobj(window)
    try:
        inflated = inflate.decompress(body, room + 1)
    except zlib.error as fault:
        raise BadRecord("corrupt_coding", str(fault)) from fault
    if len(inflated) > room:
        raise BadRecord("too_long", f"inflates to more than {LONGEST_CONTENT} bytes")
    return inflated, inflate.unused_data


def _unbrotlied(body: bytes) -> bytes:
    try:
        import brotli
    except ImportError:
        raise BadRecord("unsupported_coding", "br: the package brotli is missing") from None
    decompressor = brotli.Decompressor()
    pieces, room = [], LONGEST_CONTENT
    for at in range(0, len(body), 1024):  # small pieces, as brotli knows no limit of its output
        try:
            pieces.append(decompressor.process(body[at : at + 1024]))
        except brotli.error as fault:
            raise BadRecord("corrupt_coding", str(fault)) from fault
        room -= len(pieces[-1])
        if room < 0:
            raise BadRecord("too_long", f"inflates to more than {LONGEST_CONTENT} bytes")
    return b"".join(pieces)


# -- charsets ------------------------------------------------------------------------------------

_HEADER_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?\s*([^\s;"',]+)""", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    rb"""([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>][^\s>]*)""", re.IGNORECASE
)
_CONTENT_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([^\s;"',]+)""", re.IGNORECASE)
# Labels of the web that Python spells in another way.
_LABELS = {"x-sjis": "cp932", "x-gbk": "gb18030", "x-euc-jp": "euc_jp", "x-cp1251": "cp1251"}
# Codecs of Python that are no charset of a page.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)


def decoded(body: bytes, content_type: str) -> str:
    """The text of a page: by the charset of the header, else the one that the page declares
    within its first 4096 bytes, else UTF-8. What cannot be decoded is replaced.

    A label that names no charset counts as none.
    """
    header = _HEADER_CHARSET.search(content_type)
    charset = codec(header.group(1)) if header else None
    if charset is None:
        label = declared_charset(body[:META_WITHIN])
        charset = codec(label) if label else None
        if charset and charset.startswith("utf-16"):
            charset = "utf-8"  # or else the declaration could not have been read
    return body.decode(charset or "utf-8", errors="replace")


def declared_charset(head: bytes) -> str | None:
    """The label of the first `<meta>` that declares a charset, in either way of doing so."""
    for meta in _META.finditer(_COMMENT.sub(b"", head)):
        attributes: dict[bytes, bytes] = {}
        for name, value in _ATTRIBUTE.findall(meta.group(1)):
            attributes.setdefault(name.lower(), value.strip(b"\"' \t\r\n\f"))
        if attributes.get(b"charset"):
            return attributes[b"charset"].decode("latin-1")
        if attributes.get(b"http-equiv", b"").lower() == b"content-type":
            content = _CONTENT_CHARSET.search(attributes.get(b"content", b""))
            if content:
                return content.group(1).decode("latin-1")
    return None


@lru_cache(maxsize=1024)
def codec(label: str) -> str | None:
    """The name of Python's codec for a charset label; None if the label names no charset."""
    label = label.strip().lower()
    try:
        found = codecs.lookup(_LABELS.get(label, label))
    except (LookupError, ValueError):  # ValueError: a NUL within the label
        return None
    if not found._is_text_encoding or found.name.replace("-", "_") in _NO_CHARSETS:
        return None
    # GB 18030 contains both, and pages that claim the smaller ones use it.
    return "gb18030" if found.name in ("gb2312", "gbk") else found.name


# -- markup --------------------------------------------------------------------------------------


class _Anchors:
    """Listens to the parser's tags, so that no tree is built.

    Without a tree the parser is faster, does not stop at a depth of 2048 elements, and does not
    take quadratic time for an element with very many attributes.
    """

    def __init__(self) -> None:
        self.base: str | None = None
        self.hrefs: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "a":
            href = attributes.get("href")
            if href is not None:
                self.hrefs.append(href)
        elif tag == "base" and self.base is None:
            self.base = attributes.get("href")

    def close(self) -> None:
        pass


def anchors(html: str) -> tuple[str | None, list[str]]:
    """The first `<base href>` or None, and every `<a href>` in document order, both as written.

    Raises:
        BadRecord: the page takes longer than LONGEST_PARSE to parse.
    """
    # libxml2 reads bytes; by naming their encoding, what the page says of its own is ignored.
    data = html.encode("utf-8", errors="replace").replace(b"\0", b"\xef\xbf\xbd")
    listener = _Anchors()
    if data.isspace() or not data:
        return None, []
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, target=listener)
    started = time.thread_time()
    for at in range(0, len(data), _FED):
        parser.feed(data[at : at + _FED])
        if time.thread_time() - started > LONGEST_PARSE:
            raise BadRecord("slow_to_parse", f"{at + _FED} bytes took over {LONGEST_PARSE:.0f} s")
    parser.close()
    return listener.base, listener.hrefs


def _cleaned(href: str) -> str:
    # As browsers do: whitespace around a URL, and tabs and line ends within it, mean nothing.
    return href.strip().replace("\t", "").replace("\n", "").replace("\r", "")


def _described(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}"[:500]
