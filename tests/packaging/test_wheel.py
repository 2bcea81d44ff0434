"""The wheel holds all that a run needs, and nothing of the machine it was built on."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from made_up_machine import PROJECT

FOLDERS = ("ascii_hydra", "conf", "samples", "steps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(PROJECT / name, source)
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, source / name)
    (source / "conf/local").mkdir(exist_ok=True)
    (source / "conf/local/private.yaml").write_text("bucket: mine\n")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_package_configuration_steps_and_samples(wheel: Path) -> None:
    files = {
        path.relative_to(PROJECT)
        for folder in FOLDERS
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected = {
        path.as_posix() if path.parts[0] == "ascii_hydra" else f"ascii_hydra/{path.as_posix()}"
        for path in files
        if path.parts[:2] != ("conf", "local")
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in held if "/conf/local/" not in name} == expected
    assert {name.split("/")[1] for name in held} >= {"conf", "steps", "samples"}


def test_the_wheel_holds_nothing_of_this_machine(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in held if "private" in name or "__pycache__" in name]


def test_an_installed_wheel_composes_anywhere(
    wheel: Path, tmp_path: Path, child_environment: dict[str, str]
) -> None:
    """In an environment of its own, that sees this one's dependencies but not this folder."""
    venv.create(tmp_path / "env")
    scheme = {"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    zipfile.ZipFile(wheel).extractall(site)
    # A folder named in a .pth file is searched, but its own .pth files, such as the one of the
    # editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [tmp_path / "env/bin/python", *arguments],
            cwd=elsewhere,
            env=child_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(site) in run("-c", "import ascii_hydra; print(ascii_hydra.__file__)")
    assert "two_steps" in run("-m", "ascii_hydra", "--cfg", "job")
