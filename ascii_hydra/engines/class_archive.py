"""An archive of Spark's classes, as Java has read and checked them: it halves Spark's start.

Java calls it class data sharing. The archive fits one Java and one Spark at one place; its file
name says which. `python -m ascii_hydra.engines.class_archive` builds it (under a minute).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ascii_hydra.engines.spark_launch import Installation, SparkMissingError, step_environment

_BUILD_TIMEOUT_S = 300.0
_COMMAND = "python -m ascii_hydra.engines.class_archive"
_failed: set[str] = set()  # places of archives that could not be built, nor that be written down


def folder() -> Path:
    """Where archives are kept: ASCII_HYDRA_CACHE, else the user's cache folder."""
    own = os.environ.get("ASCII_HYDRA_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "ascii_hydra")


def stem(installed: Installation) -> str:
    """How the archive's file name begins: another Java or Spark has another one."""
    place = _digest(str(installed.java), str(installed.spark.resolve()))
    release = installed.java.parent.parent / "release"  # version and vendor, in every JDK's home
    java = release.read_text() if release.exists() else _stamp(installed.java)
    # Java compares the time of every jar, so a Spark installed anew needs a new archive.
    version = _digest(java, installed.core_jar.name, _stamp(installed.core_jar))
    return f"spark-{place}-{version}"


def existing(installed: Installation) -> Path | None:
    """The archive that fits, or None."""
    for archive in folder().glob(f"{stem(installed)}-*.jsa"):
        # Java passes over an archive that does not fit, but not over one that was cut short.
        with suppress(FileNotFoundError):  # removed meanwhile
            if archive.stem.rpartition("-")[2] == str(archive.stat().st_size):
                return archive
    return None


def ensured(say: Callable[[str], None], *, again: bool = False) -> Path | None:
    """The archive that fits, built now if it is missing.

    None where it cannot be built: everything works without it, only slower. A build that failed
    is not tried once more unless `again`. `say` gets one line before a build, and one if it failed.
    """
    try:
        installed = Installation.found()
    except SparkMissingError as fault:
        say(str(fault))
        return None
    if (archive := existing(installed)) is not None:
        return archive
    # Here, for that module looks for archives itself.
    from ascii_hydra.engines.spark_jvm import JvmStartError

    failed = _failure_marker(installed)
    if not again and (str(failed) in _failed or _is_there(failed)):
        return None
    try:
        return _built(installed, say, again=again)
    except (OSError, subprocess.SubprocessError, JvmStartError, SparkMissingError) as fault:
        say(
            f"The archive could not be built, steps start more slowly: {fault}"
            f" (to try again: {_COMMAND})"
        )
        _failed.add(str(failed))
        with suppress(OSError):
            failed.write_text(f"{fault}\n")
    return None


def _failure_marker(installed: Installation) -> Path:
    return folder() / f"{stem(installed)}.failed"


def _is_there(file: Path) -> bool:
    return os.path.exists(file)  # noqa: PTH110 - pathlib's raises where it may not look


def _built(installed: Installation, say: Callable[[str], None], *, again: bool) -> Path | None:
    kept = folder()
    kept.mkdir(parents=True, exist_ok=True)
    failed = _failure_marker(installed)
    with tempfile.TemporaryFile(dir=kept):  # before anything is said: it can be written
        pass
    with (kept / "lock").open("w") as lock:
        say(f"Archiving Spark's classes once, for quicker starts (about 40 s): {kept}")
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once: the second waits and finds it done
        if (archive := existing(installed)) is not None:
            return archive
        if _is_there(failed) and not again:  # the first one found that it cannot be done
            return None
        for left in kept.glob("building-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=kept) as name:
            draft = Path(name, "classes.jsa")
            _train(draft, Path(name))
            if not draft.exists():
                raise OSError("Java wrote no archive")
            archive = kept / f"{stem(installed)}-{draft.stat().st_size}.jsa"
            draft.replace(archive)
        place = "-".join(archive.stem.split("-")[:2])
        for stale in (*kept.glob(f"{place}-*.jsa"), *kept.glob(f"{place}-*.failed")):
            if stale != archive:
                stale.unlink(missing_ok=True)
        _failed.discard(str(failed))
    return archive


def _train(draft: Path, scratch: Path) -> None:
    from ascii_hydra.engines.jvm_spec import JvmSpec
    from ascii_hydra.engines.spark_jvm import SparkJvm

    quoted = f'"-XX:ArchiveClassesAtExit={draft}"'
    jvm = SparkJvm(
        JvmSpec(
            driver_memory_mib=1024,
            small_data=True,
            class_sharing=False,
            on_this_machine=True,
            launch_conf=(),
            environment=(),
            folder=str(scratch),
            java_options=f"{quoted} -Xlog:disable -Xlog:all=error:stderr",
        )
    )
    try:
        port, secret = jvm.connection()
        workload = Path(__file__).with_name("class_training.py")
        subprocess.run(
            [sys.executable, "-P", str(workload), str(scratch / "data")],
            env={
                **step_environment({}, on_this_machine=True),
                "PYSPARK_GATEWAY_PORT": str(port),
                "PYSPARK_GATEWAY_SECRET": secret,
            },
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_BUILD_TIMEOUT_S,
            check=True,
        )
        jvm.leave(_BUILD_TIMEOUT_S)
    finally:
        jvm.close()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


if __name__ == "__main__":
    # Without an archive everything works: what cannot be built is said, and is no fault.
    ensured(lambda line: print(line, flush=True), again=True)  # noqa: T201
