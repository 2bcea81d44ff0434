"""Where the output of a step is kept when the command line runs it.

Dagster's own way redirects this process's stdout and stderr to a file and copies the file back to
the terminal with four more processes a step. The command line draws on that terminal, and the
steps' output comes through a sink anyway, so here it is written straight to the files that the UI
reads.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file


class StepLogs(LocalComputeLogManager):
    """Dagster's local compute logs, filled by `write_line` instead of by redirection."""

    _files: dict[str, IO[str]] = {}  # noqa: RUF012 - one run at a time in one process

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> StepLogs:
        """Made by Dagster from the instance's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @classmethod
    def write_line(cls, stream: str, line: str) -> None:
        """The sink: one line of the step under way, `stream` being stdout or stderr."""
        file = cls._files.get(stream)
        if file is not None:
            file.write(line + "\n")
            file.flush()

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Keep the output of a step from here on."""
        for stream, kind in (("stdout", ComputeIOType.STDOUT), ("stderr", ComputeIOType.STDERR)):
            path = self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            ensure_file(path)
            self._files[stream] = Path(path).open("a", encoding="utf-8")  # noqa: SIM115
        try:
            yield CapturedLogContext(log_key)
        finally:
            for file in self._files.values():
                file.close()
            self._files.clear()
            touch_file(str(self.complete_artifact_path(log_key)))  # type: ignore[no-untyped-call]
