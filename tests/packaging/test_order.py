"""The order of the rooms in docs/architecture.md: a module imports only from those before it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "ascii_hydra"
ORDER = (
    *("step", "config", "dagster_home", "loopback", "aws", "databricks", "catalogue", "costs"),
    *("engines", "rehearsal", "outcome", "report", "assets"),
)
ENTRY_POINTS = ("sweep", "task", "cli", "serve", "webserver", "definitions", "__main__")


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ascii_hydra"):
            module = node.module or ""
            found |= (
                {f"{module}.{one.name}" for one in node.names}
                if module == "ascii_hydra"
                else {module}
            )
    return {room(one) for one in found} - {""}


def test_every_module_imports_from_rooms_before_its_own() -> None:
    rank = {name: number for number, name in enumerate((*ORDER, *ENTRY_POINTS))}
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        assert own in rank, f"{own} has no place in docs/architecture.md"
        wrong += [f"{path.name}: {one}" for one in imported(path) if rank[one] > rank[own]]
    assert wrong == []
