"""Files of a Databricks workspace: of a Unity Catalog volume, of the workspace, or of DBFS.

The paths are those that a cluster sees: `/Volumes/...`, `/Workspace/...`, and `dbfs:/...`, which is
`/dbfs/...` there.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

from databricks.sdk.errors import (
    AlreadyExists,
    NotFound,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceConflict,
)

from ascii_hydra.engines.calls import CallFault
from ascii_hydra.engines.databricks.api import Databricks
from ascii_hydra.engines.databricks_errors import databricks_fault

# "MAX_BLOCK_SIZE_EXCEEDED" and "MAX_READ_SIZE_EXCEEDED" beyond (API reference of DBFS).
_BLOCK = 1024 * 1024
_TAKEN = (AlreadyExists, ResourceAlreadyExists, ResourceConflict)
_FILES, _DIRECTORIES = "/api/2.0/fs/files", "/api/2.0/fs/directories"
_WORKSPACE, _DBFS = "/api/2.0/workspace", "/api/2.0/dbfs"
_RAW = {"Content-Type": "application/octet-stream"}


class _Files(Protocol):
    """One of the three APIs. What is not there raises NotFound, what is there already `_TAKEN`."""

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, content: bytes, *, over: bool) -> None: ...

    def see(self, path: str) -> None: ...

    def make(self, folder: str) -> None: ...

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Paths in a folder, and whether each is a folder."""

    def remove(self, folder: str) -> None: ...


class WorkspaceStore:
    """Whole files by URI, as `ascii_hydra.engines.store.Store` has it.

    Args:
        api: the workspace.
    """

    def __init__(self, api: Databricks) -> None:
        self._api = api
        self._volumes = _Volumes(api)
        self._workspace = _WorkspaceFiles(api)
        self._dbfs = _Dbfs(api)

    def read(self, uri: str) -> bytes | None:
        """A whole file; None if there is none (yet)."""
        try:
            return self._files(uri).read(uri)
        except NotFound:
            return None

    def write(self, uri: str, content: bytes) -> None:
        """Write a whole file, in the place of one that is there."""
        self._put(uri, content, over=True)

    def create(self, uri: str, content: bytes) -> None:
        """Write a whole file unless there is one."""
        try:
            self._put(uri, content, over=False)
        except _TAKEN:
            return

    def exists(self, uri: str) -> bool:
        """Whether there is a file; False also where nobody may know."""
        try:
            self._files(uri).see(uri)
        except NotFound:
            return False
        except PermissionDenied:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """All files below a folder, relative to it; empty if it is not there."""
        root = folder.rstrip("/")
        return [one.removeprefix(root + "/") for one in self._below(root)]

    def delete(self, folder: str) -> None:
        """Delete a folder with everything in it; nothing if it is not there."""
        try:
            self._files(folder).remove(folder.rstrip("/"))
        except NotFound:
            return

    def renew(self) -> None:
        """The credentials are accepted no more: the next call looks for new ones."""
        self._api.renew()

    def fault(self, raised: BaseException) -> CallFault | None:
        """What an exception says of a call; None for one that no call raises."""
        return databricks_fault(raised)

    def advice(self, fault: CallFault, uri: str) -> str:
        """What to do about it, as the end of a sentence (`: allow ...`), or nothing."""
        if fault.denied:
            return f": allow {self._right(uri)}, or set engine.staging_root to another folder"
        if fault.code in ("NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", "CATALOG_DOES_NOT_EXIST"):
            root = "/".join(uri.split("/")[:5]) if uri.startswith("/Volumes/") else uri
            return f": make {root}, or set engine.staging_root to another folder"
        if uri.startswith("dbfs:/") and not fault.transient and not fault.expired:
            return (
                ": the workspace may not have DBFS any more; set engine.staging_root to a volume"
                " (/Volumes/<catalog>/<schema>/<volume>/...)"
            )
        return ""

    def _put(self, uri: str, content: bytes, *, over: bool) -> None:
        files = self._files(uri)
        try:
            files.write(uri, content, over=over)
        except NotFound:
            files.make(uri.rpartition("/")[0])
            files.write(uri, content, over=over)

    def _below(self, folder: str) -> Iterator[str]:
        files = self._files(folder)
        try:
            entries = list(files.entries(folder))
        except NotFound:
            return
        for path, is_folder in entries:
            if is_folder:
                yield from self._below(path)
            else:
                yield path

    def _files(self, uri: str) -> _Files:
        if uri.startswith("/Volumes/"):
            return self._volumes
        if uri.startswith("/Workspace/"):
            return self._workspace
        assert uri.startswith("dbfs:/"), uri
        return self._dbfs

    def _right(self, uri: str) -> str:
        if uri.startswith("/Volumes/"):
            volume = ".".join(uri.split("/")[2:5])
            return f"READ VOLUME and WRITE VOLUME on {volume}"
        return "CAN EDIT on it" if uri.startswith("/Workspace/") else "it"


