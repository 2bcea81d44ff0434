"""A Python with nothing in it: as bare as that of a new cluster, whatever this machine has."""

from __future__ import annotations

import sys
from pathlib import Path


def clean_python(folder: Path) -> Path:
    """The interpreter of a new virtual environment without any package, of this Python's version.

    Args:
        folder: is made; the environment's own.
    """
    base = Path(getattr(sys, "_base_executable", "") or sys.executable)
    (folder / "bin").mkdir(parents=True)
    # Python looks for this file beside itself before it resolves links. That is all of a virtual
    # environment that it needs.
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
    )
    interpreter = folder / "bin" / "python3"
    interpreter.symlink_to(base)
    return interpreter
