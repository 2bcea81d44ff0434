"""How Databricks refuses a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Which status of HTTP goes with a code; every other code has 400. From the table of errors in
# Databricks' REST API, and the classes that the SDK makes of them.
STATUSES: Mapping[str, int] = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_CONFLICT": 409,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class WorkspaceError(Exception):
    """A request that Databricks does not carry out.

    Attributes:
        code: the error's name: `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`, ...
        message: as Databricks words it, where that is known.
        status: of HTTP.
        reason: the machine's own word in `details`, or None.
        retry_after_s: the header Retry-After, or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reason: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.reason = code, message, reason
        self.status = STATUSES.get(code, 400)
        self.retry_after_s = retry_after_s

    def as_json(self) -> dict[str, Any]:
        """The body of the reply."""
        told: dict[str, Any] = {"error_code": self.code, "message": self.message}
        if self.reason is not None:
            info = "type.googleapis.com/google.rpc.ErrorInfo"
            domain = "filesystem.databricks.com"
            told["details"] = [{"@type": info, "reason": self.reason, "domain": domain}]
        return told


def invalid(message: str) -> WorkspaceError:
    """A request that breaks a rule."""
    return WorkspaceError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> WorkspaceError:
    """A request about something that is not there."""
    return WorkspaceError("RESOURCE_DOES_NOT_EXIST", message)
