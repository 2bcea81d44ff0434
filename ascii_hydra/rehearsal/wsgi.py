"""What the services of a rehearsal share of HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from ascii_hydra.rehearsal.clock import VirtualClock

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WORDS = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}
WORDS |= {404: "Not Found", 409: "Conflict", 429: "Too Many Requests"}
WORDS |= {500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout"}
_SLICE_S = 0.02


def hang_up(environ: Environ) -> None:
    """Close the connection without a word. Raises ConnectionResetError, which ends the request."""
    connection = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the reply was lost, by a fault rule")


def let_pass(clock: VirtualClock, seconds: float) -> None:
    """Let virtual time pass."""
    due = clock.now() + seconds
    while (left := clock.real_seconds_until(due)) > 0:
        time.sleep(min(left, _SLICE_S))
