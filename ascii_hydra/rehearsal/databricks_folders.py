"""The files of the rehearsal workspace: its volumes, its workspace folders and its DBFS."""

from __future__ import annotations

import secrets
from pathlib import Path, PurePosixPath

from ascii_hydra.rehearsal.databricks_errors import invalid
from ascii_hydra.rehearsal.store import Store

VOLUMES, WORKSPACE, DBFS = "/Volumes", "/Workspace", "/dbfs"
# Catalog, schema and volume: of any name, all of them exist.
_VOLUME_PARTS = 3
_S3 = ("s3://", "s3a://", "s3n://")


class Folders:
    """Folders of this machine that stand for a workspace's, as a step and the API see them.

    Args:
        root: is made; its owner removes it.
        store: S3, for what scripts and libraries may also be.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self._store = store
        self._new = root / "new"
        self.roots = {name: root / name.strip("/") for name in (VOLUMES, WORKSPACE, DBFS)}
        for folder in (self._new, *self.roots.values()):
            folder.mkdir(parents=True)
        for name in ("Users/rehearsal", "Shared"):
            (self.roots[WORKSPACE] / name).mkdir(parents=True)

    def of_volume(self, path: str) -> Path:
        """What is at `/Volumes/<catalog>/<schema>/<volume>/...`. Raises WorkspaceError."""
        plain = PurePosixPath(path)
        if plain.parts[:2] != ("/", "Volumes") or len(plain.parts) < 2 + _VOLUME_PARTS:
            raise invalid(f"Invalid path: {path}: write /Volumes/<catalog>/<schema>/<volume>/...")
        volume = self._below(VOLUMES, PurePosixPath(*plain.parts[2:5]))
        volume.mkdir(parents=True, exist_ok=True)
        return self._below(VOLUMES, PurePosixPath(*plain.parts[2:]))

    def of_workspace(self, path: str) -> Path:
        """The file or folder of `/Users/...`, which is also `/Workspace/Users/...`."""
        plain = PurePosixPath(path)
        if not plain.is_absolute():
            raise invalid(f"Path ({path}) doesn't start with '/'")
        parts = plain.parts[1:]
        return self._below(
            WORKSPACE, PurePosixPath(*(parts[1:] if parts[:1] == ("Workspace",) else parts))
        )

    def of_dbfs(self, path: str) -> Path:
        """The file or folder of `/...` or `dbfs:/...`."""
        plain = PurePosixPath(path.removeprefix("dbfs:"))
        if not plain.is_absolute():
            raise invalid(f"Path must be absolute: {path}")
        return self._below(DBFS, plain.relative_to("/"))

    def read(self, uri: str) -> bytes | None:
        """The content of a file wherever a run may have it; None if there is none.

        Raises WorkspaceError for a path that Databricks does not know.
        """
        if uri.startswith(_S3):
            return self._store.read(uri)
        if uri.startswith("dbfs:/Volumes/"):
            uri = uri.removeprefix("dbfs:")
        if uri.startswith(f"{VOLUMES}/"):
            file = self.of_volume(uri)
        elif uri.startswith("dbfs:/"):
            file = self.of_dbfs(uri)
        elif uri.startswith(f"{WORKSPACE}/"):
            file = self.of_workspace(uri)
        else:
            raise invalid(f"{uri}: write /Volumes/..., /Workspace/..., dbfs:/... or s3://...")
        return file.read_bytes() if file.is_file() else None

    def write(self, file: Path, content: bytes) -> None:
        """Write a whole file, that nobody ever sees half written."""
        made = self._new / secrets.token_hex(8)
        made.write_bytes(content)
        made.replace(file)

    def _below(self, root: str, path: PurePosixPath) -> Path:
        if ".." in path.parts:
            raise invalid(f"Invalid path: {root}/{path}")
        return self.roots[root] / path
