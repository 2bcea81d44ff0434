"""Whether there are credentials for Databricks, before anything is asked of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ascii_hydra.config.problems import Problem
from ascii_hydra.databricks.workspace import CLIENT_ID, CLIENT_SECRET, HOST, Workspace


def credential_problems(
    workspace: Workspace, environ: Mapping[str, str] = os.environ
) -> Iterator[Problem]:
    """What is missing to log in to a workspace."""
    if workspace.rehearsal:
        return
    names = (HOST, CLIENT_ID, CLIENT_SECRET)
    missing = [name for name in names if not environ.get(name)]
    if not missing:
        return
    given = [name for name in (CLIENT_ID, CLIENT_SECRET) if environ.get(name)]
    if given:
        yield Problem(
            ", ".join(missing),
            f"{'are' if len(missing) > 1 else 'is'} not set, but {' and '.join(given)}"
            f" {'are' if len(given) > 1 else 'is'}: set all three.",
        )
        return
    from databricks.sdk.core import Config

    try:
        # Tokens, profiles, the CLI's login: whatever else the SDK knows.
        Config()
    except ValueError as fault:
        told = str(fault).partition(", please check")[0].partition(". Config:")[0]
        # The SDK has looked everywhere and found nothing, or has found something it cannot use.
        why = "" if told.startswith("default auth: cannot configure") else f" ({told})"
        yield Problem(
            ", ".join(names),
            f"there are no credentials for Databricks{why}. Set all three, or log in otherwise"
            " (databricks auth login); or rehearse without any: endpoint=rehearsal.",
        )
