"""Files of a folder, wherever a step can reach it: by plain Python, or by Spark's own Hadoop.

A step needs no library of a cloud for it, and no credentials but those that its cluster has. The
syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Set, Union

_MOUNTED = ("/Volumes/", "/Workspace/", "/dbfs/")
_DBFS = "dbfs:/"
# A mounted folder shows what another machine has just written with some delay.
_READ_PATIENCE_S = 10.0
_PAUSE_S = 0.5


class MountedFolder:
    """A folder of this machine, which is most often another's.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: str) -> None:
        self._folder = Path(path)

    def content(self, name: str) -> bytes:
        """A whole file. Raises OSError once that has failed for ten seconds."""
        deadline = time.monotonic() + _READ_PATIENCE_S
        while True:
            try:
                return (self._folder / name).read_bytes()
            except OSError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_S)

    def names(self) -> Set[str]:
        """Of the files and folders in it; empty if it is not there."""
        try:
            return {one.name for one in self._folder.iterdir()}
        except FileNotFoundError:
            return set()

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, or the same one again. Others may see it half-written."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # From its beginning to its end: a mounted volume takes nothing else.
        path.write_bytes(content)


class HadoopFolder:
    """A folder that Hadoop's FileSystem knows, through the JVM of the driver.

    Args:
        uri: such as `s3://bucket/prefix`.
    """

    def __init__(self, uri: str) -> None:
        from pyspark import SparkContext

        # The JVM that spark-submit has started; no SparkContext is made.
        SparkContext._ensure_initialized()
        jvm: Any = SparkContext._jvm
        self._jvm = jvm
        self._uri = uri.rstrip("/")
        # With the settings of spark-submit: spark.hadoop.* among them.
        self._conf = jvm.org.apache.spark.deploy.SparkHadoopUtil.get().conf()

    def content(self, name: str) -> bytes:
        """A whole file."""
        path = self._path(name)
        stream = path.getFileSystem(self._conf).open(path)
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def names(self) -> Set[str]:
        """Of the files and folders in it; empty if it is not there."""
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

        path = self._path("")
        try:
            found = path.getFileSystem(self._conf).listStatus(path)
        except Py4JJavaError as fault:
            if fault.java_exception.getClass().getName() == "java.io.FileNotFoundException":
                return set()
            raise
        return {str(one.getPath().getName()) for one in found}

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, or the same one again."""
        path = self._path(name)
        stream = path.getFileSystem(self._conf).create(path, True)
        try:
            stream.write(bytearray(content))
        finally:
            # A store of objects shows the file now, and not before.
            stream.close()

    def _path(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path("/".join(filter(None, (self._uri, name))))


Folder = Union[MountedFolder, HadoopFolder]


def folder_at(uri: str) -> Folder:
    """The folder of a URI: a mounted one by plain Python, any other one by Hadoop, which needs a
    JVM of Spark.

    Args:
        uri: `s3://...`, a path of `/Volumes`, `/Workspace` or `/dbfs`, or `dbfs:/...`.
    """
    if uri.startswith(_DBFS):
        uri = "/dbfs/" + uri[len(_DBFS) :].lstrip("/")
    if uri.startswith(_MOUNTED):
        return MountedFolder(uri)
    return HadoopFolder(uri)
