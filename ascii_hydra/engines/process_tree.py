"""A child process together with everything that descends from it, and how to end all of it.

Every descendant inherits a random mark in its environment. So those are found, too, that made a
session of their own or lost their parent, as pyspark's worker daemon does. What gets away: a
process that first drops its environment and then loses its parent, if it also left its session or
the first process of that has ended.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

import psutil

from ascii_hydra.engines.own_folder import sweep

MARK = "ASCII_HYDRA_PROCESS"
_KILL_TIMEOUT_S = 10.0


class ProcessRemainsError(Exception):
    """Processes live on although they were killed (hung in the kernel, or another user's)."""


class ProcessTree:
    """A process in a session of its own, and its descendants.

    Attributes:
        mark: the value of the variable MARK in all of them.
        ended: set as soon as the process itself (not its descendants) has ended.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self.ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
        folder: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the process. Raises OSError. Whatever happens, `stop` finds what was started."""
        self._process = subprocess.Popen(
            command,
            env={**environment, MARK: self.mark},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            cwd=folder,
            start_new_session=True,
        )
        # A thread in waitpid notices the end at once, where polling would cost either time or CPU.
        waiter = threading.Thread(target=self._await, name="process-end", daemon=True)
        waiter.start()
        return self._process

    def _await(self) -> None:
        assert self._process is not None
        self._process.wait()
        self.ended.set()

    @property
    def exit_code(self) -> int | None:
        """As subprocess has it: -N for an end by signal N, None while it runs."""
        return None if self._process is None else self._process.returncode

    def alive(self) -> list[psutil.Process]:
        """Every living process of the tree; the dead that wait to be reaped are not counted."""
        leader = self._process
        if leader is not None and leader.returncode is None:
            found = marked(self.mark, leader.pid)
            if leader.returncode is None:
                return found
        # Once it has been reaped, its number may be another process's: then the mark alone tells.
        return marked(self.mark)

    def _surely_alive(self) -> list[psutil.Process]:
        """As `alive`, but looks twice: a process in the middle of an exec shows no environment."""
        if alive := self.alive():
            return alive
        time.sleep(0.002)
        return self.alive()

    def stop(self, grace_s: float) -> None:
        """End all: SIGINT, then SIGTERM, each with `grace_s` to leave, then SIGKILL.

        Returns when none is alive. Interrupted itself, it goes to SIGKILL at once.
        Raises ProcessRemainsError.
        """
        try:
            for rung in (signal.SIGINT, signal.SIGTERM):
                _signal(self.alive(), rung)
                deadline = time.monotonic() + grace_s
                while self.alive():
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(0.02)
                else:
                    break
        finally:
            self.kill()

    def kill(self) -> None:
        """End all by SIGKILL; returns when none is alive. Raises ProcessRemainsError."""
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while alive := self._surely_alive():
            _signal(alive, signal.SIGKILL)
            if time.monotonic() >= deadline:
                raise ProcessRemainsError(
                    "still alive after SIGKILL: " + ", ".join(str(one.pid) for one in alive)
                )
            time.sleep(0.005)
        if self._process is not None:
            self.ended.wait(_KILL_TIMEOUT_S)


def marked(mark: str, session: int | None = None) -> list[psutil.Process]:
    """The living processes that carry a mark or belong to a session, and all their descendants."""
    me = os.getpid()
    found: dict[int, psutil.Process] = {}
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            if process.pid == me or process.status() == psutil.STATUS_ZOMBIE:
                continue
            children.setdefault(process.ppid(), []).append(process)
            if (session is not None and os.getsid(process.pid) == session) or (
                process.environ().get(MARK) == mark
            ):
                found[process.pid] = process
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    pending = list(found)
    while pending:
        for child in children.get(pending.pop(), []):
            if child.pid not in found:
                found[child.pid] = child
                pending.append(child.pid)
    return list(found.values())


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:  # ended meanwhile; if it may not be signalled, `kill` says so
            continue


if __name__ == "__main__":  # started by a step whose own starter died: see step_process.py
    orphans = ProcessTree()
    orphans.mark = sys.argv[1]
    try:
        orphans.stop(grace_s=float(sys.argv[2]))
    finally:
        sweep(tempfile.gettempdir())
