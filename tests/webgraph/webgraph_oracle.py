"""What graph_aggr must hold, worked out in plain Python by other means than the pipeline's own:
warcio instead of its WARC reader, html.parser instead of lxml, dictionaries instead of Spark."""

from __future__ import annotations

import csv
import ipaddress
import re
from collections import defaultdict
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import idna
import tldextract
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

SUFFIXES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
Row = tuple[str, str, str, str, int, int, int]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(reversed(attrs))  # of an attribute given twice the first counts
        if "href" not in given:
            return
        href = given["href"] or ""
        if tag == "a":
            self.hrefs.append(href)
        elif tag == "base" and self.base is None:
            self.base = href


def domain_of(url: str, private: bool) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    if not host:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            return None
    found = SUFFIXES(host.lower().rstrip("."), include_psl_private_domains=private)
    return found.top_domain_under_public_suffix or None


def _text(body: bytes, content_type: str) -> str:
    label = re.search(r"charset=\"?([\w-]+)", content_type, re.IGNORECASE)
    if label is None:
        head = body[:4096].decode("latin-1")
        label = re.search(r"<meta[^>]*charset=[\"']?([\w-]+)", head, re.IGNORECASE)
    charset = label.group(1).lower() if label else "utf-8"
    charset = "gb18030" if charset in ("gb2312", "gbk") else charset
    return body.decode(charset, "replace")


def fetches(path: Path) -> list[tuple[str, datetime, str, list[str]]]:
    """URI, date, record id and links of every page record that is whole, as far as warcio sees."""
    found = []
    with path.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream):
                http = record.http_headers
                if record.rec_type != "response" or http is None:
                    continue
                kind = (http.get_header("Content-Type") or "").split(";")[0].strip().lower()
                if http.get_statuscode() != "200" or kind not in (
                    "text/html",
                    "application/xhtml+xml",
                ):
                    continue
                body = record.content_stream().read()
                record.raw_stream.read()
                if record.raw_stream.limit:  # the record is cut short
                    continue
                uri = record.rec_headers.get_header("WARC-Target-URI")
                tags = _Tags()
                tags.feed(_text(body, http.get_header("Content-Type")))
                tags.close()
                base = urljoin(uri, tags.base) if tags.base is not None else uri
                links = []
                for written in tags.hrefs:
                    href = written.strip()
                    if not href or href.startswith("#"):
                        continue
                    try:
                        link = urldefrag(urljoin(base, href)).url
                    except ValueError:
                        continue
                    if urlsplit(link).scheme in ("http", "https"):
                        links.append(link)
                date = record.rec_headers.get_header("WARC-Date")
                identity = record.rec_headers.get_header("WARC-Record-ID")
                found.append((uri, datetime.fromisoformat(date), identity, links))
        except ArchiveLoadFailed:
            pass
    return found


def nodes(folder: Path, query: str, private: bool = False) -> set[str]:
    found = set()
    with (folder / "seeds.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            url = row["url"].strip()
            if row["query"] == query and row["blocked"] == "0" and url:
                found.add(domain_of(url if "://" in url else f"http://{url}", private))
    return {domain for domain in found if domain}


def graph_aggr(folder: Path, crawl: str, query: str, private: bool = False) -> set[Row]:
    """The rows of graph_aggr for a partition; the query `*` stands for all pages."""
    first: dict[str, tuple[datetime, str, list[str]]] = {}
    with (folder / "manifest.csv").open(newline="") as table:
        paths = [
            folder / row["path"]
            for row in csv.DictReader(table)
            if row["crawl"] == crawl and row["format"] == "warc"
        ]
    for path in paths:
        if not path.exists():
            continue
        for uri, date, identity, links in fetches(path):
            if uri not in first or (date, identity) < first[uri][:2]:
                first[uri] = (date, identity, links)
    members = nodes(folder, query, private)
    occurrences: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for uri, (_, _, links) in first.items():
        source = domain_of(uri, private)
        if source is None or (query != "*" and source not in members):
            continue
        for link in links:
            target = domain_of(link, private)
            if target is not None and target != source:
                occurrences[source, target].append((uri, link))
    rows = set()
    for (source, target), found in occurrences.items():
        sources, targets = zip(*found, strict=True)
        counts = len(found), len(set(sources)), len(set(targets))
        rows.add((crawl, query, source, target, *counts))
    return rows
