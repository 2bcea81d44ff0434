"""Dagster's webserver behind a guard; `serve.py` lets `dagster dev` start it.

Dagster's webserver has no login, looks at no Host, Origin or Sec-Fetch header, and carries out
GraphQL mutations by GET and by POST of any content type: any web page that is open on this machine
could start runs. Here it answers its own pages and programs on this machine alone.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

from ascii_hydra.loopback import LOOPBACK_NAMES, foreign_sign

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
_NOT_STARTED = 3  # uvicorn's own exit code for it
_GRAPHQL = "/graphql"


class Guard:
    """An ASGI application that answers what it does not refuse by another.

    Args:
        application: what is guarded.
        served: the names in the header Host that mean this server.
        url: where people open it.
    """

    def __init__(self, application: Application, served: Collection[str], url: str) -> None:
        self._application = application
        self._served = served
        self._url = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        why = refusal(
            # A WebSocket carries queries and subscriptions; Dagster executes no mutation there.
            scope.get("method", "GET"),
            scope["path"],
            scope["query_string"].decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            self._served,
            self._url,
        )
        if why is None:
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        else:
            await _refuse(send, f"{why}\n")


def refusal(
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    served: Collection[str],
    url: str,
) -> str | None:
    """Why a request is not answered, for a person; None if it is.

    Args:
        method: GET, POST, ...
        path: of the URL.
        query: of the URL, encoded.
        headers: names in lower case.
        served: the names in Host that mean this server.
        url: where people open it.
    """
    given = list(headers)
    reads = method in {"GET", "HEAD"}
    to_graphql = path.rstrip("/").endswith(_GRAPHQL)
    # A link to a page of the UI is as good as its bookmark: it changes nothing.
    link = (
        reads
        and not to_graphql
        and _values(given, "sec-fetch-mode") == ["navigate"]
        and _values(given, "sec-fetch-dest") == ["document"]
    )
    if (sign := foreign_sign(given, served, link=link)) is not None:
        return (
            f"Refused: {sign}, and the Dagster UI answers its own pages alone."
            f" Open {url} in a browser."
        )
    if reads and to_graphql and any(_may_change(one) for one in _queries(query)):
        return (
            "Refused: by GET, GraphQL answers queries alone, as a link or an image can ask for it."
            " POST a mutation as application/json."
        )
    # A form or a script of any page can POST the other content types unasked
    # (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
    types = [one.partition(";")[0].strip().lower() for one in _values(given, "content-type")]
    if not reads and types != ["application/json"]:
        return f"Refused: {method} needs the header Content-Type: application/json."
    return None


def _values(headers: Iterable[tuple[str, str]], wanted: str) -> list[str]:
    return [value for name, value in headers if name == wanted]


def _queries(query: str) -> list[str]:
    named = parse_qsl(query, keep_blank_values=True)
    return [value for name, value in named if name == "query"]


def _may_change(query: str) -> bool:
    """Whether a GraphQL document has an operation that is no query, or cannot be read."""
    try:
        document = parse(query)
    except (GraphQLError, RecursionError):
        return True
    return any(
        isinstance(one, OperationDefinitionNode) and one.operation is not OperationType.QUERY
        for one in document.definitions
    )


async def _refuse(send: Send, text: str) -> None:
    content = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _run_guarded(
    listening: socket.socket, application: Application, *, host: str, port: int, log_level: str
) -> None:
    """Serve as `uvicorn.run` would, behind the guard and on a socket that listens already."""
    name = f"[{host}]" if ":" in host else host.lower()
    guard = Guard(application, {name, *LOOPBACK_NAMES}, f"http://{name}:{port}")
    server = uvicorn.Server(uvicorn.Config(guard, log_level=log_level))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(_NOT_STARTED)


def main() -> None:
    """Be `python -m dagster_webserver`, guarded.

    The first argument is the descriptor of the socket that listens on the port of the UI. Because
    that port is taken, a Dagster that would serve without the guard could not.
    """
    from dagster_webserver.cli import main as run_webserver

    listening = socket.socket(fileno=int(sys.argv.pop(1)))
    listening.set_inheritable(False)
    uvicorn.run = partial(_run_guarded, listening)
    run_webserver()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
