"""The Files API of the rehearsal workspace: files and directories of volumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from email.utils import formatdate

from ascii_hydra.rehearsal.databricks_calls import Call, Raw, Reply
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError, invalid
from ascii_hydra.rehearsal.databricks_folders import Folders

_MOST_BYTES = 5 * 1024**3
_PAGE = 1000


class FilesApi:
    """The operations `fs/files` and `fs/directories`, by their methods."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self.operations: Mapping[str, Callable[[Call], Reply]] = {
            "fs/files PUT": self._put_file,
            "fs/files GET": self._get_file,
            "fs/files HEAD": self._head_file,
            "fs/files DELETE": self._delete_file,
            "fs/directories PUT": self._put_directory,
            "fs/directories GET": self._list_directory,
            "fs/directories HEAD": self._head_directory,
            "fs/directories DELETE": self._delete_directory,
        }

    def _put_file(self, call: Call) -> Reply:
        _only(call, "overwrite")
        if len(call.content) > _MOST_BYTES:
            raise invalid("The file is larger than 5 GiB.")
        file = self._folders.of_volume(call.path)
        if file.is_dir():
            raise invalid(f"{call.path} is a directory.")
        if file.exists() and not call.flag("overwrite"):
            raise WorkspaceError(
                "ALREADY_EXISTS",
                "The file being created already exists.",
                reason="FILES_API_FILE_ALREADY_EXISTS",
            )
        # Object stores have no folders: those above a file are there with it.
        file.parent.mkdir(parents=True, exist_ok=True)
        self._folders.write(file, call.content)
        return Raw(status=204)

    def _get_file(self, call: Call) -> Reply:
        _only(call)
        file = self._folders.of_volume(call.path)
        try:
            content, when = file.read_bytes(), file.stat().st_mtime
        except OSError:
            raise _no_file() from None
        return Raw(content, headers=_headers(when, len(content)))

    def _head_file(self, call: Call) -> Reply:
        _only(call)
        file = self._folders.of_volume(call.path)
        if not file.is_file():
            raise _no_file()
        found = file.stat()
        return Raw(headers=_headers(found.st_mtime, found.st_size))

    def _delete_file(self, call: Call) -> Reply:
        _only(call)
        file = self._folders.of_volume(call.path)
        if not file.is_file():
            raise _no_file()
        file.unlink()
        return Raw(status=204)

    def _put_directory(self, call: Call) -> Reply:
        _only(call)
        try:
            self._folders.of_volume(call.path).mkdir(parents=True, exist_ok=True)
        except OSError:
            raise WorkspaceError(
                "ALREADY_EXISTS", "A file is where the directory would be."
            ) from None
        return Raw(status=204)

    def _list_directory(self, call: Call) -> Reply:
        _only(call, "page_size", "page_token")
        folder = self._folders.of_volume(call.path)
        if not folder.is_dir():
            raise _no_directory()
        size = min(int(call.query.get("page_size", [str(_PAGE)])[-1]) or _PAGE, _PAGE)
        start = int(call.query.get("page_token", ["0"])[-1] or 0)
        found = sorted(os.scandir(folder), key=lambda one: one.name)
        contents = []
        for one in found[start : start + size]:
            told = {
                "path": f"{call.path.rstrip('/')}/{one.name}",
                "is_directory": one.is_dir(),
                "name": one.name,
            }
            if one.is_file():
                state = one.stat()
                told |= {"file_size": state.st_size, "last_modified": int(state.st_mtime * 1000)}
            contents.append(told)
        more = {"next_page_token": str(start + size)} if start + size < len(found) else {}
        return {"contents": contents, **more}

    def _head_directory(self, call: Call) -> Reply:
        _only(call)
        if not self._folders.of_volume(call.path).is_dir():
            raise _no_directory()
        return Raw()

    def _delete_directory(self, call: Call) -> Reply:
        _only(call)
        folder = self._folders.of_volume(call.path)
        if not folder.is_dir():
            raise _no_directory()
        try:
            folder.rmdir()
        except OSError:
            raise WorkspaceError(
                "INVALID_PARAMETER_VALUE",
                "The directory being deleted is not empty.",
                reason="FILES_API_DIRECTORY_IS_NOT_EMPTY",
            ) from None
        return Raw(status=204)


def _only(call: Call, *known: str) -> None:
    for name in call.query:
        if name not in known:
            raise invalid(f"Unknown query parameter: {name}")


def _headers(modified: float, size: int) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Last-Modified": formatdate(modified, usegmt=True),
    }


def _no_file() -> WorkspaceError:
    return WorkspaceError(
        "NOT_FOUND", "The file being accessed is not found.", reason="FILES_API_FILE_NOT_FOUND"
    )


def _no_directory() -> WorkspaceError:
    return WorkspaceError(
        "NOT_FOUND",
        "The directory being accessed is not found.",
        reason="FILES_API_DIRECTORY_IS_NOT_FOUND",
    )
