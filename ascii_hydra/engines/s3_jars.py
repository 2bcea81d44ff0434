"""The jars by which the installed Spark reads and writes s3a://: hadoop-aws and what it needs.

PyPI's Spark has none of them. s3_jars.json locks them by the version of Spark's Hadoop, since
hadoop-aws must be of that very version. They are downloaded once, 14 MB, into the user's cache
folder: `python -m ascii_hydra.engines.s3_jars` does it ahead of the first run.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from ascii_hydra.engines import class_archive

REPOSITORY = "ASCII_HYDRA_MAVEN_REPOSITORY"
LOCK = Path(__file__).with_name("s3_jars.json")
_AT_ONCE = 6  # most jars are small: what takes time is asking for each
_TIMEOUT_S = 30.0  # for a connection, and for each piece of a file
_PIECE = 1 << 16
_LINE = 70  # bytes; a jar's manifest allows 72 with the end of the line


class JarsMissingError(Exception):
    """s3a:// cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Jar:
    """One file of a Maven repository.

    Attributes:
        path: in any repository, and in ~/.m2/repository.
        size: bytes.
        sha256: of its content.
    """

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Needed:
    """The jars for one Hadoop, and the folder that keeps them; they may not be there yet.

    Attributes:
        hadoop: its version.
        jars: none for a Spark that has them itself.
        folder: a new lock has a new one.
    """

    hadoop: str
    jars: tuple[Jar, ...]
    folder: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where each jar is to be."""
        return tuple(self.folder / jar.name for jar in self.jars)

    @property
    def all_in_one(self) -> Path:
        """A jar that holds nothing but the names of the others, beside which it lies.

        Spark copies every jar that a session names, even on the machine where it lies: 0.6 s a
        step for these. It copies only this one, and Java finds the others where they are.
        """
        return self.folder / "s3a.jar"

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do; what is in the folder was checked when it came."""
        return all(map(_is_there, (*self.paths, self.all_in_one))) if self.jars else True


def needed() -> Needed:
    """The jars that the installed Spark needs. Starts nothing, and asks no network.

    Raises:
        JarsMissingError: there is no Spark, or one whose Hadoop is not in the lock.
    """
    spark = _spark()
    if spark is None:
        raise JarsMissingError("pyspark is not installed in this Python environment.")
    known = _locked_jars()
    found = sorted(spark.glob("jars/hadoop-client-api-*.jar"))
    hadoop = found[0].stem.removeprefix("hadoop-client-api-") if found else ""
    if all(any(spark.glob(f"jars/{one}*.jar")) for one in ("hadoop-aws-", "spark-hadoop-cloud_")):
        return Needed(hadoop, (), spark / "jars")
    if hadoop not in known:
        what = f"Hadoop {hadoop}" if hadoop else "no Hadoop"
        raise JarsMissingError(
            f"The Spark in {spark} has {what}; s3a:// works here with Hadoop {', '.join(known)},"
            " which pyspark brings along: unset SPARK_HOME, or add hadoop-aws and"
            " spark-hadoop-cloud with all they need to its jars."
        )
    jars = known[hadoop]
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:8]
    return Needed(hadoop, jars, class_archive.folder() / "s3a" / f"hadoop-{hadoop}-{digest}")


def jar_paths() -> tuple[Path, ...]:
    """The jars that the installed Spark needs; they may not be there yet. Raises as `needed`."""
    return needed().paths


def spark_jars(*, on_this_machine: bool) -> tuple[Path, ...]:
    """What `spark.jars` is to name; it may not be there yet. Raises as `needed`.

    Args:
        on_this_machine: driver and tasks are one process; else the jars travel to the executors.
    """
    found = needed()
    return (found.all_in_one,) if on_this_machine and found.jars else found.paths


