"""What a run reads besides the crawl itself: `manifest.csv` and `seeds.csv` of the input folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from webgraph_hosts import Nodes
from webgraph_locations import joined, opened
from webgraph_tables import ALL_PAGES, EVERY_QUERY

_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"", "0", "false", "no"})
# `mailto:someone@…` has a scheme, `example.org:8080` has a port.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d+(?:[/?#]|$))", re.IGNORECASE)


class Seed(NamedTuple):
    """A row of seeds.csv that became a node of its query: the first one of its domain."""

    query: str
    domain: str
    url: str
    note: str
    row: int


class Reject(NamedTuple):
    """A row of seeds.csv that became no node.

    `reason` is `blocked`, `invalid` or `duplicate`; `detail` says which way of being invalid, or
    the domain that was there before.
    """

    query: str
    reason: str
    detail: str
    url: str
    note: str
    row: int


def warc_paths(folder: str, crawl: str) -> list[str]:
    """The WARC files of a crawl, relative to the input folder, each once, in the manifest's order.

    Raises:
        ValueError: the manifest names no such crawl, or is no manifest.
        OSError: the manifest cannot be read.
    """
    paths: dict[str, list[str]] = {}
    for _, row in _rows(folder, "manifest.csv", ("crawl", "format", "path")):
        if row["format"].lower() == "warc" and row["crawl"] and row["path"]:
            paths.setdefault(row["crawl"], []).append(row["path"])
    if crawl not in paths:
        raise ValueError(
            f"crawl {crawl!r} has no WARC files in manifest.csv; crawls that have: "
            + (", ".join(sorted(paths)) or "none")
        )
    return list(dict.fromkeys(paths[crawl]))


def seeds(folder: str, query: str, nodes: Nodes) -> tuple[list[Seed], list[Reject]]:
    """The nodes of a query, and the rows of that query that are none.

    The partition `all_pages` has no nodes, as it takes every page; rows that name no query at all
    are kept among its rejects.

    Raises:
        ValueError: seeds.csv has no such query, is no such table, or uses a reserved name.
        OSError: seeds.csv cannot be read.
    """
    found: dict[str, Seed] = {}
    rejects: list[Reject] = []
    queries = set()
    for number, row in _rows(folder, "seeds.csv", ("query", "url", "blocked")):
        name = row["query"]
        if name in (ALL_PAGES, EVERY_QUERY):
            raise ValueError(f"seeds.csv, row {number}: the query name {name!r} is reserved")
        queries.add(name or ALL_PAGES)
        if (name or ALL_PAGES) != query:
            continue
        url, note = row["url"], row.get("note", "")
        domain, reason, detail = _judged(row, nodes)
        if domain in found:
            reason, detail = "duplicate", f"{domain} is in row {found[domain].row}"
        if reason:
            rejects.append(Reject(name, reason, detail, url, note, number))
        elif domain is not None:
            found[domain] = Seed(name, domain, url, note, number)
    if query not in queries | {ALL_PAGES}:
        raise ValueError(
            f"query {query!r} is not in seeds.csv; it has: "
            + ", ".join([ALL_PAGES, *sorted(queries - {ALL_PAGES})])
        )
    return list(found.values()), rejects


def _judged(row: dict[str, str], nodes: Nodes) -> tuple[str | None, str, str]:
    """The domain of a row, or None with the reason and detail of its rejection."""
    blocked = row["blocked"].lower()
    if blocked in _TRUE:
        return None, "blocked", ""
    if not row["query"]:
        return None, "invalid", "no_query"
    if blocked not in _FALSE:
        return None, "invalid", f"blocked is {row['blocked']!r}, neither 0 nor 1"
    if not row["url"]:
        return None, "invalid", "empty"
    try:
        host = urlsplit(with_scheme(row["url"])).hostname
    except ValueError as fault:
        return None, "invalid", f"no_url: {fault}"
    node = nodes.of_host(host)
    return node.domain, "invalid" if node.domain is None else "", node.reason


def with_scheme(url: str) -> str:
    """A URL as people write it, with `http://` in front if it has no scheme."""
    if url.startswith("//"):
        return "http:" + url
    return url if "://" in url or _SCHEME.match(url) else "http://" + url


def _rows(folder: str, name: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their number from 1 (without the header).

    Read as the orchestrator reads it for the partitions: names and values without the spaces
    around them.
    """
    with opened(joined(folder, name)) as stream:
        # utf-8-sig: spreadsheets write a mark in front.
        table = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        table.fieldnames = [column.strip() for column in table.fieldnames or ()]
        missing = [column for column in columns if column not in table.fieldnames]
        if missing:
            raise ValueError(f"{name} has no column {', '.join(missing)}")
        for number, row in enumerate(table, start=1):
            # A row with too many fields has them under None, one with too few has None for them.
            yield (
                number,
                {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)},
            )
