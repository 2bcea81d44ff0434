"""A step's `libraries`: pinned to what this environment has, and gathered into one archive.

The archive is unpacked beside the step on every node of a cluster and stands on its PYTHONPATH, so
that no bootstrap action is needed and a shared cluster serves steps of different needs.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ascii_hydra.config.choices import Architecture
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.settle import StepSettings, located
from ascii_hydra.engines.payload import Libraries, Upload, payload_uri, zipped

ARCHIVE_NAME = "libraries.zip"
# glibc of Amazon Linux 2023, which EMR runs on from 7.0.0 on, down to manylinux2014's.
_GLIBC_NEWEST, _GLIBC_OLDEST = 34, 17
_MACHINES = {Architecture.x86_64: "x86_64", Architecture.arm64: "aarch64"}
# More than any healthy index needs.
_PIP_TIMEOUT_S = 600
_TICK_S = 0.1


def step_libraries(
    step: StepSettings, python_version: str, architecture: Architecture | None
) -> Libraries | None:
    """What a step's own `libraries` and its engine's come to on a cluster, or None if it has none.
    Of a package that both name, the step's version is taken.

    Args:
        step: the step.
        python_version, architecture: see `pinned`.

    Raises:
        ConfigError: with every library that cannot be pinned, by its configuration key.
    """
    own, shared = step.config.libraries, step.engine.libraries
    where = f"pipeline.steps.{step.name}.libraries"
    problems: list[Problem] = []
    for texts, at in ((shared, "engine.libraries"), (own, where)):
        try:
            pinned(texts, at, python_version, architecture)
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    named = {_name(text) for text in own}
    together = (*own, *(text for text in shared if _name(text) not in named))
    return pinned(together, where, python_version, architecture) if together else None


def pinned(
    libraries: Sequence[str], where: str, python_version: str, architecture: Architecture | None
) -> Libraries:
    """What a step's libraries come to on a cluster.

    Args:
        libraries: `name`, `name==version`, `name[extra]>=version`, or the path of a wheel. One
            without a version, or with a range, gets the version installed here, so that cluster
            and laptop agree.
        where: their configuration key.
        python_version: the cluster's.
        architecture: the cluster's; None for a rehearsal, which runs on this machine with this
            Python.

    Raises:
        ConfigError: with every library that cannot be pinned.
    """
    here = architecture is None
    version = f"{sys.version_info[0]}.{sys.version_info[1]}" if here else python_version
    platforms = () if architecture is None else tuple(_platforms(architecture))
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    if architecture is not None:
        environment |= {
            "platform_machine": _MACHINES[architecture],
            "platform_system": "Linux",
            "sys_platform": "linux",
            "os_name": "posix",
        }
    problems: list[Problem] = []
    requirements: list[str] = []
    roots: list[Requirement] = []
    for number, text in enumerate(libraries):
        try:
            if text.endswith(".whl"):
                requirements.append(_wheel(text))
            else:
                roots.append(_pinned(text))
                requirements.append(str(roots[-1]))
        except _UnpinnableError as fault:
            problems.append(Problem(f"{where}[{number}]={text}", str(fault)))
    if problems:
        raise ConfigError(problems)
    return Libraries(
        requirements=tuple(sorted(requirements)),
        constraints=tuple(_constraints(roots, environment)),
        python_version=version,
        platforms=platforms,
    )


def archive_upload(staging_root: str, libraries: Libraries) -> Upload:
    """The upload of the archive, named by everything that decides its content."""
    parts = [
        f"{Path(one).name}@{hashlib.sha256(Path(one).read_bytes()).hexdigest()}"
        if one.endswith(".whl")
        else one
        for one in libraries.requirements
    ]
    machine = libraries.platforms or (sys.platform, platform.machine())
    decides = [parts, libraries.constraints, libraries.python_version, machine]
    uri = payload_uri(staging_root, json.dumps(decides).encode(), ARCHIVE_NAME)
    return Upload(uri, libraries=libraries)


def built(libraries: Libraries, stop: threading.Event | None = None) -> bytes:
    """The archive. Asks pip and its package index, which takes seconds.

    Args:
        libraries: what goes into it.
        stop: ends pip once it is set.

    Raises:
        ConfigError: pip cannot gather them; the problem says which, and why.
        InterruptedError: stopped.
    """
    with tempfile.TemporaryDirectory(prefix="ascii_hydra_libraries_") as folder:
        target = Path(folder) / "target"
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{one}\n" for one in libraries.constraints))
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile"]
        words += ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(target)]
        words += ["--constraint", str(constraints)]
        if libraries.platforms:
            words += ["--implementation", "cp", "--python-version", libraries.python_version]
            words += [word for one in libraries.platforms for word in ("--platform", one)]
        try:
            code, said = _ended([*words, "--", *libraries.requirements], stop or threading.Event())
        except subprocess.TimeoutExpired:
            raise _refused(libraries, f"pip was not done after {_PIP_TIMEOUT_S} s") from None
        if code:
            raise _refused(libraries, _why(said, libraries))
        return zipped(dict(_files(target)))


def _ended(command: Sequence[str], stop: threading.Event) -> tuple[int, str]:
    """Exit code and stderr of a command. Whatever happens, its process has ended afterwards."""
    deadline = time.monotonic() + _PIP_TIMEOUT_S
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    try:
        while True:
            try:
                _, said = process.communicate(timeout=_TICK_S)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    raise InterruptedError("stopped while pip gathers libraries") from None
                if time.monotonic() >= deadline:
                    raise
            else:
                return process.returncode, said
    finally:
        process.kill()
        process.wait()


def _refused(libraries: Libraries, why: str) -> ConfigError:
    names = ", ".join(Path(one).name for one in libraries.requirements)
    return ConfigError([Problem("libraries", f"cannot gather {names} for the cluster: {why}.")])


def _why(said: str, libraries: Libraries) -> str:
    """Pip's failure in one clause."""
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.strip()]
    at = f"Python {libraries.python_version}"
    if libraries.platforms:
        at += f" on {libraries.platforms[-1].split('_', 1)[1]}"
    if any(one in said for one in ("NewConnectionError", "ConnectTimeout", "Max retries")):
        return "the package index cannot be reached"
    for line in lines:
        if line.startswith("No matching distribution found for "):
            wanted = line.removeprefix("No matching distribution found for ").split(" (from")[0]
            return f"the package index has no wheel of {wanted} for {at}"
        if "is not a supported wheel on this platform" in line:
            return f"{line.split(' is not')[0]} is not for {at}"
    told = [line for line in lines if not line.startswith(("WARNING", "[notice]"))]
    return told[-1].rstrip(".") if told else "pip failed without a word"


