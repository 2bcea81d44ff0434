"""Which Databricks workspace is meant, and the SDK's client of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.settle import StepSettings

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.clock import Clock

HOST, CLIENT_ID = "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID"
CLIENT_SECRET = "DATABRICKS_CLIENT_SECRET"  # noqa: S105 - a variable's name
# The rehearsal workspace knows this service principal alone, so none of a person's own credentials
# ever reach it.
REHEARSAL_CLIENT_ID, REHEARSAL_CLIENT_SECRET = "rehearsal", "rehearsal"
_HTTP_TIMEOUT_S = 60
# For the SDK's own questions before the first call, which follow no clock.
_DISCOVERY_TIMEOUT_S = 5


@dataclass(frozen=True)
class Workspace:
    """Which workspace is meant.

    Attributes:
        url: of the rehearsal; None for that of the SDK's own configuration: DATABRICKS_HOST, or a
            profile.
    """

    url: str | None = None

    @property
    def rehearsal(self) -> bool:
        """It is the rehearsal's."""
        return self.url is not None


def workspace_of(step: StepSettings) -> Workspace:
    """The workspace of a step. A service compatible with S3 has none."""
    rehearsal = step.endpoint.name is Endpoint.rehearsal
    # Before the rehearsal has been started, it has no address.
    return Workspace((step.endpoint.url or "http://127.0.0.1:0") if rehearsal else None)


def workspace_client(
    workspace: Workspace,
    environ: Mapping[str, str] = os.environ,
    *,
    clock: Clock | None = None,
) -> WorkspaceClient:
    """The SDK's client, as a service principal if DATABRICKS_CLIENT_ID and its secret are set, else
    as the SDK's own configuration says.

    Args:
        workspace: which one.
        environ: where the variables are.
        clock: by which the SDK waits before it repeats a call; its own if None.

    Raises:
        ValueError: the SDK finds no credentials, or a rehearsal does not answer.
    """
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    settings: dict[str, Any] = {"http_timeout_seconds": _HTTP_TIMEOUT_S}
    if clock is not None:
        settings |= {"clock": clock, "retry_timeout_seconds": _DISCOVERY_TIMEOUT_S}
    if workspace.url is not None:
        host, client_id, secret = workspace.url, REHEARSAL_CLIENT_ID, REHEARSAL_CLIENT_SECRET
    else:
        names = (HOST, CLIENT_ID, CLIENT_SECRET)
        host, client_id, secret = (environ.get(name, "") for name in names)
    if not (host and client_id and secret):
        return WorkspaceClient(config=Config(**settings))
    # Whatever else the environment holds: nobody wants to be told of two ways to log in.
    return WorkspaceClient(
        config=Config(
            host=host,
            client_id=client_id,
            client_secret=secret,
            auth_type="oauth-m2m",
            **settings,
        )
    )
