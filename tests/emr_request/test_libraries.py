"""A step's libraries: pinned as they are here, gathered for the cluster's Python."""

from __future__ import annotations

import importlib.metadata
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ascii_hydra.config.choices import Architecture
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.libraries import archive_upload, built, pinned
from ascii_hydra.engines.payload import Libraries
from tests.emr_request.asking import asked, run_of

ARM, X86 = Architecture.arm64, Architecture.x86_64


def version(name: str) -> str:
    return importlib.metadata.version(name)


def test_what_has_no_version_gets_the_one_that_is_here() -> None:
    made = pinned(["tldextract", "idna>=2", "rich==1.0"], "libraries", "3.11", X86)
    assert made.requirements == (
        f"idna=={version('idna')}",
        "rich==1.0",
        f"tldextract=={version('tldextract')}",
    )
    needs = {one.split("==")[0] for one in made.constraints}
    # tldextract needs requests, which needs urllib3; of rich 1.0 nothing is known here.
    assert {"requests", "requests-file", "urllib3", "filelock"} <= needs
    assert not needs & {"idna", "markdown-it-py", "rich"}
    assert made.platforms[0] == "manylinux_2_34_x86_64"
    assert made.platforms[-1] == "manylinux2014_x86_64"


def test_markers_and_extras_are_the_clusters() -> None:
    made = pinned(["moto[s3]"], "libraries", "3.11", ARM)
    assert made.requirements == (f"moto[s3]=={version('moto')}",)
    assert any(one.startswith("py-partiql-parser==") for one in made.constraints)
    assert not any(one.startswith("flask==") for one in made.constraints)


def test_every_library_that_cannot_be_pinned_is_told(tmp_path: Path) -> None:
    words = ["nosuchlibrary", "idna>=99", "a b", "idna @ https://x/y.whl", f"{tmp_path}/no.whl"]
    with pytest.raises(ConfigError) as told:
        pinned(words, "pipeline.steps.a.libraries", "3.11", X86)
    said = [str(one) for one in told.value.problems]
    assert [one.split(":")[0].split("=")[0] for one in said] == [
        f"pipeline.steps.a.libraries[{number}]" for number in range(5)
    ]
    assert "is not installed here; write nosuchlibrary==version." in said[0]
    assert f"{version('idna')} is installed here, which is none of these" in said[1]
    assert "there is no file" in said[4]


def test_the_archives_name_is_all_that_decides_its_content(tmp_path: Path) -> None:
    def uri(libraries: Libraries) -> str:
        return archive_upload("s3://b/x", libraries).uri

    base = uri(pinned(["idna", "rich"], "l", "3.11", X86))
    assert base == uri(pinned(["rich", "idna"], "l", "3.11", X86))
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"1")
    others = [
        uri(pinned(["idna"], "l", "3.11", X86)),
        uri(pinned(["idna", "rich"], "l", "3.12", X86)),
        uri(pinned(["idna", "rich"], "l", "3.11", ARM)),
        uri(pinned(["idna", "rich"], "l", "3.11", None)),
        uri(pinned(["idna", "rich", str(wheel)], "l", "3.11", X86)),
    ]
    wheel.write_bytes(b"2")
    others.append(uri(pinned(["idna", "rich", str(wheel)], "l", "3.11", X86)))
    assert len({base, *others}) == len(others) + 1


def test_the_architecture_is_that_of_the_workers() -> None:
    def platforms(*overrides: str) -> tuple[str, ...]:
        (upload,) = (
            one for one in asked(run_of(*overrides, libraries=("idna",))).uploads if one.libraries
        )
        assert upload.libraries is not None
        return upload.libraries.platforms

    graviton = (
        "cluster.worker_instance_types=[m6gd.xlarge]",
        "cluster.primary_instance_types=[m6gd.xlarge]",
    )
    assert platforms()[-1].endswith("x86_64")
    assert platforms(*graviton)[-1].endswith("aarch64")
    assert platforms(*graviton, "endpoint=rehearsal") == ()


def test_libraries_of_the_engine_are_every_steps_and_the_steps_own_version_wins() -> None:
    shared = "engine.libraries=['six==1.16.0','attrs==23.1.0']"
    (archive,) = [one for one in asked(run_of(shared)).uploads if one.libraries is not None]
    assert archive.libraries is not None
    assert archive.libraries.requirements == ("attrs==23.1.0", "six==1.16.0")
    run = run_of(shared, libraries=("Six==1.17.0",))
    (archive,) = [one for one in asked(run).uploads if one.libraries is not None]
    assert archive.libraries is not None
    assert archive.libraries.requirements == ("Six==1.17.0", "attrs==23.1.0")
    with pytest.raises(ConfigError) as fault:
        asked(run_of("engine.libraries=[no such]", libraries=("nosuchlibrary",)))
    assert [one.where for one in fault.value.problems] == [
        "engine.libraries[0]=no such",
        "pipeline.steps.step_1.libraries[0]=nosuchlibrary",
    ]


def test_a_wheel_is_gathered_without_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = made_wheel(tmp_path)
    made = built(pinned([str(wheel)], "l", "3.11", ARM))
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert "house/__init__.py" in names
    assert not any("__pycache__" in one for one in names)
    archive = tmp_path / "libraries.zip"
    archive.write_bytes(made)
    shown = subprocess.run(
        [sys.executable, "-S", "-c", "import house; print(house.NUMBER)"],
        env={"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "7\n"
    with pytest.raises(ConfigError) as told:
        built(pinned([str(wheel), "nosuchlibrary==1.0"], "l", "3.11", ARM))
    assert str(told.value) == (
        "libraries: cannot gather house-1.0-py3-none-any.whl, nosuchlibrary==1.0 for the cluster:"
        " the package index has no wheel of nosuchlibrary==1.0 for Python 3.11 on aarch64."
    )


def test_an_archive_for_another_machine_is_the_same_whenever_it_is_made() -> None:
    wanted = pinned(["lxml"], "l", "3.11", ARM)
    made = built(wanted)
    assert any("aarch64" in one for one in zipfile.ZipFile(io.BytesIO(made)).namelist())
    assert built(wanted) == made


def made_wheel(folder: Path) -> Path:
    path = folder / "house-1.0-py3-none-any.whl"
    info = "house-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("house/__init__.py", "NUMBER = 7\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: house\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
