"""What a failed call of Databricks says: whether it was carried out, and whether it may be made
again."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

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

from ascii_hydra.engines.calls import CallFault

LOG_IN_AGAIN = (
    "check DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or log in again (databricks auth"
    " login): they are looked for until then"
)
# What the SDK appends to a refusal: how it was configured.
_CONFIGURED = ". Config:"
_CHECK = ", please check"
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


DATABRICKS_FAULTS = (LoginError, RepeatableError, DatabricksError, requests.RequestException)
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
    retry_after_s = None if after is None else float(after)
    match raised:
        case TooManyRequests():
            return CallFault(code, words, transient=True, undone=True, retry_after_s=retry_after_s)
        case Unauthenticated():
            return CallFault(code, words, undone=True, expired=True)
        case PermissionDenied():
            return CallFault(code, words, undone=True, denied=True)
        case InternalError() | TemporarilyUnavailable() | DeadlineExceeded():
            return CallFault(code, words, transient=True, retry_after_s=retry_after_s)
    # An answer that the SDK does not know, such as a gateway's, is none of the service's.
    unknown = type(raised) is DatabricksError and raised.error_code is None
    if unknown:
        # The SDK's own text is a page long, for a report to its authors.
        words = "the answer is not one of Databricks' (a proxy's or a gateway's?)"
    return CallFault(code, words, transient=unknown, retry_after_s=retry_after_s)


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
