"""DBFS of the rehearsal workspace."""

from __future__ import annotations

import base64
import binascii
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ascii_hydra.rehearsal.databricks_errors import WorkspaceError, invalid, missing
from ascii_hydra.rehearsal.databricks_folders import Folders

_MOST_BLOCK = 1024**2
_DEFAULT_READ = 512 * 1024


class Dbfs:
    """The operations about files of DBFS."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[Path, bytearray]] = {}

    def put(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/put: a whole file of at most 1 MB."""
        content = body.get("contents", "")
        block = content if isinstance(content, bytes) else _block(content)
        self._folders.write(self._new(body), block)
        return {}

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/create: a handle, to write the file in blocks."""
        handle = next(self._numbers)
        self._open[handle] = (self._new(body), bytearray())
        return {"handle": handle}

    def add_block(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/add-block: at most 1 MB more."""
        self._opened(body)[1].extend(_block(body["data"]))
        return {}

    def close(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/close."""
        file, content = self._opened(body)
        del self._open[body["handle"]]
        file.parent.mkdir(parents=True, exist_ok=True)
        self._folders.write(file, bytes(content))
        return {}

    def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/read: at most 1 MB."""
        file = self._found(params["path"])
        if file.is_dir():
            raise invalid(f"Cannot read a directory: {params['path']}")
        length, offset = params.get("length", _DEFAULT_READ), params.get("offset", 0)
        if length > _MOST_BLOCK:
            raise WorkspaceError("MAX_READ_SIZE_EXCEEDED", "The length exceeds 1 MB.")
        content = file.read_bytes()[offset : offset + length]
        return {"bytes_read": len(content), "data": base64.b64encode(content).decode()}

    def get_status(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/get-status."""
        return self._told(self._found(params["path"]))

    def listed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/list."""
        found = self._found(params["path"])
        if not found.is_dir():
            return {"files": [self._told(found)]}
        return {"files": [self._told(one) for one in sorted(found.iterdir())]}

    def mkdirs(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/mkdirs."""
        try:
            self._folders.of_dbfs(body["path"]).mkdir(parents=True, exist_ok=True)
        except OSError:
            raise _exists(body["path"]) from None
        return {}

    def move(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/move."""
        target = self._folders.of_dbfs(body["destination_path"])
        if target.exists():
            raise _exists(body["destination_path"])
        self._found(body["source_path"]).replace(target)
        return {}

    def delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """dbfs/delete; of what is not there, nothing happens."""
        file = self._folders.of_dbfs(body["path"])
        if not file.exists():
            return {}
        if not file.is_dir():
            file.unlink()
        elif any(file.iterdir()) and not body.get("recursive"):
            raise WorkspaceError("IO_ERROR", f"Directory {body['path']} is not empty.")
        else:
            shutil.rmtree(file)
        return {}

    def _new(self, body: Mapping[str, Any]) -> Path:
        file = self._folders.of_dbfs(body["path"])
        if file.is_dir() or (file.exists() and not body.get("overwrite")):
            raise _exists(body["path"])
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _opened(self, body: Mapping[str, Any]) -> tuple[Path, bytearray]:
        found = self._open.get(body["handle"])
        if found is None:
            raise missing(f"No open handle {body['handle']}")
        return found

    def _found(self, path: str) -> Path:
        file = self._folders.of_dbfs(path)
        if not file.exists():
            raise missing(f"No file or directory exists on path {path}.")
        return file

    def _told(self, file: Path) -> dict[str, Any]:
        state = file.stat()
        root = self._folders.roots["/dbfs"]
        return {
            "path": f"/{file.relative_to(root).as_posix()}",
            "is_dir": file.is_dir(),
            "file_size": 0 if file.is_dir() else state.st_size,
            "modification_time": int(state.st_mtime * 1000),
        }


def _block(data: str) -> bytes:
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error:
        raise invalid("The data is no base64.") from None
    if len(content) > _MOST_BLOCK:
        raise WorkspaceError("MAX_BLOCK_SIZE_EXCEEDED", "The block exceeds the limit of 1 MB.")
    return content


def _exists(path: str) -> WorkspaceError:
    return WorkspaceError("RESOURCE_ALREADY_EXISTS", f"A file or directory already exists: {path}")
