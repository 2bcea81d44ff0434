"""What a failed call of Databricks says: whether it was carried out, and whether it may be made
again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlsplit

import requests
from databricks.sdk.clock import Clock
from databricks.sdk.errors import (
    DeadlineExceeded,
    InternalError,
    PermissionDenied,
    TemporarilyUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from databricks.sdk.errors.base import DatabricksError

from ascii_hydra.engines.calls import CallFault, retry_after_s

LOG_IN_AGAIN = (
    "check DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or log in again (databricks auth"
    " login): they are looked for until then"
)
# What the SDK appends to a refusal: how it was configured.
_CONFIGURED = ". Config:"
_CHECK = ", please check"
# Texts of an error that are not JSON: Databricks' own (`INVALID_STATE: ...`), and the essence of a
# page.
_NAMED = re.compile(rb"[A-Z_]+: ")
_ESSENCE = re.compile(r"(?is)<(pre|title)\b[^>]*>(.*?)</\1>")
_LONGEST_ESSENCE = 100
# No connection was made, so nothing was carried out.
_UNCONNECTED = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError")


class OneAttempt(Clock):
    """A clock for the SDK by which it tries every call once: it waits only to repeat a call, and
    its waiting follows neither our clock nor a stop."""

    def time(self) -> float:
        """Before any deadline of the SDK's."""
        return 0.0

    def sleep(self, seconds: float) -> NoReturn:
        """Raise RepeatableError from the fault that the SDK handles at this moment."""
        raise RepeatableError(seconds)


class RepeatableError(Exception):
    """A call has failed (see __context__) so that the SDK would repeat it."""


class LoginError(Exception):
    """There is no token to call with. The text is a sentence for people.

    Args:
        text: see there.
        code: OAuth's name for it, or `NoCredentials`.
        transient: it may be there later.
    """

    def __init__(self, text: str, code: str, *, transient: bool) -> None:
        super().__init__(text)
        self.code = code
        self.transient = transient


