"""A process that ends what a rehearsal cloud has left, if that was killed: `-m ... guard`.

It reads from its standard input, which only the cloud's process holds open: a line `+MARK` for each
process tree that begins, `-MARK` when it has ended. When the input ends, so do all that are left.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading

from ascii_hydra.engines.own_folder import sweep
from ascii_hydra.engines.process_tree import ProcessTree


class Guard:
    """The guard's process, from the side of the cloud. It starts with the first tree."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def begun(self, mark: str) -> None:
        """A process tree of this mark is about to begin."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ascii_hydra.rehearsal.guard"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            self._write(f"+{mark}\n")

    def ended(self, mark: str) -> None:
        """Nothing is left of that tree."""
        with self._lock:
            self._write(f"-{mark}\n")

    def close(self) -> None:
        """Let it end what is left, and go."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


def main() -> None:
    """Wait, then end what is left."""
    # Ctrl-C reaches a whole terminal; this must outlive the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left: set[str] = set()
    for line in sys.stdin:
        change, mark = line[0], line[1:].strip()
        (left.add if change == "+" else left.discard)(mark)
    for mark in left:
        tree = ProcessTree()
        tree.mark = mark
        tree.kill()
    sweep(tempfile.gettempdir())


if __name__ == "__main__":
    main()
