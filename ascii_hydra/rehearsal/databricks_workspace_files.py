"""The workspace's own folders in the rehearsal: files alone, no notebooks."""

from __future__ import annotations

import base64
import binascii
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ascii_hydra.rehearsal.databricks_calls import Raw, Reply
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError, invalid, missing
from ascii_hydra.rehearsal.databricks_folders import WORKSPACE, Folders

_MOST_BYTES = 10 * 1024**2
_NOTEBOOK = b"# Databricks notebook source"


class WorkspaceFiles:
    """The operations about files of the workspace."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def import_(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """workspace/import."""
        content = body.get("content", b"")
        if isinstance(content, str):
            try:
                content = base64.b64decode(content, validate=True)
            except binascii.Error:
                raise invalid("The content is no base64.") from None
        if len(content) > _MOST_BYTES:
            raise WorkspaceError(
                "MAX_NOTEBOOK_SIZE_EXCEEDED",
                f"File size imported is ({len(content)} bytes), exceeded max size ({_MOST_BYTES}"
                " bytes)",
            )
        kind = body.get("format", "SOURCE")
        if kind not in ("AUTO", "RAW") or (kind == "AUTO" and content.startswith(_NOTEBOOK)):
            raise invalid(
                f"The rehearsal keeps files, and no notebooks: use the format AUTO or RAW, not"
                f" {kind}."
            )
        file = self._folders.of_workspace(body["path"])
        if not file.parent.is_dir():
            raise missing(f"The parent folder ({_above(body['path'])}) does not exist.")
        if file.is_dir() or (file.exists() and body.get("overwrite") not in (True, "true")):
            raise _exists(body["path"])
        self._folders.write(file, content)
        return {}

    def export(self, params: Mapping[str, Any]) -> Reply:
        """workspace/export: as JSON, or the file itself."""
        file = self._found(params["path"])
        if file.is_dir():
            raise invalid("The rehearsal does not export directories.")
        content = file.read_bytes()
        if len(content) > _MOST_BYTES:
            raise WorkspaceError("MAX_NOTEBOOK_SIZE_EXCEEDED", "The file exceeds 10 MB.")
        if params["direct_download"]:
            return Raw(content, headers={"Content-Type": "application/octet-stream"})
        kind = file.suffix.removeprefix(".") or "txt"
        return {"content": base64.b64encode(content).decode(), "file_type": kind}

    def get_status(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """workspace/get-status."""
        return self._told(self._found(params["path"]), params["path"])

    def listed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """workspace/list."""
        found, path = self._found(params["path"]), params["path"].rstrip("/")
        if not found.is_dir():
            return {"objects": [self._told(found, path)]}
        inner = [self._told(one, f"{path}/{one.name}") for one in sorted(found.iterdir())]
        return {"objects": inner} if inner else {}

    def mkdirs(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """workspace/mkdirs."""
        try:
            self._folders.of_workspace(body["path"]).mkdir(parents=True, exist_ok=True)
        except OSError:
            raise _exists(body["path"]) from None
        return {}

    def delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """workspace/delete."""
        file = self._found(body["path"])
        if not file.is_dir():
            file.unlink()
        elif any(file.iterdir()) and not body.get("recursive"):
            raise WorkspaceError("DIRECTORY_NOT_EMPTY", f"Folder ({body['path']}) is not empty")
        else:
            shutil.rmtree(file)
        return {}

    def _found(self, path: str) -> Path:
        file = self._folders.of_workspace(path)
        if not file.exists():
            raise missing(f"Path ({path}) doesn't exist.")
        return file

    def _told(self, file: Path, path: str) -> dict[str, Any]:
        state = file.stat()
        root = self._folders.roots[WORKSPACE]
        number = zlib.crc32(file.relative_to(root).as_posix().encode())
        told = {"path": path, "object_id": number, "resource_id": str(number)}
        if file.is_dir():
            return {**told, "object_type": "DIRECTORY"}
        stamp = int(state.st_mtime * 1000)
        times = {"created_at": stamp, "modified_at": stamp}
        return {**told, "object_type": "FILE", "size": state.st_size, **times}


def _above(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"


def _exists(path: str) -> WorkspaceError:
    return WorkspaceError("RESOURCE_ALREADY_EXISTS", f"{path} already exists.")
