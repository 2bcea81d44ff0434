"""A rehearsal cloud for as long as it is needed, in a process of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.rehearsal.settings import as_json

_START_S = 60.0
_END_S = 20.0


class RehearsalError(Exception):
    """The rehearsal cloud did not start; the message holds what it said."""


@contextmanager
def started(config: RehearsalConfig | None = None) -> Iterator[str]:
    """A rehearsal cloud on a free port of this machine; yields its URL.

    It ends with the block, and by itself if this process is killed.

    Raises RehearsalError.
    """
    told = json.dumps(as_json(config or RehearsalConfig()))
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "ascii_hydra.rehearsal", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--until-fd", str(reading), "--config", told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=[reading],
            # Ctrl-C is for whoever uses it, and that one still needs it to clean up.
            start_new_session=True,
        )
        os.close(reading)
        try:
            yield _url(process, errors.fileno())
        finally:
            with suppress(OSError):
                os.close(writing)
            _await_end(process)


def _url(process: subprocess.Popen[bytes], errors: int) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    words = process.stdout.readline().decode().split() if ready else []
    if len(words) == 2 and words[0] == "rehearsal":  # noqa: PLR2004
        return words[1]
    said = os.pread(errors, 4_000, 0).decode("utf-8", "replace").strip().splitlines()
    why = said[-1] if said else f"it said nothing within {_START_S:g} s"
    raise RehearsalError(f"The rehearsal cloud did not start: {why}")


def _await_end(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _END_S
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
