"""One run at a time overwrites an output: two at once would mix their files, and both look fine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ascii_hydra.engines import class_archive

_NAMING_S = 0.5  # a holder writes its name right after it took the lock


class OutputTakenError(Exception):
    """Another run is writing the output.

    Attributes:
        holder: that run's process, as far as it is known.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"process {holder}")
        self.holder = holder


@contextmanager
def locked(output: str, step: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Have an output for oneself, where it is a folder of this machine.

    The kernel frees it when this process dies, and processes started meanwhile do not hold it.
    Where no lock can be had, for want of a cache folder that can be written, `warn` is told.

    Raises OutputTakenError, at once.
    """
    folder = local_folder(output)
    if folder is None:
        yield
        return
    path = class_archive.folder() / "locks" / hashlib.sha256(folder.encode()).hexdigest()
    opened = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = _taken(path)
        os.ftruncate(opened, 0)
        os.pwrite(opened, f"{os.getpid()} {step}\n".encode(), 0)
    except OSError as fault:
        warn(f"nothing keeps another run from writing to {output} at the same time: {fault}")
    try:
        yield
    finally:
        if opened is not None:
            path.unlink(missing_ok=True)  # while it is held: see `_taken`
            os.close(opened)


def local_folder(output: str) -> str | None:
    """The absolute path of an output of this machine, links resolved; None for any other."""
    if re.match("file:", output, re.IGNORECASE):
        output = unquote(urlsplit(output).path)
    if not output or "://" in output:
        return None
    return os.path.realpath(output)


def _taken(path: Path) -> int:
    """The lock on a file. Raises OutputTakenError, or OSError where files cannot be locked."""
    while True:
        # Python's descriptors are not inherited by what is executed.
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(opened)
            os.close(opened)
            raise OutputTakenError(holder) from None
        except BaseException:
            os.close(opened)
            raise
        # The holder before may have removed the file between our opening and our locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(opened)):
                return opened
        os.close(opened)


def _holder(opened: int) -> str:
    deadline = time.monotonic() + _NAMING_S
    while time.monotonic() < deadline:
        words = os.pread(opened, 100, 0).split()
        if words and words[0].isdigit():
            return words[0].decode()
        time.sleep(0.01)
    return "unknown"
