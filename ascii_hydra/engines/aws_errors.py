"""What a failed call of AWS says: whether it was carried out, and whether it may be made again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ProxyConnectionError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from ascii_hydra.engines.clock import Clock

T = TypeVar("T")
AWS_FAULTS = (ClientError, BotoCoreError, ResponseParserError)
# The names that AWS's services have for it.
_THROTTLED = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException"),
    *("RequestThrottled", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"),
    *("BandwidthLimitExceeded", "LimitExceededException", "PriorRequestNotComplete"),
}
# Whatever the HTTP status is, which EMR's are not consistent about.
_BROKEN = {
    *("InternalServerError", "InternalServerException", "InternalServerErrorException"),
    *("InternalFailure", "InternalError", "InternalErrorException"),
    *("ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout"),
}
# AWS's names and botocore's: what one logs in again for.
_EXPIRED = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "NoCredentialsError"),
    *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"),
    *("CredentialRetrievalError", "MetadataRetrievalError"),
}
_UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_CUT_OFF = (
    *_UNSENT,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
)
LOG_IN_AGAIN = "log in again (aws sso login, or new keys): they are looked for until then"
_LONGEST_PAUSE_S = 30.0
_SERVER_ERROR = 500


def code(fault: BaseException) -> str:
    """AWS's name for an error, or the exception's own."""
    if isinstance(fault, ClientError):
        return str(fault.response.get("Error", {}).get("Code", "")) or "ClientError"
    return type(fault).__name__


def words(fault: BaseException) -> str:
    """An error for people: `ValidationException: Instance type ...`."""
    if isinstance(fault, ClientError):
        message = str(fault.response.get("Error", {}).get("Message", "")).strip()
        return f"{code(fault)}: {message}" if message else code(fault)
    return f"{type(fault).__name__}: {fault}"


def is_undone(fault: BaseException) -> bool:
    """The call was certainly not carried out, and may be made again later."""
    return code(fault) in _THROTTLED or isinstance(fault, _UNSENT)


def is_transient(fault: BaseException) -> bool:
    """The call may succeed later; whether it has been carried out is not known."""
    if isinstance(fault, ClientError):
        status = int(fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= _SERVER_ERROR or code(fault) in _THROTTLED | _BROKEN
    return isinstance(fault, _CUT_OFF)


def is_expired(fault: BaseException) -> bool:
    """The call was not carried out for want of valid credentials. To somebody who had them before
    it is an outage, which ends when a person logs in again."""
    return code(fault) in _EXPIRED


def is_final(fault: BaseException) -> bool:
    """The call would be refused again: the request itself is wrong, or not allowed."""
    return code(fault) in {"ValidationException", "AccessDenied", "AccessDeniedException"}


def pause_s(failures: int) -> float:
    """How long to wait after so many failures: doubling from 1 s to 30 s, with jitter."""
    pause = min(_LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 10))
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret


def repeated(
    call: Callable[[], T],
    clock: Clock,
    stop: threading.Event,
    *,
    patience_s: float,
    expired: Callable[[BaseException], None] | None = None,
) -> T:
    """The reply to a call that may be made more than once.

    Args:
        call: makes it.
        clock: by it, one waits between two calls.
        stop: no call is made again once it is set.
        patience_s: how long a transient failure is borne with.
        expired: is told of credentials that are valid no more, which are borne with too; it makes
            the next call ask for them anew. Without it they are an error at once.

    Raises what the last call raised.
    """
    deadline: float | None = None
    failures = 0
    while True:
        try:
            return call()
        except AWS_FAULTS as fault:
            lapsed = expired is not None and is_expired(fault)
            if not (lapsed or is_transient(fault)) or stop.is_set():
                raise
            if lapsed and expired is not None:
                expired(fault)
            failures += 1
            now = clock.now()
            deadline = now + patience_s if deadline is None else deadline
            if now >= deadline:
                raise
        clock.sleep(pause_s(failures), stop)
