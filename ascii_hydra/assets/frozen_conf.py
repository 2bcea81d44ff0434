"""The configuration as it was when Dagster loaded the definitions.

Dagster loads the definitions again in every run's own process. If that process composed from
conf/ as it is by then, an edit after the UI was loaded would change a run that the UI still shows
as before. So the folder is copied when the definitions are first loaded, under a name made of its
content, and every later process is told that name.

Dagster has no public way to hand a value to those processes, so what is private is used here and
nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)

_KEY = "ascii_hydra/conf"


def frozen_conf(conf: Path, home: Path) -> Path:
    """The folder to compose from in this process: a copy of `conf` that nobody edits.

    Args:
        conf: the folder that people edit.
        home: DAGSTER_HOME, where the copies are kept.
    """
    context = DefinitionsLoadContext.get()
    if context.load_type is DefinitionsLoadType.RECONSTRUCTION:
        name = context.reconstruction_metadata.get(_KEY)
        if name is not None:
            return home / "conf" / str(name)
    copy = _copied(conf, home / "conf")
    context.add_to_pending_reconstruction_metadata(_KEY, copy.name)
    return copy


def _copied(conf: Path, copies: Path) -> Path:
    files = sorted(path for path in conf.rglob("*.yaml") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(conf)}\0".encode() + path.read_bytes() + b"\0")
    copy = copies / digest.hexdigest()[:16]
    if copy.is_dir():
        return copy
    copies.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=copies))
    for path in files:
        target = fresh / path.relative_to(conf)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    try:
        os.rename(fresh, copy)  # noqa: PTH104 - whole or not at all
    except OSError:
        # Another process was first with the same content.
        shutil.rmtree(fresh)
        if not copy.is_dir():
            raise
    return copy