class OddAnswerError(Exception):
    """A workspace has answered with something else than the API's answer: a proxy or a gateway has,
    or half of it is missing.

    Unless its HTTP status says more, whether a call that changes something was carried out is not
    known. The text is a clause for people.

    Args:
        call: `GET /api/2.2/jobs/runs/get`.
        why: see the text.
        status: of HTTP.
        retry_after_s: how long it asks to wait, or None.
    """

    def __init__(
        self, call: str, why: str, status: int = HTTPStatus.OK, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{call} has no answer of Databricks' ({why})")
        self.status = status
        self.retry_after_s = retry_after_s


def check_error(response: requests.Response) -> None:
    """Refuse the page of a proxy or a gateway in the place of an error.

    The SDK takes some of them for Databricks' own, a 404 for instance, and fails at others: it
    writes the request's body into its report, by `len()` of a stream that has none (databricks-sdk
    0.156, logger/round_trip_logger.py).

    Raises OddAnswerError.
    """
    content = b"" if response.ok else response.content
    if not content or _NAMED.match(content):
        return
    try:
        if isinstance(json.loads(content), dict):
            return
    except ValueError:  # no JSON, or no text
        pass
    essence = _ESSENCE.search(content.decode("utf-8", "replace"))
    said = "" if essence is None else " ".join(essence[2].split())[:_LONGEST_ESSENCE]
    path = urlsplit(response.request.url or "").path
    raise OddAnswerError(
        f"{response.request.method} {path}",
        f"HTTP {response.status_code} {response.reason}{': ' if said else ''}{said}",
        response.status_code,
        retry_after_s(response.headers.get("Retry-After"), response.headers.get("Date")),
    )


DATABRICKS_FAULTS = (
    *(LoginError, RepeatableError, OddAnswerError),
    *(DatabricksError, requests.RequestException),
)
"""Whatever a call raises, by its own fault or by that of the network."""


def fault_of(raised: BaseException) -> CallFault:
    """What one of DATABRICKS_FAULTS says of a call."""
    fault = databricks_fault(raised)
    assert fault is not None, raised
    return fault


def databricks_fault(raised: BaseException) -> CallFault | None:
    """What an exception says of a call to a workspace; None for one that no call raises."""
    if isinstance(raised, RepeatableError):
        behind = raised.__context__
        fault = None if behind is None else _fault(behind)
        # What the SDK repeats is transient, even if it is not called so.
        return replace(fault or CallFault("Fault", str(behind)), transient=True)
    return _fault(raised)


def login_error(raised: BaseException) -> LoginError | None:
    """What an exception says of an attempt to get a token; None if it is of something else.

    The SDK raises ValueError for whatever the OAuth service answers.
    """
    if isinstance(raised, requests.RequestException | RepeatableError | TimeoutError):
        cause = raised.__context__ or raised
        return LoginError(
            f"Databricks gives no token ({_said(cause)}): check the network and DATABRICKS_HOST",
            type(cause).__name__,
            transient=True,
        )
    if isinstance(raised, DatabricksError):
        fault = _fault(raised)
        assert fault is not None
        return LoginError(
            f"Databricks gives no token ({fault.words}): check DATABRICKS_HOST",
            fault.code,
            transient=fault.transient,
        )
    if not isinstance(raised, ValueError | KeyError | NotImplementedError):
        return None
    said = str(raised).partition(_CONFIGURED)[0].partition(_CHECK)[0]
    code, colon, rest = said.partition(": ")
    if said.startswith("default auth: cannot configure"):
        return LoginError(
            "there are no credentials for Databricks: set DATABRICKS_HOST, DATABRICKS_CLIENT_ID"
            " and DATABRICKS_CLIENT_SECRET, or log in (databricks auth login)",
            "NoCredentials",
            transient=False,
        )
    if colon and code.isidentifier():
        detail = f": {rest}" if rest not in {"", "unknown"} else ""
        return LoginError(
            f"Databricks refuses the credentials ({code}{detail})", code, transient=False
        )
    # Anything else is no answer of an OAuth service, but of a proxy or a broken one.
    return LoginError(f"Databricks gives no token ({said})", "NoToken", transient=True)


def _fault(raised: BaseException) -> CallFault | None:
    if isinstance(raised, LoginError):
        return CallFault(
            raised.code,
            str(raised),
            transient=raised.transient,
            undone=True,
            expired=not raised.transient,
        )
    if isinstance(raised, OddAnswerError):
        denied = raised.status == HTTPStatus.FORBIDDEN
        expired = raised.status == HTTPStatus.UNAUTHORIZED
        return CallFault(
            f"HTTP {raised.status}",
            str(raised),
            transient=not (denied or expired),
            undone=denied or expired or raised.status == HTTPStatus.TOO_MANY_REQUESTS,
            expired=expired,
            denied=denied,
            retry_after_s=raised.retry_after_s,
        )
    if isinstance(raised, DatabricksError):
        return _refusal(raised)
    if isinstance(raised, requests.RequestException):
        wrong = isinstance(
            raised, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema
        )
        return CallFault(
            type(raised).__name__,
            f"{type(raised).__name__}: {_said(raised)}",
            transient=not wrong,
            undone=wrong or _unconnected(raised),
        )
    return None


def _refusal(raised: DatabricksError) -> CallFault:
    code = raised.error_code or type(raised).__name__
    message = str(raised).partition(_CONFIGURED)[0].strip()
    words = f"{code}: {message}" if message else code
    after = raised.retry_after_secs
    pause_s = None if after is None else float(after)
    match raised:
        case TooManyRequests():
            return CallFault(code, words, transient=True, undone=True, retry_after_s=pause_s)
        case Unauthenticated():
            return CallFault(code, words, undone=True, expired=True)
        case PermissionDenied():
            return CallFault(code, words, undone=True, denied=True)
        case InternalError() | TemporarilyUnavailable() | DeadlineExceeded():
            return CallFault(code, words, transient=True, retry_after_s=pause_s)
    # An answer that the SDK does not know, such as a gateway's, is none of the service's.
    unknown = type(raised) is DatabricksError and raised.error_code is None
    if unknown:
        # The SDK's own text is a page long, for a report to its authors.
        words = "the answer is not one of Databricks' (a proxy's or a gateway's?)"
    return CallFault(code, words, transient=unknown, retry_after_s=pause_s)


def _said(raised: BaseException) -> str:
    """An exception of requests in a few words: it holds urllib3's, and that one the system's."""
    inner: BaseException = raised
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return str(reason if isinstance(reason, BaseException) else inner) or type(raised).__name__


def _unconnected(raised: requests.RequestException) -> bool:
    if isinstance(raised, requests.ConnectTimeout):
        return True
    inner = raised.args[0] if raised.args else None
    reason = getattr(inner, "reason", inner)
    return type(reason).__name__ in _UNCONNECTED
