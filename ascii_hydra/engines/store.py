"""Where payloads and Pipes messages are kept, as this machine sees it: S3, or a workspace."""

from __future__ import annotations

from typing import Protocol

from ascii_hydra.engines.calls import CallFault


class Store(Protocol):
    """Whole files by URI. Every call is made once and raises as its SDK does."""

    def read(self, uri: str) -> bytes | None:
        """A whole file; None if there is none (yet)."""

    def write(self, uri: str, content: bytes) -> None:
        """Write a whole file, in the place of one that is there."""

    def create(self, uri: str, content: bytes) -> None:
        """Write a whole file unless there is one."""

    def exists(self, uri: str) -> bool:
        """Whether there is a file; False also where nobody may know."""

    def names(self, folder: str) -> list[str]:
        """All files below a folder, relative to it; empty if it is not there."""

    def delete(self, folder: str) -> None:
        """Delete a folder with everything in it; nothing if it is not there."""

    def renew(self) -> None:
        """The credentials have expired: the next call looks for new ones."""

    def fault(self, raised: BaseException) -> CallFault | None:
        """What an exception says of a call; None for one that no call raises."""

    def advice(self, fault: CallFault, uri: str) -> str:
        """What to do about it, as the end of a sentence (`: allow ...`), or nothing."""
