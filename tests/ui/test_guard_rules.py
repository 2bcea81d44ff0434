"""Which requests the guard of the UI refuses, header by header."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ascii_hydra.loopback import LOOPBACK_NAMES
from ascii_hydra.webserver import refusal

URL = "http://127.0.0.1:3000"
JSON = ("content-type", "application/json; charset=utf-8")
HOST = ("host", "localhost:3000")
OWN = ("origin", "http://localhost:3000")


def refused(
    method: str,
    path: str,
    *headers: tuple[str, str],
    query: str = "",
    served: Sequence[str] = LOOPBACK_NAMES,
) -> str | None:
    return refusal(method, path, query, headers, served, URL)


@pytest.mark.parametrize(
    "host",
    ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "[::1]", "LocalHost", "localhost:4000"],
)
def test_every_loopback_name_is_this_machine(host: str) -> None:
    assert refused("GET", "/", ("host", host)) is None
    assert refused("POST", "/graphql", ("host", host), JSON, ("origin", f"http://{host}")) is None


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.example:3000",),
        ("localhost:",),
        ("localhost:x",),
        ("localhost:3000:80",),
        ("localhost.evil.example:3000",),
        ("localhost:3000@evil.example",),
        ("127.0.0.1.evil.example:3000",),
        ("localhost:3000", "evil.example"),
        ("",),
    ],
)
def test_another_host_is_a_rebound_name(hosts: Sequence[str]) -> None:
    why = refused("GET", "/", *(("host", one) for one in hosts))
    assert why is not None
    assert why.startswith("Refused: it is addressed to ")
    assert why.endswith("Open http://127.0.0.1:3000 in a browser.")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost:8888",
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:3000",  # not the host that is asked
        "http://localhost:3000.evil.example",
    ],
)
def test_another_origin_is_refused_whatever_it_asks(origin: str) -> None:
    for method, path in (("POST", "/graphql"), ("GET", "/graphql"), ("GET", "/runs")):
        why = refused(method, path, HOST, JSON, ("origin", origin))
        assert why is not None
        assert f"it comes from a page of {origin!r}" in why
    assert refused("POST", "/graphql", HOST, JSON, OWN, ("origin", origin)) is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything-new"])
def test_a_foreign_page_may_link_to_a_page_and_no_more(site: str) -> None:
    link = (
        ("sec-fetch-site", site),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    )
    assert refused("GET", "/runs/1", HOST, *link) is None
    assert refused("GET", "/graphql", HOST, *link) is not None
    assert refused("POST", "/runs/1", HOST, JSON, *link) is not None
    for dest in ("iframe", "image", "script", "empty"):
        assert refused("GET", "/runs", HOST, *link[:2], ("sec-fetch-dest", dest)) is not None
    assert refused("GET", "/runs", HOST, link[0]) is not None


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_pages_and_the_address_bar_are_no_foreign_site(site: str) -> None:
    assert refused("POST", "/graphql", HOST, JSON, OWN, ("sec-fetch-site", site)) is None


@pytest.mark.parametrize(
    ("query", "answered"),
    [
        ("", True),
        ("query=%7Bversion%7D", True),
        ("query=query+Q%7Bversion%7D", True),
        ("query=mutation%7Bx%7D", False),
        ("query=%20%23mutation%0Amutation%20M%7Bx%7D", False),
        ("query=query+A%7Bx%7D+mutation+B%7Bx%7D&operationName=A", False),
        ("query=%7Bversion%7D&query=mutation%7Bx%7D", False),
        ("query=subscription%7Bx%7D", False),
        ("query=%7Bmutation%7D", True),  # a field of this name
        ("query=%7Bunreadable", False),
        ("query=", False),
        ("%71uery=mutation%7Bx%7D", False),
    ],
)
def test_by_get_graphql_changes_nothing(query: str, answered: bool) -> None:
    for path in ("/graphql", "/graphql/", "/prefix/graphql"):
        assert (refused("GET", path, HOST, query=query) is None) is answered
    assert refused("GET", "/runs", HOST, query=query) is None  # a page of the UI takes no query


@pytest.mark.parametrize(
    "types",
    [
        (),
        ("text/plain",),
        ("text/plain; a=application/json",),
        ("application/x-www-form-urlencoded",),
        ("multipart/form-data; boundary=x",),
        ("application/graphql",),
        ("application/jsonp",),
        ("text/plain", "application/json"),
    ],
)
def test_what_changes_something_is_json(types: Sequence[str]) -> None:
    headers = [("content-type", one) for one in types]
    for path in ("/graphql", "/report_asset_materialization/a", "/report_asset_check/a", "/"):
        assert refused("POST", path, HOST, *headers) is not None
        assert refused("POST", path, HOST, JSON) is None


def test_a_host_that_was_asked_for_is_served_too() -> None:
    served = ("build.example", *LOOPBACK_NAMES)
    assert refused("GET", "/", ("host", "build.example:3000"), served=served) is None
    assert refused("GET", "/", HOST, served=served) is None
    assert refused("GET", "/", ("host", "other.example:3000"), served=served) is not None
