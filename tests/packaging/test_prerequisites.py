"""Where Java or Python is missing or too old, one sentence says which, where, and how to get it."""

import pytest
from made_up_machine import Machine


def complaints(machine: Machine, target: str = "setup") -> list[str]:
    """Return what `make TARGET` complains about, without make's own closing line."""
    done = machine.run("make", target)
    lines = done.stderr.splitlines()
    assert done.returncode != 0
    assert not done.stdout
    assert lines.pop().startswith("make: ***")
    assert not machine.calls(), "nothing is made before all is there"
    return lines


def test_both_missing_are_told_at_once(bare_machine: Machine) -> None:
    java, python = complaints(bare_machine)
    assert java == (
        "Java 17 or newer is needed to run Spark. Looked at JAVA_HOME (not set) and at java on PATH"
        " (none). Install one, e.g. `apt-get install openjdk-17-jdk-headless` or `brew install"
        " openjdk@17`, or let pixi bring it: https://pixi.sh"
    )
    assert python == (
        "Python 3.11 or newer, below 3.14, is needed. Looked on PATH for python3.13 (none),"
        " python3.12 (none), python3.11 (none), python3 (none), python (none). Install one, e.g."
        " `apt-get install python3 python3-venv` or `brew install python@3.13`, name one with"
        " `make PYTHON=/path/to/python`, or let pixi bring it: https://pixi.sh"
    )


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "16"])
def test_java_too_old(machine: Machine, version: str) -> None:
    machine.java(version)
    (complaint,) = complaints(machine, "test")
    assert complaint.startswith("Java 17 or newer is needed")
    assert f"java on PATH (version {version})" in complaint


def test_the_java_placeholder_of_macos_is_no_java(machine: Machine) -> None:
    machine.executable("java", "echo 'Unable to locate a Java Runtime.' >&2; exit 1")
    (complaint,) = complaints(machine)
    assert "java on PATH (none)" in complaint


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.3", "25-ea"])
def test_java_new_enough(machine: Machine, version: str) -> None:
    machine.java(version)
    assert machine.run("make", "setup").returncode == 0


def test_java_that_talks_of_its_options(machine: Machine) -> None:
    machine.executable(
        "java",
        """echo 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2
        echo 'openjdk version "21.0.3" 2024-04-16' >&2""",
    )
    assert machine.run("make", "setup").returncode == 0


def test_java_home_comes_first(machine: Machine) -> None:
    machine.java("11.0.2")
    machine.java("21", name="jdk/bin/java")
    machine.environment["JAVA_HOME"] = home = str(machine.folder / "jdk")
    assert machine.run("make", "test").returncode == 0
    assert (machine.folder / "log.java").read_text().splitlines()[-1] == f"JAVA_HOME={home}"


@pytest.mark.parametrize(("inside", "words"), [(None, "none"), ("11.0.2", "version 11.0.2")])
def test_a_bad_java_home(machine: Machine, inside: str | None, words: str) -> None:
    if inside:
        machine.java(inside, name="old/bin/java")
    machine.environment["JAVA_HOME"] = home = str(machine.folder / "old")

    # Spark would take JAVA_HOME before PATH, so it is left aside where PATH has a good one ...
    done = machine.run("make", "test")
    assert done.returncode == 0
    assert f"JAVA_HOME={home} ({words}) is left aside for java on PATH (17.0.15)." in done.stderr
    assert (machine.folder / "log.java").read_text().splitlines()[-1] == "JAVA_HOME=unset"

    # ... and named where PATH has none.
    machine.calls()
    (machine.folder / "bin/java").unlink()
    (complaint,) = complaints(machine, "test")
    assert f"Looked at JAVA_HOME={home} ({words}) and at java on PATH (none)." in complaint


def test_formatting_and_linting_need_no_java(machine: Machine) -> None:
    (machine.folder / "bin/java").unlink()
    assert machine.run("make", "lint").returncode == 0


@pytest.mark.parametrize("version", ["2.7.18", "3.6.15", "3.10.13", "3.14.0"])
def test_python_out_of_range(machine: Machine, version: str) -> None:
    machine.python(version)
    (complaint,) = complaints(machine)
    assert f"python3 (version {version})" in complaint


def test_the_newest_suitable_python_is_taken(machine: Machine) -> None:
    machine.python("3.14.1", name="python3")
    machine.python("3.11.9", name="python3.11")
    machine.python("3.13.0", name="python3.13")
    done = machine.run("make", "setup")
    assert "Making .venv with uv and Python 3.13.0" in done.stderr


def test_python_can_be_named(machine: Machine) -> None:
    machine.python("3.11.9", name="other")
    python = str(machine.folder / "bin/other")
    done = machine.run("make", "setup", f"PYTHON={python}")
    assert "Python 3.11.9" in done.stderr
    machine.run("make", "clean")
    machine.calls()
    machine.python("3.9.18", name="other")
    machine.environment["PYTHON"] = python
    (complaint,) = complaints(machine)
    assert f"Looked at PYTHON: {python} (version 3.9.18)." in complaint


def test_a_python_without_venv_matters_only_without_uv(machine: Machine) -> None:
    machine.python("3.12.4", venv=False)
    assert machine.run("make", "setup").returncode == 0
    machine.run("make", "clean")
    machine.calls()
    (machine.folder / "bin/uv").unlink()
    (complaint,) = complaints(machine)
    assert "python3 (version 3.12.4, but without venv: install the package python3.12-venv)" in (
        complaint
    )
