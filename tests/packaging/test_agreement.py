"""pixi.toml, Makefile, pyproject.toml and requirements.lock say the same."""

import re
import tomllib

import pytest
from made_up_machine import PROJECT, TARGETS
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PIXI = tomllib.loads((PROJECT / "pixi.toml").read_text())
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
LOCK = (PROJECT / "requirements.lock").read_text()

DECLARED = [
    Requirement(line)
    for lines in (PYPROJECT["project"]["dependencies"], *EXTRAS.values())
    for line in lines
]


def test_python_and_java_are_the_only_conda_packages() -> None:
    assert PIXI["workspace"]["channels"] == ["conda-forge"]
    assert set(PIXI["dependencies"]) == {"python", "openjdk"}
    assert not [name for name, feature in PIXI["feature"].items() if "dependencies" in feature]


def test_one_range_of_python() -> None:
    assert SpecifierSet(PIXI["dependencies"]["python"]) == SpecifierSet(
        PYPROJECT["project"]["requires-python"]
    )


def test_one_version_of_java() -> None:
    (needed,) = re.findall(
        r"^java_needed=(\d+)$", (PROJECT / "scripts/venv.sh").read_text(), re.MULTILINE
    )
    assert PIXI["dependencies"]["openjdk"] == f"{needed}.*"


def test_python_packages_are_listed_in_pyproject_alone() -> None:
    project = {"path": ".", "editable": True}
    assert PIXI["pypi-dependencies"] == {"ascii-hydra": project}
    assert set(PIXI["feature"]) == set(EXTRAS) == {"ci", "testing"}
    for name, feature in PIXI["feature"].items():
        assert feature["pypi-dependencies"] == {"ascii-hydra": {**project, "extras": [name]}}
        assert PIXI["environments"][name] == [name]


def test_the_tasks_are_the_targets() -> None:
    tasks = {("default", name) for name in PIXI["tasks"]} | {
        (feature, name) for feature, table in PIXI["feature"].items() for name in table["tasks"]
    }
    # class-archive is part of `make setup`. That each target runs its task: test_make.py
    assert tasks == {*TARGETS, ("default", "class-archive")}
    # One environment defines each name, so that `pixi run test` needs no -e.
    assert len({name for _, name in tasks}) == len(tasks)


@pytest.mark.parametrize(
    ("feature", "task", "command"),
    [
        (None, "start", "python -m ascii_hydra.serve"),
        (None, "run", "python -m ascii_hydra"),
        (None, "rehearsal", "python -m ascii_hydra.rehearsal"),
        ("testing", "test", "python -m pytest -n 2 --dist loadfile"),
        ("testing", "bench", "python -m benchmarks"),
        ("ci", "fmt", "ruff format . && ruff check --fix ."),
        ("ci", "lint", "ruff format --check . && ruff check . && mypy"),
    ],
)
def test_the_commands(feature: str | None, task: str, command: str) -> None:
    table = PIXI["feature"][feature]["tasks"] if feature else PIXI["tasks"]
    assert table[task]["cmd"] == command
    assert table[task]["description"]
    tools = {"ruff", "mypy", "pytest"} & set(re.findall(r"\w+", command))
    assert tools <= {Requirement(line).name for line in EXTRAS.get(feature or "", [])}


def test_the_type_checker_is_strict_on_the_package() -> None:
    assert PYPROJECT["tool"]["mypy"]["strict"] is True
    assert PYPROJECT["tool"]["mypy"]["packages"] == ["ascii_hydra"]


def test_every_range_has_both_ends() -> None:
    open_ended = [str(it) for it in DECLARED if {s.operator for s in it.specifier} != {">=", "<"}]
    assert not open_ended


def test_the_lock_satisfies_every_range() -> None:
    pins = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", LOCK, re.MULTILINE)
    }
    wrong = [
        str(it)
        for it in DECLARED
        if canonicalize_name(it.name) not in pins
        or not it.specifier.contains(pins[canonicalize_name(it.name)])
    ]
    assert not wrong, f"`make lock` remakes requirements.lock for {wrong}"


def test_the_lock_was_made_from_these_dependencies() -> None:
    """What is no longer declared must leave the lock, too: uv notes who asked for each package."""
    asked = set()
    for entry in re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE):
        if "ascii-hydra (pyproject.toml)" in entry:
            asked.add(canonicalize_name(re.split(r"[\[=]", entry)[0]))
    assert asked == {canonicalize_name(it.name) for it in DECLARED}


def test_the_lock_holds_hashes_and_no_place() -> None:
    entries = [entry for entry in re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE)[1:] if entry]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.findall(r"://|--index|--find-links|@ |file:|^/|\s/", LOCK, re.MULTILINE)
