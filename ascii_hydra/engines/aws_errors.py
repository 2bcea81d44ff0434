"""What a failed call of AWS says: whether it was carried out, and whether it may be made again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

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

from ascii_hydra.engines.calls import CallFault, retry_after_s

AWS_FAULTS = (ClientError, BotoCoreError, ResponseParserError)
# The names that AWS's services have for it.
_THROTTLED = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException"),
    *("RequestThrottled", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"),
    *("BandwidthLimitExceeded", "LimitExceededException", "PriorRequestNotComplete"),
    # Two conditional writes of one object at once.
    "ConditionalRequestConflict",
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
# S3 says 403 where a reply has no body.
_DENIED = {"AccessDenied", "AccessDeniedException", "403"}
_UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_CUT_OFF = (
    *_UNSENT,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
)
LOG_IN_AGAIN = "log in again (aws sso login, or new keys): they are looked for until then"
_LONGEST_WORDS = 300
_MARKUP = re.compile(r"(?is)<!doctype|<(?:html|head|body|center|h1|p|title)\b")


class IncompleteAnswerError(ResponseParserError):  # type: ignore[misc]
    """A service has answered without what its model promises. The text is a clause for people.

    Being one of AWS_FAULTS, and transient, it is an answer that never came: whether a call that
    changes something was carried out is not known.
    """


def code(fault: BaseException) -> str:
    """AWS's name for an error, or the HTTP status of one without a name, or the exception's own."""
    if isinstance(fault, ClientError):
        name = fault.response.get("Error", {}).get("Code", "")
        return str(name or _status(fault) or "ClientError")
    return type(fault).__name__


def words(fault: BaseException) -> str:
    """An error for people: `ValidationException: Instance type ...`."""
    if not isinstance(fault, ClientError):
        return f"{type(fault).__name__}: {_plain(str(fault))}"
    if code(fault) == str(_status(fault)):  # no body, or somebody else's
        return f"HTTP {_status(fault)} {_phrase(_status(fault))}, and AWS gives no reason"
    message = _plain(str(fault.response.get("Error", {}).get("Message", "")))
    return f"{code(fault)}: {message}" if message else code(fault)


def is_undone(fault: BaseException) -> bool:
    """The call was certainly not carried out, and may be made again later."""
    return _is_throttled(fault) or isinstance(fault, _UNSENT)


def is_transient(fault: BaseException) -> bool:
    """The call may succeed later; whether it has been carried out is not known."""
    if isinstance(fault, ClientError):
        broken = _status(fault) >= HTTPStatus.INTERNAL_SERVER_ERROR or code(fault) in _BROKEN
        return broken or _is_throttled(fault)
    return isinstance(fault, _CUT_OFF)


def is_expired(fault: BaseException) -> bool:
    """The call was not carried out for want of valid credentials. To somebody who had them before
    it is an outage, which ends when a person logs in again."""
    return code(fault) in _EXPIRED


def is_final(fault: BaseException) -> bool:
    """The call would be refused again: the request itself is wrong, or not allowed."""
    return code(fault) in {"ValidationException", "AccessDenied", "AccessDeniedException"}


def aws_fault(raised: BaseException) -> CallFault | None:
    """What an exception says of a call of AWS; None for one that no call raises."""
    if not isinstance(raised, AWS_FAULTS):
        return None
    return CallFault(
        code(raised),
        words(raised),
        transient=is_transient(raised),
        undone=is_undone(raised) or is_expired(raised),
        expired=is_expired(raised),
        denied=code(raised) in _DENIED,
        retry_after_s=retry_after_of(raised),
    )


def retry_after_of(fault: BaseException) -> float | None:
    """How long the answer asks to wait, in seconds; None if it does not. See `retry_after_s`."""
    if not isinstance(fault, ClientError):
        return None
    headers: Mapping[str, Any] = fault.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return retry_after_s(headers.get("retry-after"), headers.get("date"))


def _is_throttled(fault: BaseException) -> bool:
    # By the status too, for a proxy's or a gateway's 429 has none of AWS's names: "the user has
    # sent too many requests" (RFC 6585, section 4), and botocore's own retries know it so.
    return code(fault) in _THROTTLED or _status(fault) == HTTPStatus.TOO_MANY_REQUESTS


def _status(fault: BaseException) -> int:
    """The HTTP status of an answer; 0 where there is none."""
    if not isinstance(fault, ClientError):
        return 0
    return int(fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(an unknown status)"


def _plain(text: str) -> str:
    """A message in one line, without the page of a proxy that it may hold."""
    page = _MARKUP.search(text)
    plain = " ".join((text if page is None else text[: page.start()]).split())
    return plain if len(plain) <= _LONGEST_WORDS else f"{plain[:_LONGEST_WORDS]}..."
