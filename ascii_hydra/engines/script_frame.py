"""The line of the user's own code at which a step has failed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_pipes import PipesException

# As Python's `traceback` writes a frame; that of a SyntaxError names no function.
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
# A line below a frame that points at the code above it.
_MARKS = re.compile(r"^[\s^~]*$")
_INSTALLED = {"site-packages", "dist-packages"}
_CODE_SHOWN = 120


@dataclass(frozen=True)
class Frame:
    """One line of code.

    Attributes:
        path: of its file.
        line: its number.
        function: that it is in; None of code that cannot be parsed.
        code: the line itself, or nothing.
    """

    path: str
    line: int
    function: str | None
    code: str

    def __str__(self) -> str:
        where = f", in {self.function}" if self.function else ""
        code = self.code if len(self.code) <= _CODE_SHOWN else self.code[:_CODE_SHOWN] + "…"
        return f"{self.path}:{self.line}{where}{': ' if code else ''}{code}"


def script_frame(
    exception: PipesException | None,
    stderr: Iterable[str],
    script: str,
    py_files: Sequence[str] = (),
) -> Frame | None:
    """The innermost frame in the user's own code, or None.

    The user's own are the script, what lies in its folder, and files of the names of `py_files`,
    which Spark copies. Of an exception that a Python worker of Spark has raised, the worker's
    frames, which the exception's message has, tell more than those of the driver.

    Args:
        exception: what the step reported, or None.
        stderr: the step's errors: they count if it reported no exception.
        script: absolute path of the script.
        py_files: paths of its further Python files.
    """
    texts = [stderr]
    if exception is not None:
        stack = (line for one in exception["stack"] for line in one.splitlines())
        texts = [(exception["message"] or "").splitlines(), stack]
    for text in texts:
        own = [one for one in _frames(text) if _is_own(one.path, script, py_files)]
        if own:
            return own[-1]
    return None


def _frames(lines: Iterable[str]) -> Iterator[Frame]:
    every = list(lines)
    for number, line in enumerate(every):
        found = _FRAME.match(line)
        if found is None:
            continue
        below = every[number + 1] if number + 1 < len(every) else ""
        has_code = below.startswith("    ") and not _MARKS.match(below)
        code = below.strip() if has_code else ""
        yield Frame(found["path"], int(found["line"]), found["function"], code)


def _is_own(path: str, script: str, py_files: Sequence[str]) -> bool:
    if path == script or Path(path).name in {Path(one).name for one in py_files}:
        return True
    return Path(path).is_relative_to(Path(script).parent) and not _INSTALLED & set(Path(path).parts)
