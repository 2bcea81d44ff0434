"""From the host of a URL to the domain that somebody registered: the nodes of the graph."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import idna
import tldextract

# What may not stand in a host (WHATWG URL, "forbidden domain code point"). Underscores and hyphens
# anywhere may: real sites have them, and names are not registered here but looked at.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"#%/:<>?@\[\\\]^`|{}]")
_LONGEST_LABEL, _LONGEST_HOST = 63, 253


class Node(NamedTuple):
    """The registered domain of a host, or why it has none.

    Attributes:
        domain: in lower case and punycode, such as `xn--mnchen-3ya.de`; None if there is none.
        reason: empty with a domain; else `no_host`, `invalid_host`, `ip_address`,
            `no_public_suffix` or `is_public_suffix`.
    """

    domain: str | None
    reason: str


class Nodes:
    """Looks up registered domains in the Public Suffix List that tldextract carries along.

    No network and no cache folder is touched. A look-up is remembered: links repeat their hosts.

    Args:
        private_suffixes: also take the list's private section for suffixes, so that
            `someone.github.io` is a node of its own rather than a part of `github.io`.
    """

    def __init__(self, private_suffixes: bool = False) -> None:
        self._suffixes = _suffix_list(private_suffixes)
        self.of_host = lru_cache(maxsize=1 << 17)(self._of_host)

    def _of_host(self, host: str | None) -> Node:
        if not host:
            return Node(None, "no_host")
        try:
            name = ascii_host(host)
        except ValueError:  # idna.IDNAError and UnicodeError are kinds of it
            return Node(None, "invalid_host")
        if _is_address(name):
            return Node(None, "ip_address")
        if not _is_name(name):
            return Node(None, "invalid_host")
        found = self._suffixes.extract_str(name)
        if not found.suffix:
            return Node(None, "no_public_suffix")
        domain = found.top_domain_under_public_suffix
        return Node(domain, "") if domain else Node(None, "is_public_suffix")


@lru_cache(maxsize=2)
def _suffix_list(private_suffixes: bool) -> tldextract.TLDExtract:
    """The list, read once in a process: Spark's Python workers live on from task to task."""
    return tldextract.TLDExtract(
        suffix_list_urls=(),
        cache_dir=None,
        include_psl_private_domains=private_suffixes,
    )


def ascii_host(host: str) -> str:
    """A host in lower case, without trailing dot, its international labels in punycode.

    The mapping is that of UTS 46, non-transitional. Unlike IDNA 2008 on top of it, UTS 46 lets
    symbols live (`i❤.ws` exists), so labels are not tested any further.

    Raises:
        ValueError: a character that UTS 46 disallows.
    """
    if "%" in host:
        host = unquote(host, errors="strict")
    if host.isascii():
        return host.lower().removesuffix(".")
    mapped = idna.uts46_remap(host, std3_rules=False).removesuffix(".")
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in mapped.split(".")
    )


def _is_address(name: str) -> bool:
    # urlsplit has taken the brackets off an IPv6 address, and no name has a colon.
    if ":" not in name and not name[-1:].isdigit():
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_name(name: str) -> bool:
    return (
        len(name) <= _LONGEST_HOST
        and not _FORBIDDEN.search(name)
        and all(0 < len(label) <= _LONGEST_LABEL for label in name.split("."))
    )
