"""How EMR refuses a request."""

from __future__ import annotations


class ApiError(Exception):
    """A request that EMR does not carry out.

    Attributes:
        code: the error's name: `ValidationException`, `InvalidRequestException`, ...
        message: as AWS words it, where that is known.
        status: of HTTP.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


def invalid(message: str) -> ApiError:
    """A request that breaks a rule."""
    return ApiError("ValidationException", message)


def unknown(message: str) -> ApiError:
    """A request about something that is not there."""
    return ApiError("InvalidRequestException", message)
