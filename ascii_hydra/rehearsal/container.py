"""The folder and the settings with which YARN would start a step's driver, made on this machine."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ascii_hydra.rehearsal.spark_submit import SparkSubmit, UnsupportedStepError
from ascii_hydra.rehearsal.store import Store

_MASTER_ENV = "spark.yarn.appMasterEnv."
_S3 = ("s3", "s3a", "s3n")
# The cluster's Python is not this machine's.
_PYTHON = {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"}
# Settings that would be wrong here: how the driver is started, and whose Python it is.
_REPLACED = {
    "spark.master",
    "spark.submit.deployMode",
    "spark.submit.pyFiles",
    "spark.archives",
    "spark.files",
    "spark.jars",
    "spark.driver.memory",
    "spark.driver.extraClassPath",
    "spark.driver.extraLibraryPath",
    "spark.executor.extraClassPath",
    "spark.executor.extraLibraryPath",
    "spark.pyspark.python",
    "spark.pyspark.driver.python",
    "spark.eventLog.enabled",
    "spark.yarn.dist.archives",
    "spark.yarn.dist.files",
    "spark.yarn.dist.pyFiles",
}


class MissingFileError(Exception):
    """A file of the step is not in S3; the message is Hadoop's."""


@dataclass(frozen=True)
class Container:
    """What a driver is started with.

    Attributes:
        folder: the current folder of the driver and of Python's workers.
        script: file in it.
        conf: Spark's settings, of the cluster and of the step.
        environment: variables.
        py_files, jars: files in the folder.
    """

    folder: Path
    script: Path
    conf: Mapping[str, str]
    environment: Mapping[str, str]
    py_files: tuple[Path, ...]
    jars: tuple[Path, ...]


def container(
    submit: SparkSubmit, configurations: Sequence[Mapping[str, Any]], folder: Path, store: Store
) -> Container:
    """Fetch what the step needs from S3, and from nowhere else, into a new folder.

    Args:
        submit: the step's command; the cluster's settings come beneath its own.
        configurations: of the cluster, as RunJobFlow has them.
        folder: is made.
        store: S3.

    Raises:
        MissingFileError, UnsupportedStepError.
    """
    folder.mkdir(parents=True)
    whole = SparkSubmit(
        submit.script,
        submit.arguments,
        {**_properties(configurations, "spark-defaults"), **submit.conf},
    )
    script = _fetched(whole.script, folder, store)
    py_files = _all_fetched(
        whole, ("spark.submit.pyFiles", "spark.yarn.dist.pyFiles"), folder, store
    )
    jars = _all_fetched(whole, ("spark.jars", "spark.yarn.dist.jars"), folder, store)
    _all_fetched(whole, ("spark.files", "spark.yarn.dist.files"), folder, store)
    for key in ("spark.archives", "spark.yarn.dist.archives"):
        for uri in whole.listed(key):
            _unpack(uri, folder, store)
    # In cluster mode the driver sees what is set for YARN's application master; what spark-env
    # exports reaches only what runs on the primary.
    environment = (
        whole.environment(_MASTER_ENV)
        if whole.in_cluster
        else _properties(configurations, "spark-env", "export")
    )
    return Container(
        folder=folder,
        script=script,
        conf={key: value for key, value in whole.conf.items() if key not in _REPLACED},
        environment={key: one for key, one in environment.items() if key not in _PYTHON},
        py_files=py_files,
        jars=jars,
    )


def most_attempts(submit: SparkSubmit, configurations: Sequence[Mapping[str, Any]]) -> int:
    """How often YARN starts the driver if it fails; only in cluster mode it does so at all."""
    if not submit.in_cluster:
        return 1
    # Spark's own setting can only lower what YARN allows, which is 2 by default.
    allowed = _properties(configurations, "yarn-site").get("yarn.resourcemanager.am.max-attempts")
    most = int(allowed or 2)
    defaults = _properties(configurations, "spark-defaults")
    asked = {**defaults, **submit.conf}.get("spark.yarn.maxAppAttempts")
    return most if asked is None else max(1, min(int(asked), most))


def _properties(
    configurations: Sequence[Mapping[str, Any]], classification: str, *inner: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in configurations:
        if one.get("Classification") != classification:
            continue
        if inner:
            found |= _properties(one.get("Configurations") or (), *inner)
        else:
            found |= one.get("Properties") or {}
    return found


def _all_fetched(
    submit: SparkSubmit, keys: Sequence[str], folder: Path, store: Store
) -> tuple[Path, ...]:
    return tuple(_fetched(uri, folder, store) for key in keys for uri in submit.listed(key))


def _fetched(uri: str, folder: Path, store: Store, name: str | None = None) -> Path:
    plain, _, alias = uri.partition("#")
    target = folder / (name or alias or PurePosixPath(unquote(urlsplit(plain).path)).name)
    target.write_bytes(_content(plain, store))
    return target


def _content(uri: str, store: Store) -> bytes:
    if urlsplit(uri).scheme not in _S3:
        raise UnsupportedStepError(f"{uri}: the rehearsal takes files from s3:// alone")
    content = store.read(uri)
    if content is None:
        raise MissingFileError(f"java.io.FileNotFoundException: No such file or directory '{uri}'")
    return content


def _unpack(uri: str, folder: Path, store: Store) -> None:
    plain, _, alias = uri.partition("#")
    name = PurePosixPath(urlsplit(plain).path).name
    packed = _fetched(plain, folder, store, name=f".{name}.packed")
    # Without an alias, YARN's link has the archive's own name.
    target = folder / (alias or name)
    try:
        if zipfile.is_zipfile(packed):
            with zipfile.ZipFile(packed) as file:
                # Names that lead out of the folder, zipfile changes.
                file.extractall(target)  # noqa: S202
        else:
            with tarfile.open(packed) as tar:
                tar.extractall(target, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as fault:
        raise UnsupportedStepError(f"{plain} cannot be unpacked: {fault}") from None
    packed.unlink()
