"""A store of files on this machine, whose calls can fail."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from pathlib import Path

from ascii_hydra.engines.calls import CallFault


class RefusedError(Exception):
    """A call that this store does not carry out."""

    def __init__(self, fault: CallFault) -> None:
        super().__init__(fault.words)
        self.fault = fault


class FolderStore:
    """Its URIs are paths of this machine.

    Attributes:
        faults: of the next calls, by the call's name.
        calls: how often each has been called.
        renewed: how often new credentials have been looked for.
    """

    def __init__(self) -> None:
        self.faults: dict[str, deque[CallFault]] = {}
        self.calls: Counter[str] = Counter()
        self.renewed = 0

    def fail(self, call: str, fault: CallFault, times: int = 1) -> None:
        """Let the next calls of this name fail."""
        self.faults.setdefault(call, deque()).extend([fault] * times)

    def read(self, uri: str) -> bytes | None:
        self._called("read")
        try:
            return Path(uri).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, uri: str, content: bytes) -> None:
        self._called("write")
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        Path(uri).write_bytes(content)

    def create(self, uri: str, content: bytes) -> None:
        self._called("create")
        if not Path(uri).exists():
            self.write(uri, content)

    def exists(self, uri: str) -> bool:
        self._called("exists")
        return Path(uri).is_file()

    def names(self, folder: str) -> list[str]:
        self._called("names")
        return [str(o.relative_to(folder)) for o in Path(folder).rglob("*") if o.is_file()]

    def delete(self, folder: str) -> None:
        self._called("delete")
        shutil.rmtree(folder, ignore_errors=True)

    def renew(self) -> None:
        self.renewed += 1

    def fault(self, raised: BaseException) -> CallFault | None:
        return raised.fault if isinstance(raised, RefusedError) else None

    def advice(self, fault: CallFault, uri: str) -> str:
        return ": ask for the right to it" if fault.denied else ""

    def _called(self, call: str) -> None:
        self.calls[call] += 1
        if self.faults.get(call):
            raise RefusedError(self.faults[call].popleft())
