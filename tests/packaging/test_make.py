"""Each make target runs the task of its name: through pixi, else in an environment make makes."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_machine import PROJECT, TARGETS, Machine

ARGUMENTS = 'ARGS=engine=emr "a b"'
ARCHIVE = "python scripts/task.py default class-archive"


@pytest.mark.parametrize(("environment", "task"), TARGETS)
def test_through_pixi(bare_machine: Machine, environment: str, task: str) -> None:
    bare_machine.executable("pixi", 'for word in pixi "$@"; do printf "%s|" "$word"; done >>"$LOG"')
    assert bare_machine.run("make", task, ARGUMENTS).returncode == 0
    assert bare_machine.calls()[0].endswith(f"pixi|run|-e|{environment}|{task}|engine=emr|a b|")
    assert not (bare_machine.project / ".venv").exists()


def test_set_up_through_pixi(bare_machine: Machine) -> None:
    bare_machine.executable("pixi", 'echo "pixi $*" >>"$LOG"')
    assert bare_machine.run("make", "setup").returncode == 0
    assert bare_machine.calls() == ["pixi install --all", "pixi run -e default class-archive"]


@pytest.mark.parametrize(("environment", "task"), TARGETS)
def test_without_pixi(machine: Machine, environment: str, task: str) -> None:
    done = machine.run("make", task, ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert not done.stdout, "stdout belongs to the task"
    assert machine.calls()[-1] == f"python scripts/task.py {environment} {task} engine=emr a b"


def test_pixi_can_be_refused(machine: Machine) -> None:
    machine.executable("pixi", "exit 1")
    assert machine.run("make", "PIXI=", "test").returncode == 0
    assert machine.calls()[-1] == "python scripts/task.py testing test"


def test_pythonpath_of_the_user_is_left_out(machine: Machine) -> None:
    machine.environment["PYTHONPATH"] = "/elsewhere"
    machine.executable("venv-python", 'echo "PYTHONPATH=${PYTHONPATH-unset}" >>"$LOG"')
    machine.run("make", "test")
    assert machine.calls()[-1] == "PYTHONPATH=unset"


def test_a_task_runs_with_the_tools_of_its_environment(child_environment: dict[str, str]) -> None:
    """The real Python, the real pixi.toml: what `make test ARGS=--version` comes to."""
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts/task.py", "testing", "test", "--version"],
        env=child_environment | {"PATH": os.defpath},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pytest 9" in done.stdout + done.stderr


def test_a_task_ends_at_the_first_command_that_fails(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts/task.py", tmp_path / "scripts")
    (tmp_path / "pixi.toml").write_text(
        """
        [tasks]
        bad = { cmd = "python -c 'print(1)' && python -c 'exit(3)' && python -c 'print(2)'" }
        good = { cmd = "python -c 'print(1)' && python -c 'import sys; print(sys.argv[1:])'" }
        [environments]
        """
    )

    def run(*arguments: str) -> tuple[int, list[str]]:
        command = [sys.executable, "scripts/task.py", "default", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    assert run("bad") == (3, ["1"])
    assert run("good", "a b", "c") == (0, ["1", "['a b', 'c']"])


def test_uv_installs_what_is_locked(machine: Machine) -> None:
    machine.run("make", "setup")
    python = machine.folder / "bin/python3"
    install = "uv pip install --quiet --python .venv/bin/python"
    assert machine.calls() == [
        f"uv venv --quiet --python {python} .venv",
        f"{install} --compile-bytecode --require-hashes -r requirements.lock",
        f"{install} --no-deps --no-build-isolation -e .",
        ARCHIVE,
    ]


def test_pip_installs_the_same_where_there_is_no_uv(machine: Machine) -> None:
    (machine.folder / "bin/uv").unlink()
    made = '.venv/bin; cat "${0%/*}/venv-python" >.venv/bin/python; chmod +x .venv/bin/python'
    python = (machine.folder / "bin/python3").read_text()
    machine.executable(
        "python3",
        f'if [ "$1" = -m ]; then echo "base $*" >>"$LOG"; mkdir -p {made}; exit; fi\n{python}',
    )
    assert machine.run("make", "setup").returncode == 0
    assert machine.calls() == [
        "base -m venv .venv",
        "python -m pip install --quiet --require-hashes -r requirements.lock",
        "python -m pip install --quiet --no-deps --no-build-isolation -e .",
        ARCHIVE,
    ]


def test_a_fresh_environment_is_left_alone(machine: Machine) -> None:
    machine.run("make", "setup")
    machine.calls()
    started = time.perf_counter()
    done = machine.run("make", "setup")
    assert time.perf_counter() - started < 1  # 0.1 s of it is Java's to state its version
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls() == []
    (machine.project / "pyproject.toml").touch()
    machine.run("make", "setup")
    assert machine.calls() == [ARCHIVE], "a file that was only touched makes no environment"


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_changed_dependencies_make_it_anew(machine: Machine, name: str) -> None:
    machine.run("make", "setup")
    machine.calls()
    stray = machine.project / ".venv/stray"
    stray.touch()
    with (machine.project / name).open("a") as file:
        file.write("# changed\n")
    assert machine.run("make", "lint").returncode == 0
    assert machine.calls()[0].startswith("uv venv")
    assert not stray.exists()


def test_a_half_made_environment_is_made_again(machine: Machine) -> None:
    (machine.project / "out_of_disk").touch()
    done = machine.run("make", "test")
    assert done.returncode != 0
    assert "uv: no space left" in done.stderr
    assert machine.calls()[-1].startswith("uv venv"), "no task runs in half an environment"
    (machine.project / "out_of_disk").unlink()
    assert machine.run("make", "test").returncode == 0
    assert machine.calls()[0].startswith("uv venv")


def test_a_moved_environment_is_made_again(machine: Machine) -> None:
    machine.run("make", "setup")
    machine.calls()
    elsewhere = replace(machine, folder=machine.folder / "elsewhere")
    shutil.copytree(machine.folder, elsewhere.folder, symlinks=True)
    elsewhere.run("make", "test")
    assert elsewhere.calls()[0].startswith("uv venv")


def test_an_environment_whose_python_is_gone_is_made_again(machine: Machine) -> None:
    machine.run("make", "setup")
    machine.calls()
    (machine.project / ".venv/bin/python").unlink()
    machine.run("make", "test")
    assert machine.calls()[0].startswith("uv venv")


def test_the_class_archive_is_built_once_per_set_of_dependencies(machine: Machine) -> None:
    machine.run("make", "run")
    assert machine.calls()[-2:] == [ARCHIVE, "python scripts/task.py default run"]
    machine.run("make", "test")
    assert machine.calls() == ["python scripts/task.py testing test"]
    with (machine.project / "requirements.lock").open("a") as file:
        file.write("# changed\n")
    machine.run("make", "run")
    assert ARCHIVE in machine.calls()
    machine.run("make", "lint")
    assert machine.calls() == ["python scripts/task.py ci lint"]


def test_the_class_archive_is_built_once_through_pixi(bare_machine: Machine) -> None:
    bare_machine.executable("pixi", 'echo "pixi $*" >>"$LOG"')
    bare_machine.run("make", "run")
    assert bare_machine.calls() == ["pixi run -e default class-archive", "pixi run -e default run"]
    bare_machine.run("make", "test")
    assert bare_machine.calls() == ["pixi run -e testing test"]


@pytest.mark.parametrize("target", ["start", "run", "rehearsal", "test", "bench"])
def test_what_is_said_of_the_class_archive_stays_out_of_stdout(
    machine: Machine, target: str
) -> None:
    machine.executable("venv-python", 'echo "$3 speaks"')
    done = machine.run("make", target)
    assert (done.returncode, done.stdout) == (0, f"{target} speaks\n")
    assert "class-archive speaks" in done.stderr


def test_clean_leaves_what_is_not_makes_own(machine: Machine) -> None:
    machine.run("make", "setup")
    (machine.project / ".pixi/envs").mkdir(parents=True)
    kept = [machine.project / name for name in (".pixi/config.toml", "outputs", ".dagster_home")]
    for path in kept:
        path.touch()
    assert machine.run("make", "clean").returncode == 0
    assert not (machine.project / ".venv").exists()
    assert not (machine.project / ".pixi/envs").exists()
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("command", [("make",), ("make", "help")])
def test_help_lists_every_target(bare_machine: Machine, command: tuple[str, ...]) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE)) - {"prepare", "install"}
    done = bare_machine.run(*command)
    listed = dict(re.findall(r"^  make ([a-z]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(listed) == targets >= {task for _, task in TARGETS} | {"setup", "clean"}
