"""Where a staging root is, and who can read it."""

from __future__ import annotations

import re
from enum import StrEnum

from ascii_hydra.config.problems import Problem

_PLAIN = r"[A-Za-z0-9!_.'()=@+ -]+"


class Staging(StrEnum):
    """What kind of folder a staging root is."""

    volume = "volume"
    workspace = "workspace"
    s3 = "s3"
    dbfs = "dbfs"


_GRAMMAR = {
    Staging.volume: re.compile(rf"/Volumes(/{_PLAIN}){{3,}}/?"),
    Staging.workspace: re.compile(rf"/Workspace(/{_PLAIN}){{2,}}/?"),
    Staging.s3: re.compile(rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/{_PLAIN})*/?"),
    Staging.dbfs: re.compile(rf"dbfs:(/{_PLAIN})+/?"),
}
_WRITE = (
    "write /Volumes/<catalog>/<schema>/<volume>/..., /Workspace/<folder>/..., s3://bucket/folder"
    " or dbfs:/folder, of letters, digits, spaces and !_.'()=@+- alone."
)


def staging_of(uri: str) -> Staging | None:
    """What kind of folder a URI is of; None if it is of none that a step can be staged in."""
    parts = uri.split("/")
    if "." in parts or ".." in parts:
        return None
    return next((kind for kind, form in _GRAMMAR.items() if form.fullmatch(uri)), None)


def staging_problem(root: str) -> Problem | None:
    """What is wrong with `engine.staging_root`."""
    if staging_of(root) is not None:
        return None
    return Problem(f"engine.staging_root={root}", _WRITE)
