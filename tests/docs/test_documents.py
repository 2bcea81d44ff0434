"""What README and docs/ tell people to do is done, in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.engines.request import request_problems
from tests.conftest import PROJECT

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: a file to write (its title), or commands and what they print."""

    language: str
    title: str
    text: str


def blocks(document: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(document.read_text(encoding="utf-8")):
        title = re.search(r"title=(.+)", found[2])
        yield Block(found[1], title[1].strip() if title else "", found[3])


def written(folder: Path, block: Block) -> None:
    name, _, how = block.title.partition(" ")
    path = folder / name
    before = path.read_text() if how == "append" else ""
    path.write_text(before + block.text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("ascii_hydra", "conf", "steps", "samples"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def in_project(environment: dict[str, str], project: Path) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return {
        **environment,
        "PYTHONPATH": str(project),
        "PATH": f"{binaries}{os.pathsep}{environment['PATH']}",
    }


def shell(script: str, folder: Path, environment: dict[str, str]) -> str:
    ended = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    told = ended.stdout + ended.stderr
    assert ended.returncode == 0, f"{script}\n{told[-3000:]}"
    return told


def test_guide_to_assets(project: Path, in_project: dict[str, str]) -> None:
    exports = ""
    for block in blocks(PROJECT / "docs" / "use_assets.md"):
        if block.title:
            written(project, block)
            continue
        assert block.language == "console"
        for line in block.text.splitlines():
            command = line.removeprefix("$ ")
            if command.startswith("export "):
                exports += f"{command}\n"
            shell(f"{exports}{command}", project, in_project)
    data = project / "data" / "small_dev_sample_local" / "my_project"
    assert sorted(one.name for one in data.iterdir()) == ["by_day", "greetings", "longest"]
    assert [one.name for one in (data / "by_day").iterdir()] == ["partition=2026-01-02"]


def test_readme_adds_a_step(project: Path, in_project: dict[str, str]) -> None:
    for block in blocks(PROJECT / "README.md"):
        if block.title:
            written(project, block)
    rows = "pipeline.steps.step_1.parameters.rows.small_dev_sample_local=300"
    told = shell(f"python -m ascii_hydra {rows}", project, in_project)
    assert "step_3 succeeded" in told


def test_readme_shows_what_make_run_prints(project: Path, in_project: dict[str, str]) -> None:
    shown = next(one for one in blocks(PROJECT / "README.md") if one.language == "console")
    command, *lines = shown.text.splitlines()
    assert command == "$ make run"
    printed = shell("python -m ascii_hydra", project, in_project)

    def shape(line: str) -> str:
        return " ".join(re.sub(r"\d+\.\d+ s", "N s", line).split())

    assert [shape(line) for line in lines] == [
        shape(line) for line in printed.splitlines()[: len(lines)]
    ]


def test_readme_commands_that_plan_or_show(project: Path, in_project: dict[str, str]) -> None:
    commands = re.findall(
        r"\| `(python -m ascii_hydra[^`]*)` \|", (PROJECT / "README.md").read_text()
    )
    quick = [one for one in commands if "action=plan" in one or "--" in one]
    assert len(quick) >= 4
    for command in quick:
        shell(command, project, in_project)
    # The others start Spark; that their configuration is valid is checked by planning them.
    for command in set(commands) - set(quick):
        shell(f"{command} action=plan", project, in_project)


@pytest.mark.parametrize(
    ("engine", "section", "config", "at_least"),
    [
        ("emr", "EMR on EC2", "{Instances: {Ec2KeyName: mine}}", 9),
        ("databricks", "Databricks", "{num_workers: 3}", 7),
    ],
)
def test_settings_that_the_guide_to_engines_shows(
    engine: str, section: str, config: str, at_least: int
) -> None:
    text = (PROJECT / "docs" / "engines.md").read_text(encoding="utf-8")
    text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    settable = [one for row in shown for one in re.findall(r"`([^`]+)`", row) if "=" in one]
    assert len(settable) >= at_least
    for one in settable:
        typed = one.replace("STEP", "step_1").replace("{...}", config)
        words = re.findall(r"\S+=(?:{.*}|\[.*\]|\S+)", typed)
        overrides = [f"engine={engine}", "mode=full", "action=plan", *words]
        settings = settle(composed(overrides), overrides)
        assert list(request_problems(settings)) == [], one


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target
