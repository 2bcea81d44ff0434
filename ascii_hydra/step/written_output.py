"""Whether a step has written its output: the files there before it and after it, compared.

The syntax here stays within Python 3.9, the oldest Python that a supported cluster ships.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Set, Tuple, Type

from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A mounted folder shows what executors have just written with some delay.
_MOUNT_PATIENCE_S = 30.0
_PAUSE_S = 0.5
# A list in one text takes some 500 B of the driver's memory for each, twice (JVM and Python).
_MOST_FILES = 100_000
_MOUNTED = ("/Volumes/", "/Workspace/")
_FILE_SCHEME = re.compile(r"^file:/+")
# FileStatus.toString: one after the other, each with its class in front. Reading a file changes
# the time of its last access.
_STATUS = re.compile(r"\w*FileStatus\{")
_ACCESS = re.compile(r"access_time=\d+")


class OutputNotWrittenError(Exception):
    """A step has ended well and has written no file of its output."""


class UnlistedError(Exception):
    """A folder that this session cannot list; the message says why."""


class OutputWatch:
    """Tells whether files of a folder are written from now on.

    It lists the folder once now and once later, and keeps one number for each file: what is new
    or has another size or another time of modification was written. Files that are gone, and
    folders without a file, count for nothing.

    Args:
        uri: of the folder (or of a single file).
        engine: where the step runs.
        spark: the step's session.
    """

    def __init__(self, uri: str, engine: Engine, spark: SparkSession) -> None:
        self._uri = uri
        path = _path_of(uri, engine)
        self._patience_s = _MOUNT_PATIENCE_S if uri.startswith(_MOUNTED) else 0.0
        # Hidden files may have changed where Spark lists: _SUCCESS of an append without a row.
        self._sees_all = True
        self._entries: Callable[[], Iterator[object]]
        if path is not None:
            self._entries = lambda: _files(path)
        elif engine is Engine.databricks:
            self._sees_all = False
            self._entries = lambda: _spark_files(uri, spark)
        else:
            self._entries = lambda: _hadoop_files(uri, spark)
        self._before: Set[int] = set()
        self.unknown: Optional[str] = None
        """Why nobody can tell, or None."""
        try:
            self._before = {hash(one) for one in self._entries()}
        except (OSError, UnlistedError) as fault:
            self.unknown = _words(fault)

    def check(self, where: str) -> None:
        """Raise OutputNotWrittenError if nothing was written since this was made. Where that is
        not certain, say why in `unknown`.

        Args:
            where: the key by which a step says that it has no output.
        """
        deadline = time.monotonic() + self._patience_s
        while self.unknown is None:
            left = 0
            try:
                for one in self._entries():
                    if hash(one) not in self._before:
                        return
                    left += 1
            except (OSError, UnlistedError) as fault:
                self.unknown = _words(fault)
                return
            if left and not self._sees_all:
                self.unknown = "no new file is seen, and Spark does not list hidden ones"
                return
            if time.monotonic() >= deadline:
                there = (
                    "the {} file(s) there are of an earlier run".format(left)
                    if left
                    else "there is no file"
                )
                raise OutputNotWrittenError(
                    "nothing was written to {}: {}. Write to self.output; a step that has no"
                    " output of its own says {}.".format(self._uri, there, where)
                )
            time.sleep(_PAUSE_S)


def _words(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return "{}: {}".format(type(fault).__name__, lines[0] if lines else "")


def _path_of(uri: str, engine: Engine) -> Optional[str]:
    """The folder as this process sees it, if plain Python can list it."""
    if engine is Engine.databricks:
        return uri if uri.startswith(_MOUNTED) else None
    if engine is Engine.pyspark and ":" not in uri.partition("/")[0]:
        return uri
    return _FILE_SCHEME.sub("/", uri) if _FILE_SCHEME.match(uri) else None


def _files(path: str) -> Iterator[object]:
    """Every file below a path."""
    if Path(path).is_file():
        status = Path(path).stat()
        yield path, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return
    folders = [path]
    while folders:
        try:
            listed = os.scandir(folders.pop())
        except FileNotFoundError:  # there is none, or it was removed meanwhile
            continue
        with listed:
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                # A copy may keep the time of modification (`cp -p`), but never that of change.
                yield entry.path, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _hadoop_files(uri: str, spark: SparkSession) -> Iterator[object]:
    """Every file below a URI, by Hadoop's FileSystem."""
    from py4j.protocol import Py4JError, Py4JJavaError  # type: ignore[import-untyped]

    context: Any = spark.sparkContext
    try:
        path = context._jvm.org.apache.hadoop.fs.Path(uri)
        store = path.getFileSystem(context._jsc.hadoopConfiguration())
        iterators = context._jvm.org.apache.hadoop.util.functional.RemoteIterators
        if store.getContentSummary(path).getFileCount() > _MOST_FILES:
            raise UnlistedError("it has more than {:,} files".format(_MOST_FILES))
        # One call instead of some for every file: each takes Py4J about 0.05 ms.
        text = iterators.toList(store.listFiles(path, True)).toString()
    except Py4JJavaError as fault:
        if fault.java_exception.getClass().getName() == "java.io.FileNotFoundException":
            return
        raise UnlistedError(str(fault.java_exception.toString())) from None
    except (Py4JError, TypeError) as fault:  # a Hadoop before 3.3.1 has no RemoteIterators
        raise UnlistedError(str(fault)) from None
    files = _STATUS.split(text[1:-1])[1:]
    if not files and text != "[]":
        raise UnlistedError("its list is not in words that are known: {:.100}".format(text))
    for one in files:
        yield _ACCESS.sub("", one.rstrip(", "))


def _spark_files(uri: str, spark: SparkSession) -> Iterator[object]:
    """Every file below a URI, by the list that Spark would read: the only way on compute without
    a JVM, and the one that has the credentials of Unity Catalog. Spark passes over names that
    begin with `_` or `.`, and does not tell sizes or times; but it never writes a name twice."""
    from pyspark.errors import PySparkException

    faults: Tuple[Type[Exception], ...] = (PySparkException,)
    try:
        from py4j.protocol import Py4JError

        faults += (Py4JError,)
    except ImportError:  # Spark Connect needs no py4j
        pass
    try:
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        names = reader.load(uri).inputFiles()
    except faults as fault:
        if "PATH_NOT_FOUND" in str(fault):
            return
        raise UnlistedError(str(fault)) from None
    # A table of partitions without a row is a file _SUCCESS alone.
    yield from names or ["nothing but hidden files"]