class _Volumes:
    """The Files API."""

    def __init__(self, api: Databricks) -> None:
        self._api = api

    def read(self, path: str) -> bytes:
        reply = self._api.call(
            "GET", _FILES + quote(path), headers={"Accept": "application/octet-stream"}, raw=True
        )
        with reply["contents"] as contents:
            return bytes(contents.read())

    def write(self, path: str, content: bytes, *, over: bool) -> None:
        self._api.call(
            "PUT",
            _FILES + quote(path),
            query={"overwrite": over},
            headers=dict(_RAW),
            # Of an empty stream, requests does not tell the length.
            data=content or None,
        )

    def see(self, path: str) -> None:
        self._api.call("HEAD", _FILES + quote(path))

    def make(self, folder: str) -> None:
        self._api.call("PUT", _DIRECTORIES + quote(folder))

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        query: dict[str, Any] = {}
        while True:
            reply = self._api.call("GET", _DIRECTORIES + quote(folder), query=query)
            for one in reply.get("contents", ()):
                yield str(one["path"]), bool(one.get("is_directory"))
            if not reply.get("next_page_token"):
                return
            query["page_token"] = reply["next_page_token"]

    def remove(self, folder: str) -> None:
        for path, is_folder in list(self.entries(folder)):
            if is_folder:
                self.remove(path)
            else:
                self._gone("DELETE", _FILES + quote(path))
        self._gone("DELETE", _DIRECTORIES + quote(folder))

    def _gone(self, method: str, path: str) -> None:
        try:
            self._api.call(method, path)
        except NotFound:
            return


class _WorkspaceFiles:
    """The workspace API, up to 10 MB a file."""

    def __init__(self, api: Databricks) -> None:
        self._api = api

    def read(self, path: str) -> bytes:
        query = {"path": path, "format": "AUTO", "direct_download": True}
        reply = self._api.call("GET", f"{_WORKSPACE}/export", query=query, raw=True)
        with reply["contents"] as contents:
            return bytes(contents.read())

    def write(self, path: str, content: bytes, *, over: bool) -> None:
        body = {
            "path": path,
            # As it is: a script never becomes a notebook, whatever its first line says.
            "format": "RAW",
            "content": b64encode(content).decode(),
            "overwrite": over,
        }
        self._api.call("POST", f"{_WORKSPACE}/import", body=body)

    def see(self, path: str) -> None:
        self._api.call("GET", f"{_WORKSPACE}/get-status", query={"path": path})

    def make(self, folder: str) -> None:
        self._api.call("POST", f"{_WORKSPACE}/mkdirs", body={"path": folder})

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        reply = self._api.call("GET", f"{_WORKSPACE}/list", query={"path": folder})
        # It answers with paths as the workspace has them: without /Workspace.
        for one in reply.get("objects", ()):
            name = str(one["path"]).rpartition("/")[2]
            yield f"{folder}/{name}", one.get("object_type") == "DIRECTORY"

    def remove(self, folder: str) -> None:
        self._api.call("POST", f"{_WORKSPACE}/delete", body={"path": folder, "recursive": True})


class _Dbfs:
    """The DBFS API, in blocks of 1 MB."""

    def __init__(self, api: Databricks) -> None:
        self._api = api

    def read(self, path: str) -> bytes:
        content = b""
        while True:
            query = {"path": _inner(path), "offset": len(content), "length": _BLOCK}
            reply = self._api.call("GET", f"{_DBFS}/read", query=query)
            block = b64decode(reply.get("data") or "")
            content += block
            if len(block) < _BLOCK:
                return content

    def write(self, path: str, content: bytes, *, over: bool) -> None:
        # In base64 a block is larger, and put takes 1 MB of that.
        if len(content) * 4 // 3 + 4 <= _BLOCK:
            body = {
                "path": _inner(path),
                "contents": b64encode(content).decode(),
                "overwrite": over,
            }
            self._api.call("POST", f"{_DBFS}/put", body=body)
            return
        # A file of several blocks is there before it is whole: it gets its name at the end.
        whole = f"{_inner(path)}.{secrets.token_hex(4)}"
        handle = self._api.call("POST", f"{_DBFS}/create", body={"path": whole})["handle"]
        for start in range(0, len(content), _BLOCK):
            block = b64encode(content[start : start + _BLOCK]).decode()
            self._api.call("POST", f"{_DBFS}/add-block", body={"handle": handle, "data": block})
        self._api.call("POST", f"{_DBFS}/close", body={"handle": handle})
        try:
            if over:
                self._api.call("POST", f"{_DBFS}/delete", body={"path": _inner(path)})
            self._api.call(
                "POST",
                f"{_DBFS}/move",
                body={"source_path": whole, "destination_path": _inner(path)},
            )
        except _TAKEN:
            self._api.call("POST", f"{_DBFS}/delete", body={"path": whole})
            raise

    def see(self, path: str) -> None:
        self._api.call("GET", f"{_DBFS}/get-status", query={"path": _inner(path)})

    def make(self, folder: str) -> None:
        self._api.call("POST", f"{_DBFS}/mkdirs", body={"path": _inner(folder)})

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        reply = self._api.call("GET", f"{_DBFS}/list", query={"path": _inner(folder)})
        for one in reply.get("files", ()):
            yield f"dbfs:{str(one['path']).removeprefix('dbfs:')}", bool(one.get("is_dir"))

    def remove(self, folder: str) -> None:
        body = {"path": _inner(folder), "recursive": True}
        self._api.call("POST", f"{_DBFS}/delete", body=body)


def _inner(uri: str) -> str:
    """The path within DBFS."""
    return uri.removeprefix("dbfs:")
