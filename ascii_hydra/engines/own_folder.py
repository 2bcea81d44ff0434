"""Temporary folders that do not outlive their owner, even if it is killed.

The owner holds a lock on its folder as long as it lives. A folder whose lock is free is nobody's,
and is removed by whoever makes the next one, or by what ends an orphaned step. (A lock, not the
owner's process id: ids are used again, and mean nothing to another container with the same /tmp.)
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

_OURS = re.compile(r"ascii_hydra-(?:spark|pipes)-\d+-\w+")
_swept: set[str] = set()


class OwnFolder:
    """A new folder for temporary files, until `remove` or the end of this process.

    Attributes:
        path: the folder.
    """

    def __init__(self, kind: str, base: str | None = None) -> None:
        base = tempfile.gettempdir() if base is None else base
        if base not in _swept:  # once is enough: what is left is small
            _swept.add(base)
            sweep(base)
        while True:
            # The process id is for people.
            name = tempfile.mkdtemp(prefix=f"ascii_hydra-{kind}-{os.getpid()}-", dir=base)
            self.path = Path(name)
            self._lock: int | None = None
            try:
                self._lock = _locked(name, fcntl.LOCK_SH)
            except (BlockingIOError, FileNotFoundError):  # swept away before it was locked
                continue
            except OSError:  # no locks on this disk: then nobody sweeps here either
                pass
            return

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def sweep(base: str) -> None:
    """Remove the folders in `base` whose owners are gone."""
    try:
        found = [path for path in Path(base).iterdir() if _OURS.fullmatch(path.name)]
    except OSError:
        return
    for path in found:
        try:
            lock = _locked(str(path), fcntl.LOCK_EX)
        except OSError:  # its owner lives, or it is another user's
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(path: str, kind: int) -> int:
    """A lock on a folder of this user. Raises OSError where there is none to be had."""
    # Python's descriptors are not inherited by what is executed: steps do not hold it.
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, kind | fcntl.LOCK_NB)
        os.stat(path)  # noqa: PTH116 - or it was swept away between opening and locking
        if os.fstat(opened).st_uid != os.getuid():
            raise PermissionError(path)
    except BaseException:
        os.close(opened)
        raise
    return opened
