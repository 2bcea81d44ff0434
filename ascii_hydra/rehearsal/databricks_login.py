"""Who may call the rehearsal workspace: OAuth for machines, as Databricks has it."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule
from ascii_hydra.databricks.workspace import REHEARSAL_CLIENT_ID, REHEARSAL_CLIENT_SECRET
from ascii_hydra.rehearsal.databricks_calls import Call, Raw
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError

WORKSPACE_ID = "1234567890123456"
# Real seconds: the SDK reckons with this machine's clock.
_LIFETIME_S = 3600


class OAuthError(Exception):
    """A token that is not given out; the shape is OAuth's own (RFC 6749, 5.2)."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.told = {"error": error, "error_description": description}


class Tokens:
    """The tokens that were given out, and how long each is accepted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def issued(self, call: Call, authorization: str, fault: FaultRule | None) -> dict[str, Any]:
        """The reply to a request for a token.

        Args:
            call: with a form.
            authorization: the header.
            fault: the rule that takes effect; `expired` lets the token live `seconds` alone.

        Raises:
            OAuthError.
        """
        form = {name: texts[-1] for name, texts in parse_qs(call.content.decode()).items()}
        client, secret = _basic(authorization) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if (client, secret) != (REHEARSAL_CLIENT_ID, REHEARSAL_CLIENT_SECRET):
            raise OAuthError(401, "invalid_client", "Client authentication failed")
        if form.get("grant_type") != "client_credentials":
            raise OAuthError(400, "unsupported_grant_type", "Write client_credentials")
        short = fault is not None and fault.effect is FaultEffect.expired
        lifetime_s = int(fault.seconds) if short and fault is not None else _LIFETIME_S
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._until[token] = time.monotonic() + lifetime_s
        return {
            "access_token": token,
            "scope": form.get("scope", "all-apis"),
            "token_type": "Bearer",
            "expires_in": lifetime_s,
        }

    def check(self, authorization: str) -> None:
        """Raises WorkspaceError if a call has no token that is accepted (now)."""
        with self._lock:
            until = self._until.get(_bearer(authorization))
        if until is None:
            raise WorkspaceError(
                "UNAUTHENTICATED",
                "Credential was not sent or was of an unsupported type for this API.",
            )
        if time.monotonic() >= until:
            raise WorkspaceError("UNAUTHENTICATED", "Access token has expired.")

    def revoke(self, authorization: str) -> None:
        """Accept a token no longer."""
        with self._lock:
            self._until[_bearer(authorization)] = 0.0


def well_known(url: str) -> Mapping[str, Raw | dict[str, Any]]:
    """What the SDK asks before it logs in, by the address below the workspace's own."""
    return {
        ".well-known/databricks-config": {
            "oidc_endpoint": f"{url}/oidc",
            "workspace_id": WORKSPACE_ID,
            "cloud": "AWS",
        },
        "oidc/.well-known/oauth-authorization-server": {
            "issuer": f"{url}/oidc",
            "authorization_endpoint": f"{url}/oidc/v1/authorize",
            "token_endpoint": f"{url}/oidc/v1/token",
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["all-apis"],
        },
    }


def _bearer(authorization: str) -> str:
    kind, _, token = authorization.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _basic(authorization: str) -> tuple[str, str] | None:
    kind, _, told = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(told).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, secret
