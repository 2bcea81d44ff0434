"""Whether a request to a server on this machine was sent by a web page of somebody else.

A browser sends what a page asks for to any address, this machine's own included, and the servers
here start clusters and run programs without a login. Three headers, which a page cannot set, tell:

* Host: after DNS rebinding, the page's own name leads to this machine and is what Host says.
* Origin: which page asks. Browsers send it with every POST and WebSocket
  (https://fetch.spec.whatwg.org/#origin-header).
* Sec-Fetch-Site: the same for every request, images and links included
  (https://www.w3.org/TR/fetch-metadata/).

Programs (SDKs, curl) send no Origin and no Sec-Fetch-Site, and are answered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

# A tunnel or a proxy may have another port than the server behind it.
_PORT = re.compile(r":[0-9]+$")


def foreign_sign(
    headers: Iterable[tuple[str, str]], served: Collection[str], *, link: bool = False
) -> str | None:
    """What shows that a request is a foreign page's: the end of a sentence, None if nothing does.

    Args:
        headers: of the request; names in lower case.
        served: the names in Host that mean this server, in lower case; its port may be any.
        link: the request opens a page in a tab, which any page may have a link to.
    """
    given = list(headers)
    hosts = [value for name, value in given if name == "host"]
    if len(hosts) != 1 or _PORT.sub("", hosts[0].lower()) not in served:
        return f"it is addressed to {_shown(hosts)}"
    origins = [value for name, value in given if name == "origin"]
    if any(one.lower() != f"http://{hosts[0].lower()}" for one in origins):
        return f"it comes from a page of {_shown(origins)}"
    sites = [value.lower() for name, value in given if name == "sec-fetch-site"]
    if not link and not set(sites) <= {"same-origin", "none"}:
        return "it comes from a page of another site"
    return None


def _shown(values: Collection[str]) -> str:
    return ", ".join(repr(one[:100]) for one in values) or "no host"
