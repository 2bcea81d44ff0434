"""The step's own Python code as one wheel: what Databricks installs on clusters and serverless
compute alike, for the driver and the executors."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ascii_hydra.engines.payload import step_runtime, zipped

_NAME = "ascii_hydra_step"
# By this module a step sees whether the wheel that it was submitted with is the installed one.
PAYLOAD_MODULE = "ascii_hydra_payload"
# What a user's file must not hide.
RESERVED_MODULES = ("ascii_hydra", "dagster_pipes", PAYLOAD_MODULE)
_DIGEST_LENGTH = 12


def step_wheel(py_files: Sequence[Path]) -> tuple[str, bytes, str]:
    """A pure-Python wheel of the step runtime and a step's `py_files` as top-level modules.

    It is the same whenever its files are, and its version names its content: pip, asked for another
    wheel of the same version, would keep what it has installed.

    Args:
        py_files: modules.

    Returns:
        The file's name, its content, and the digest that the step is told.

    Raises:
        OSError: a file cannot be read.
    """
    files = {**_runtime_files(), **{path.name: path.read_bytes() for path in py_files}}
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    digest = whole.hexdigest()[:_DIGEST_LENGTH]
    files[f"{PAYLOAD_MODULE}.py"] = f'DIGEST = "{digest}"\n'.encode()
    version = f"1.{int(digest, 16)}"
    info = f"{_NAME}-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {version}\n".encode()
    )
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: ascii_hydra\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return f"{_NAME}-{version}-py3-none-any.whl", zipped(files), digest


@cache
def _runtime_files() -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(step_runtime())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _record(files: Mapping[str, bytes], own_name: str) -> bytes:
    """The list of a wheel's files with their hashes, as pip wants it."""
    made = io.StringIO()
    rows = csv.writer(made, lineterminator="\n")
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        rows.writerow((name, f"sha256={digest.decode()}", len(files[name])))
    rows.writerow((own_name, "", ""))
    return made.getvalue().encode()
