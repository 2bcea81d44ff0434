"""What a step on a cluster needs of this machine: its script, its Python files, the step runtime.

Each file is uploaded below `<staging_root>/payload/<hash of its content>/`, so that it is uploaded
once and never changes under a running step.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

RUNTIME_NAME = "ascii_hydra_step.zip"
# What must neither be read as a separator by spark-submit nor be escaped in a URI.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
# A zip's oldest date: with it, equal files make equal archives.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Libraries:
    """Packages of PyPI, to be unpacked into one archive that a cluster's Python can import.

    Attributes:
        requirements: `name==version`, and absolute paths of wheels.
        constraints: `name==version` of what they need in turn, where this environment has it.
        python_version: `3.11`.
        platforms: pip's names of the platform, best first: `manylinux_2_28_x86_64`, ...
    """

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    python_version: str
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class Upload:
    """One file that a cluster needs. Its URI names its content, so it is uploaded once.

    Exactly one of `path`, `content` and `libraries` is given.

    Attributes:
        uri: `s3://bucket/.../payload/<hash of the content>/<file name>`.
        path: a file of this machine.
        content: bytes made here.
        libraries: what the archive is made of, if it has not been uploaded yet.
    """

    uri: str
    path: Path | None = None
    content: bytes | None = None
    libraries: Libraries | None = None


def content_upload(
    staging_root: str, name: str, content: bytes, path: Path | None = None
) -> Upload:
    """The upload of some bytes; of `path`, if that is the file they are from."""
    uri = payload_uri(staging_root, content, name)
    return Upload(uri, path=path) if path is not None else Upload(uri, content=content)


def file_upload(staging_root: str, path: Path) -> Upload:
    """The upload of a file of this machine. Raises OSError if it cannot be read."""
    return content_upload(staging_root, safe_name(path.name), path.read_bytes(), path)


def payload_uri(staging_root: str, identity: bytes, name: str) -> str:
    """Where a file is uploaded to; `identity` is its content, or what decides its content."""
    digest = hashlib.sha256(identity).hexdigest()[:16]
    return f"{staging_root.rstrip('/')}/payload/{digest}/{name}"


def safe_name(name: str) -> str:
    """A file name without the characters that spark-submit and URIs read as something else."""
    return _UNSAFE.sub("_", name)


@cache
def step_runtime() -> bytes:
    """A zip of what every script imports: `ascii_hydra.step`, and dagster_pipes as it is here."""
    package = Path(__file__).resolve().parents[1]
    found = {"ascii_hydra/__init__.py": (package / "__init__.py").read_bytes()}
    for path in (package / "step").glob("*.py"):
        found[f"ascii_hydra/step/{path.name}"] = path.read_bytes()
    spec = importlib.util.find_spec("dagster_pipes")
    assert spec is not None
    assert spec.origin is not None
    pipes = Path(spec.origin).parent
    for path in pipes.rglob("*.py"):
        found[f"dagster_pipes/{path.relative_to(pipes).as_posix()}"] = path.read_bytes()
    return zipped(found)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive that is the same whenever its files are."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return made.getvalue()
