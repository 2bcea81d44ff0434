"""What is shipped to a cluster runs on the oldest Python there: see spark_step.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_machine import PROJECT

OLDEST = (3, 9)
SHIPPED = [
    PROJECT / "ascii_hydra/__init__.py",
    *sorted((PROJECT / "ascii_hydra/step").glob("*.py")),
    *sorted((PROJECT / "steps").rglob("*.py")),
]
NEWER_MODULES = {"tomllib"}
NEWER_NAMES = {
    "datetime": {"UTC"},
    "enum": {"StrEnum"},
    "itertools": {"batched", "pairwise"},
    "types": {"NoneType", "UnionType"},
    "typing": {"Never", "NotRequired", "ParamSpec", "Required", "Self", "TypeAlias", "TypeGuard"}
    | {"Unpack", "assert_never", "override"},
}
NEWER_KEYWORDS = {
    "dataclass": {"kw_only", "match_args", "slots", "weakref_slot"},
    "zip": {"strict"},
}


def traps(tree: ast.Module) -> Iterator[str]:
    """What parses on the oldest Python and fails there when it is run."""
    postponed = False
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="__future__"):
                postponed |= "annotations" in {alias.name for alias in node.names}
            case ast.Import():
                yield from NEWER_MODULES & {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                yield from NEWER_MODULES & {module}
                yield from NEWER_NAMES.get(module, set()) & {alias.name for alias in node.names}
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                yield from NEWER_NAMES.get(module, set()) & {name}
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                keywords = {str(one.arg) for one in node.keywords}
                yield from NEWER_KEYWORDS.get(name, set()) & keywords
                byte_order = len(node.args) > 1 or "byteorder" in keywords
                if name in {"from_bytes", "to_bytes"} and not byte_order:
                    yield f"{name} without byteorder"
                if name in {"isinstance", "issubclass"} and _is_union(node.args[1]):
                    yield f"{name} of a union"
    if not postponed:
        yield from ("union" for one in ast.walk(tree) if _is_union(_annotation(one)))


def _annotation(node: ast.AST) -> ast.AST | None:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return node.returns
        case ast.arg() | ast.AnnAssign():
            return node.annotation
    return None


def _is_union(node: ast.AST | None) -> bool:
    return node is not None and any(isinstance(one, ast.BitOr) for one in ast.walk(node))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_shipped_file_runs_on_the_oldest_python(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=OLDEST)
    assert not list(traps(tree))


def test_steps_and_their_modules_are_among_the_files() -> None:
    names = {file.name for file in SHIPPED}
    assert names >= {"spark_step.py", "step_1.py", "edges.py", "webgraph_pages.py"}


@pytest.mark.parametrize(
    ("code", "trap"),
    [
        ("from datetime import UTC", "UTC"),
        ("datetime.UTC", "UTC"),
        ("from enum import StrEnum", "StrEnum"),
        ("import tomllib", "tomllib"),
        ("zip(a, b, strict=True)", "strict"),
        ("@dataclass(frozen=True, slots=True)\nclass A: pass", "slots"),
        ("@dataclasses.dataclass(kw_only=True)\nclass A: pass", "kw_only"),
        ("int.from_bytes(data)", "from_bytes without byteorder"),
        ("isinstance(a, int | str)", "isinstance of a union"),
        ("def f(a: int | None): pass", "union"),
        ("class A:\n b: list[int | None]", "union"),
        ("from __future__ import annotations\ndef f(a: int | None) -> int | str: pass", None),
        ("a = b | c\nint.from_bytes(data, 'big')\nzip(a, b)", None),
        ("@dataclass(frozen=True)\nclass A: pass", None),
    ],
)
def test_the_traps(code: str, trap: str | None) -> None:
    assert list(traps(ast.parse(code))) == ([trap] if trap else [])


@pytest.mark.parametrize(
    "code",
    ["match a:\n case 1: pass", "try: pass\nexcept* OSError: pass"],
)
def test_newer_syntax(code: str) -> None:
    ast.parse(code)
    with pytest.raises(SyntaxError):
        ast.parse(code, feature_version=OLDEST)
