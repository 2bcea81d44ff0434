from __future__ import annotations

import socket

import pytest
from webgraph_hosts import Node, Nodes, ascii_host


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("page.org", "page.org"),
        ("WWW.Page.ORG", "page.org"),
        ("www.page.org.", "page.org"),
        ("a.b.c.page.co.uk", "page.co.uk"),
        ("www.bücher.de", "xn--bcher-kva.de"),
        ("BÜCHER.DE", "xn--bcher-kva.de"),
        ("XN--BCHER-KVA.de", "xn--bcher-kva.de"),
        ("faß.de", "xn--fa-hia.de"),  # UTS 46 as it is now, non-transitional
        ("b%C3%BCcher.de", "xn--bcher-kva.de"),
        ("page。org", "page.org"),
        ("食狮.公司.cn", "xn--85x722f.xn--55qx5d.cn"),  # a suffix that is international itself
        ("i❤.ws", "xn--i-7iq.ws"),
        ("under_score.page.org", "page.org"),
        ("r3---sn-abc.page.org", "page.org"),
        ("someone.github.io", "github.io"),
        ("city.kawasaki.jp", "city.kawasaki.jp"),  # an exception of the list
        ("a.b.kawasaki.jp", "a.b.kawasaki.jp"),  # a wildcard of the list
    ],
)
def test_host_to_domain(host: str, domain: str) -> None:
    assert Nodes().of_host(host) == Node(domain, "")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (None, "no_host"),
        ("", "no_host"),
        ("192.168.0.1", "ip_address"),
        ("::1", "ip_address"),
        ("fe80::1%eth0", "ip_address"),
        ("１９２.168.0.1", "ip_address"),  # noqa: RUF001 - digits of full width
        ("localhost", "no_public_suffix"),
        ("printer.local", "no_public_suffix"),
        ("page.example", "no_public_suffix"),
        ("2130706433", "no_public_suffix"),  # an address as a number is no name either
        ("co.uk", "is_public_suffix"),
        ("org", "is_public_suffix"),
        ("a b.org", "invalid_host"),
        ("a..org", "invalid_host"),
        (".org", "invalid_host"),
        (".", "invalid_host"),
        ("a\\b.org", "invalid_host"),
        ("a%zz.org", "invalid_host"),
        ("%ff.org", "invalid_host"),
        ("a" * 64 + ".org", "invalid_host"),
        ("a." * 126 + "org", "invalid_host"),
        ("ü" * 60 + ".org", "invalid_host"),
        ("\ufffd.org", "invalid_host"),
    ],
)
def test_host_without_domain(host: str | None, reason: str) -> None:
    assert Nodes().of_host(host) == Node(None, reason)


def test_private_section_by_choice() -> None:
    private = Nodes(private_suffixes=True)
    assert private.of_host("www.someone.github.io").domain == "someone.github.io"
    assert private.of_host("github.io").reason == "is_public_suffix"
    assert Nodes(private_suffixes=False).of_host("www.someone.github.io").domain == "github.io"


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refused)
    import webgraph_hosts

    webgraph_hosts._suffix_list.cache_clear()
    assert Nodes().of_host("page.co.uk").domain == "page.co.uk"


def test_ascii_host_drops_one_dot_only() -> None:
    assert ascii_host("Page.org..") == "page.org."