def _files(target: Path) -> Iterator[tuple[str, bytes]]:
    for path in target.rglob("*"):
        name = path.relative_to(target)
        # Commands of packages, with this machine's Python in their first line.
        if path.is_file() and name.parts[0] != "bin" and "__pycache__" not in name.parts:
            yield name.as_posix(), path.read_bytes()


def _platforms(architecture: Architecture) -> Iterator[str]:
    machine = _MACHINES[architecture]
    for minor in range(_GLIBC_NEWEST, _GLIBC_OLDEST - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
    yield f"manylinux2014_{machine}"


class _UnpinnableError(Exception):
    """Why a library has no one version."""


def _name(text: str) -> str:
    """The package that a library is of."""
    if text.endswith(".whl"):
        return canonicalize_name(Path(text).name.partition("-")[0])
    return canonicalize_name(Requirement(text).name)


def _wheel(text: str) -> str:
    path = located(text).resolve()
    if not path.is_file():
        raise _UnpinnableError(f"there is no file {path}.")
    return str(path)


def _pinned(text: str) -> Requirement:
    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        raise _UnpinnableError(
            "write name, name==version, name[extra]>=version or the path of a wheel."
        ) from None
    if wanted.url is not None:
        raise _UnpinnableError("an address is not taken; name a version or a wheel's path.")
    exact = [one for one in wanted.specifier if one.operator == "==" and "*" not in one.version]
    if len(exact) == 1 and len(wanted.specifier) == 1:
        return wanted
    installed = _installed(wanted.name)
    if installed is None:
        raise _UnpinnableError(f"is not installed here; write {wanted.name}==version.")
    if not wanted.specifier.contains(installed.version, prereleases=True):
        raise _UnpinnableError(
            f"{installed.version} is installed here, which is none of these;"
            f" write {wanted.name}==version."
        )
    return _exactly(wanted, installed.version)


def _exactly(wanted: Requirement, version: str) -> Requirement:
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    marker = f"; {wanted.marker}" if wanted.marker else ""
    # A local version (1.0+cpu) is on no index.
    return Requirement(f"{wanted.name}{extras}=={Version(version).public}{marker}")


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _constraints(roots: Sequence[Requirement], environment: Mapping[str, str]) -> list[str]:
    """`name==version` of all that the roots need in turn, as it is installed here. What a root of
    another version than the installed one needs is not known, and left to pip."""
    found: dict[str, str] = {}
    asked = {canonicalize_name(one.name) for one in roots}
    waiting = list(roots)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        installed = _installed(one.name)
        if (
            key in seen
            or installed is None
            or not one.specifier.contains(installed.version, prereleases=True)
        ):
            continue
        seen.add(key)
        if key[0] not in asked:
            found[key[0]] = Version(installed.version).public
        for text in installed.requires or ():
            need = Requirement(text)
            extras = one.extras or {""}
            if need.marker is None or any(
                need.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                waiting.append(need)
    return [f"{name}=={version}" for name, version in sorted(found.items())]
