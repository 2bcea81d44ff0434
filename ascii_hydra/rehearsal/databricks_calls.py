"""One call of Databricks' API: what was asked, checked against the SDK's own types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

from ascii_hydra.databricks.model import model_problems
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError


@dataclass(frozen=True)
class Raw:
    """A reply that is no JSON object."""

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Reply = dict[str, Any] | Raw


@dataclass(frozen=True)
class Call:
    """What was asked.

    Attributes:
        path: what follows the operation in the address, `/Volumes/...` of the Files API.
        query: of the address.
        content: the body.
        content_type: of the body.
    """

    path: str
    query: Mapping[str, list[str]]
    content: bytes
    content_type: str

    @classmethod
    def of(cls, environ: Mapping[str, Any], path: str) -> Call:
        """The call of a request, whose body is read."""
        return cls(
            path,
            parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True),
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
            environ.get("CONTENT_TYPE", ""),
        )

    def body(self, kind: str) -> dict[str, Any]:
        """The body's fields, checked; `kind` as `model_problems` has it. Raises WorkspaceError."""
        try:
            told = json.loads(self.content or b"{}")
        except ValueError:
            raise WorkspaceError(
                "MALFORMED_REQUEST", "Invalid JSON given in the body of the request"
            ) from None
        return _checked(kind, told)

    def form(self) -> dict[str, Any] | None:
        """The fields of a body of the type multipart/form-data; None for another type."""
        if not self.content_type.startswith("multipart/form-data"):
            return None
        header = f"Content-Type: {self.content_type}\r\n\r\n".encode()
        found: dict[str, Any] = {}
        for part in message_from_bytes(header + self.content).walk():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if isinstance(name, str) and isinstance(content, bytes):
                found[name] = content if name in ("content", "contents") else content.decode()
        return found

    def params(self, kind: str, untyped: str | None = None) -> dict[str, Any]:
        """The query's fields in their types, checked. Raises WorkspaceError.

        Args:
            kind: as `model_problems` has it.
            untyped: a field, true or false, that it does not have.
        """
        typed = {name: one for name, one in self.query.items() if name != untyped}
        params = _checked(kind, _typed(kind, typed))
        return params if untyped is None else {**params, untyped: self.flag(untyped)}

    def flag(self, name: str) -> bool:
        """A field of the query that is true or false."""
        return self.query.get(name, ["false"])[-1] == "true"


def _checked(kind: str, told: Any) -> dict[str, Any]:
    problems = model_problems(kind, told)
    if problems:
        raise WorkspaceError(
            "MALFORMED_REQUEST", f"Could not parse request object: {'; '.join(problems)}"
        )
    # A null is as good as nothing.
    return {name: one for name, one in told.items() if one is not None}


def _typed(kind: str, query: Mapping[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    hints = _hints(kind)
    for name, texts in query.items():
        outer, _, inner = name.partition(".")
        if inner:  # the SDK writes the fields of a nested object so: filter_by.cluster_states
            found.setdefault(outer, {})[inner] = texts if inner.endswith("s") else texts[-1]
        else:
            found[name] = _converted(texts[-1], hints.get(name))
    return found


@cache
def _hints(kind: str) -> Mapping[str, Any]:
    from importlib import import_module

    module, *names = kind.split(".")
    found: Any = import_module(f"databricks.sdk.service.{module}")
    for name in names:
        found = getattr(found, name)
    return get_type_hints(found)


def _converted(text: str, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) is Union else (hint,)
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    if int in kinds and text.lstrip("-").isdigit():
        return int(text)
    return text