def ensured(tell: Callable[[str], None]) -> tuple[Path, ...]:
    """The jars, downloaded now if any is missing.

    Args:
        tell: gets one line before a download; on a terminal a bar shows how far it is instead.

    Raises:
        JarsMissingError: they cannot be had, or, as for `needed`, are not known.
    """
    found = needed()
    if found.complete:
        return found.paths
    try:
        found.folder.mkdir(parents=True, exist_ok=True)
        with (found.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once: the second waits and finds it done
            for left in found.folder.glob("incoming-*"):  # by a download that was killed
                left.unlink(missing_ok=True)
            _fetch(
                [jar for jar in found.jars if not _is_there(found.folder / jar.name)], found, tell
            )
            with _incoming(found.all_in_one) as file:
                _write_all_in_one(file, [jar.name for jar in found.jars])
    except OSError as fault:
        raise JarsMissingError(
            f"The jars for s3a:// cannot be kept in {found.folder}: {fault}"
        ) from None
    return found.paths


def _fetch(missing: Sequence[Jar], found: Needed, tell: Callable[[str], None]) -> None:
    local = Path.home() / ".m2" / "repository"
    absent = [one for one in missing if not _copied(local / one.path, one, found.folder / one.name)]
    if not absent:
        return
    mirror = os.environ.get(REPOSITORY)
    repository = (mirror or _maven_central()).rstrip("/")
    source = urlsplit(_without_credentials(mirror)).netloc if mirror else "Maven Central"
    megabytes = sum(jar.size for jar in absent) / 1e6
    what = f"Downloading {len(absent)} jars ({megabytes:.0f} MB) for s3a:// from {source}"
    with _shown(what, sum(jar.size for jar in absent), tell) as advance:
        pool, stop = ThreadPoolExecutor(_AT_ONCE), threading.Event()
        try:
            downloads = [
                pool.submit(_download, f"{repository}/{jar.path}", jar, found.folder, advance, stop)
                for jar in absent
            ]
            for one in as_completed(downloads):
                one.result()
        finally:
            stop.set()  # the first fault, and Ctrl-C, end the others too
            pool.shutdown(cancel_futures=True)


def _maven_central() -> str:
    """The address of Maven Central, as the resolver that Spark ships has it."""
    spark = _spark()
    assert spark is not None  # else nothing would be known to be needed
    (ivy,) = spark.glob("jars/ivy-*.jar")
    with zipfile.ZipFile(ivy) as jar:
        text = jar.read("org/apache/ivy/core/settings/repository.properties").decode("latin-1")
    found = re.search(r"^ivy\.ibiblio\.default\.artifact\.root\s*=\s*(\S+)", text, re.MULTILINE)
    assert found is not None
    return found[1]


def _without_credentials(url: str) -> str:
    """An address as it may be shown: a mirror's may hold a user and a token."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _download(
    url: str,
    jar: Jar,
    folder: Path,
    advance: Callable[[int], object],
    stop: threading.Event,
) -> None:
    digest, size, shown = hashlib.sha256(), 0, _without_credentials(url)
    try:
        with _incoming(folder / jar.name) as file:
            # Only https and what a person names in the environment.
            with urlopen(url, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                while (piece := reply.read(_PIECE)) and not stop.is_set():
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
                    advance(len(piece))
            if size < jar.size:
                raise ConnectionError(f"it ended after {size} of {jar.size} bytes")
            if digest.hexdigest() != jar.sha256:
                raise JarsMissingError(
                    f"{shown} is not the file that was locked (its SHA-256 is"
                    f" {digest.hexdigest()[:12]}…, not {jar.sha256[:12]}…): is {REPOSITORY} a true"
                    " mirror of Maven Central, or does a proxy answer for it?"
                )
    except (URLError, HTTPException, ConnectionError, TimeoutError, SSLError) as fault:
        why = fault if isinstance(fault, HTTPError) else getattr(fault, "reason", fault)
        raise JarsMissingError(
            f"A jar that s3a:// needs cannot be downloaded from {shown} ({why}): connect to the"
            f" network, or set {REPOSITORY} to a mirror of Maven Central, or put the jars that"
            f" {LOCK} lists into {folder}."
        ) from None


def _copied(source: Path, jar: Jar, target: Path) -> bool:
    """Whether another tool of this machine has had the file already."""
    try:
        if source.stat().st_size != jar.size:
            return False
        if hashlib.sha256(source.read_bytes()).hexdigest() != jar.sha256:
            return False
    except OSError:
        return False
    with _incoming(target) as file, source.open("rb") as there:
        shutil.copyfileobj(there, file)
    return True


@contextmanager
def _incoming(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only once it is whole."""
    opened, name = tempfile.mkstemp(dir=target.parent, prefix="incoming-")
    draft = Path(name)
    try:
        with os.fdopen(opened, "wb") as file:
            yield file
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _write_all_in_one(file: IO[bytes], names: Sequence[str]) -> None:
    line = f"Class-Path: {' '.join(names)}"
    # A line that goes on begins with a space.
    more = (f" {line[at : at + _LINE - 1]}" for at in range(_LINE, len(line), _LINE - 1))
    manifest = "\r\n".join(["Manifest-Version: 1.0", line[:_LINE], *more, "", ""])
    with zipfile.ZipFile(file, "w") as jar:
        jar.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), manifest)


@contextmanager
def _shown(what: str, total: int, tell: Callable[[str], None]) -> Iterator[Callable[[int], object]]:
    """Says what is being done, and on a terminal how far it is; takes the bytes that came."""
    if not sys.stderr.isatty():
        tell(f"{what} …")
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda size: progress.advance(task, size)


def _spark() -> Path | None:
    """The folder of the Spark that pyspark would use; whether it can run is not looked at."""
    home = os.environ.get("SPARK_HOME")
    if home:
        return Path(home)
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


@cache
def _locked_jars() -> dict[str, tuple[Jar, ...]]:
    locked = json.loads(LOCK.read_text(encoding="utf-8"))
    return {
        hadoop: tuple(Jar(_maven_path(one["jar"]), one["bytes"], one["sha256"]) for one in jars)
        for hadoop, jars in locked.items()
        if hadoop != "about"
    }


def _maven_path(coordinates: str) -> str:
    group, artifact, version = coordinates.split(":")
    return f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


def _is_there(file: Path) -> bool:
    return os.path.exists(file)  # noqa: PTH110 - pathlib's raises where it may not look


def _main() -> None:
    try:
        found = ensured(lambda line: print(line, flush=True))  # noqa: T201
    except JarsMissingError as fault:
        sys.exit(str(fault))
    print(f"{len(found)} jars for s3a:// in {needed().folder}")  # noqa: T201


if __name__ == "__main__":
    _main()
