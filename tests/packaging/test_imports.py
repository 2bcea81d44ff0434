"""Every package that is imported is declared, rather than there by chance."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from made_up_machine import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROVIDED_BY = packages_distributions()
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
TO_RUN: list[str] = DECLARED["dependencies"]
TO_TEST = TO_RUN + DECLARED["optional-dependencies"]["testing"]


def imports(tree: ast.AST) -> Iterator[str]:
    """The top-level modules that code imports, but for those that it can do without."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif not (isinstance(node, ast.Try) and _expects_import_error(node)):
            yield from imports(node)


def _expects_import_error(node: ast.Try) -> bool:
    names = {it.id for one in node.handlers for it in ast.walk(one) if isinstance(it, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError"})


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        ("ascii_hydra", TO_RUN),
        ("steps", TO_RUN),
        ("samples", TO_TEST),
        ("tests", TO_TEST),
        ("benchmarks", TO_TEST),
    ],
)
def test_what_is_imported_is_declared(folder: str, lines: list[str]) -> None:
    files = list((PROJECT / folder).rglob("*.py"))
    assert files
    imported = {
        name: str(file.relative_to(PROJECT))
        for file in files
        for name in imports(ast.parse(file.read_bytes()))
    }
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    own = own_modules()
    undeclared = {
        name: file
        for name, file in imported.items()
        if name not in sys.stdlib_module_names
        and name not in own
        and not declared & {canonicalize_name(it) for it in PROVIDED_BY.get(name, [])}
    }
    assert not undeclared


def own_modules() -> set[str]:
    """The project's own modules: its packages, and what scripts and tests import from beside."""
    beside = [
        path.stem
        for name in ("steps", "samples", "tests")
        for path in (PROJECT / name).rglob("*.py")
    ]
    return {"ascii_hydra", "benchmarks", "tests", *beside}


def test_a_package_one_can_do_without_is_passed_over() -> None:
    code = "try:\n import brotli\nexcept ImportError:\n import zlib\ndef f():\n import lxml.etree\n"
    assert set(imports(ast.parse(code))) == {"lxml"}
    assert set(imports(ast.parse("from . import a\nfrom b.c import d\nimport e.f"))) == {"b", "e"}
