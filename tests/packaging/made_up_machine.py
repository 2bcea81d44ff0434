"""A made-up machine: a copy of the set-up files and a PATH that holds what a test puts there.

Beside conftest.py, because tests import it by name: this folder can be no package, which would hide
the library `packaging`.
"""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SETUP_FILES = ("Makefile", "pixi.toml", "pyproject.toml", "requirements.lock", "scripts", ".ci")
# As the guide has them: `pixi run start`, `pixi run -e ci fmt`, `pixi run -e testing test` ...
TARGETS = [
    ("default", "start"),
    ("default", "run"),
    ("default", "rehearsal"),
    ("testing", "test"),
    ("testing", "bench"),
    ("ci", "fmt"),
    ("ci", "lint"),
]
# What the scripts and make itself use of any Unix.
UNIX = ("awk", "bash", "cat", "chmod", "cksum", "dirname", "head", "make", "mkdir", "rm", "sed")
UNIX += ("sh", "touch")

# Notes how it was called; `uv venv` makes an environment whose Python notes how it was called.
UV = """
case "$1 $*" in
"--version "*) echo uv 1.0; exit ;;
"venv "*)
    mkdir -p .venv/bin
    cp_python .venv/bin/python ;;
esac
echo "uv $*" >>"$LOG"
[ ! -e out_of_disk ] || { echo "uv: no space left" >&2; exit 2; }
"""
VENV_PYTHON = 'echo "python $*" >>"$LOG"; echo "JAVA_HOME=${JAVA_HOME-unset}" >>"$LOG.java"'


@dataclass
class Machine:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.folder / "project folder"  # a space, as in many a path on macOS

    def executable(self, name: str, script: str) -> Path:
        path = self.folder / name if "/" in name else self.folder / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def java(self, version: str, name: str = "java") -> None:
        self.executable(name, f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")

    def python(self, version: str, name: str = "python3", venv: bool = True) -> None:
        path = self.folder / "bin" / name
        self.executable(
            name,
            f"""case "$2" in
            *version_info*) echo {version} ;;
            *ensurepip*) exit {int(not venv)} ;;
            *executable*) echo '{path}' ;;
            esac""",
        )

    def uv(self) -> None:
        python = self.executable("venv-python", VENV_PYTHON)
        self.executable("uv", UV.replace("cp_python", f"cat '{python}' >") + "chmod +x .venv/bin/*")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder / "bin"), "LOG": str(self.folder / "log")}
        return subprocess.run(
            command,
            cwd=self.project,
            env=environment | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """Return how uv, pixi and the environment's Python were called since this was asked."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


def bare(folder: Path) -> Machine:
    """Return a machine with neither Java nor Python nor pixi."""
    machine = Machine(folder)
    machine.project.mkdir()
    for name in SETUP_FILES:
        source, target = PROJECT / name, machine.project / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / "bin").mkdir()
    for name in UNIX:
        found = shutil.which(name)
        assert found, f"these tests need {name}"
        (folder / "bin" / name).symlink_to(found)
    return machine
