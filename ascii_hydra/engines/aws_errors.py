"""What a failed call of AWS says: whether it was carried out, and whether it may be made again."""

from __future__ import annotations

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

from ascii_hydra.engines.calls import CallFault

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
    )
