"""What botocore takes for an answer of AWS: only what is whole, and of the service's protocol."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from botocore.exceptions import ResponseStreamingError
from botocore.parsers import ResponseParserError, ResponseParserFactory

# What a parser of botocore raises for a value of another type than its model has: `null`, a list,
# bytes that are no UTF-8.
_ODD = (AttributeError, KeyError, TypeError, ValueError)


class WholeAnswers:
    """A HTTP session of botocore that refuses a body which was cut off.

    botocore asks urllib3 not to compare a body with its Content-Length (`enforce_content_length` in
    botocore/httpsession.py), and parses half a JSON document as an answer without content
    (`_parse_body_as_json` in botocore/parsers.py).

    Args:
        session: botocore's.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        """The response to a request. Raises HTTPClientError, also for a body that was cut off."""
        response = self._session.send(request)
        # Of a stream, botocore compares the length itself, at its end (StreamingBody).
        if not request.stream_output and request.method != "HEAD":
            expected = response.headers.get("Content-Length")
            received = len(response.content)
            if expected is not None and expected.isdecimal() and received < int(expected):
                raise ResponseStreamingError(error=f"{received} of {expected} bytes came")
        return response

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


class AnswerParsers(ResponseParserFactory):  # type: ignore[misc]
    """Makes botocore's parsers, whose only fault of their own is ResponseParserError."""

    def create_parser(self, protocol_name: str) -> Any:
        """A parser of a service's protocol."""
        parser = super().create_parser(protocol_name)
        parse = parser.parse

        def parse_or_refuse(response: dict[str, Any], shape: Any) -> Any:
            try:
                return parse(response, shape)
            except (*_ODD, ResponseParserError) as odd:
                if response["status_code"] >= HTTPStatus.MULTIPLE_CHOICES:
                    # A proxy's error page: the status alone says what has happened.
                    return parse({**response, "body": b""}, shape)
                if isinstance(odd, ResponseParserError):
                    raise
                raise ResponseParserError(
                    f"the answer is not one of AWS's ({type(odd).__name__}: {odd})"
                ) from odd

        parser.parse = parse_or_refuse
        return parser
