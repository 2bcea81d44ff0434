"""The wheel of a step's own code: pip installs it, and a step knows it by its digest."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from ascii_hydra.engines.databricks.databricks_problems import databricks_problems
from ascii_hydra.engines.databricks.wheel import step_wheel
from tests.databricks_request.asking import asked, run_of

STEP = """
from ascii_hydra.step import SparkStep
from tool import WORD
print("began", WORD)
SparkStep.run()
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("py_files") / "tool.py"
    path.write_text('WORD = "hammer"\n')
    return path


@pytest.fixture(scope="module")
def installed(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    name, content, _ = step_wheel([tool])
    (folder / name).write_bytes(content)
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    words += ["--disable-pip-version-check", "--target", str(folder / "target")]
    subprocess.run([sys.executable, *words, str(folder / name)], check=True, timeout=120)
    return folder / "target"


def test_equal_files_make_equal_wheels_and_others_another_version(tool: Path) -> None:
    name, content, digest = step_wheel([tool])
    assert step_wheel([tool]) == (name, content, digest)
    project, version, _, tags = parse_wheel_filename(name)
    assert (project, version.major, str(next(iter(tags)))) == (
        "ascii-hydra-step",
        1,
        "py3-none-any",
    )
    other = step_wheel([])
    assert other[2] != digest
    assert parse_wheel_filename(other[0])[1] != version


def test_a_file_of_another_name_makes_another_wheel(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_bytes(tool.read_bytes())
    assert step_wheel([tmp_path / "tools.py"])[2] != step_wheel([tool])[2]


def test_pip_installs_it_as_it_is(installed: Path, tool: Path) -> None:
    _, content, digest = step_wheel([tool])
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in archive.namelist():
            if ".dist-info/" not in name:
                assert (installed / name).read_bytes() == archive.read(name)
        assert not [name for name in archive.namelist() if "__pycache__" in name]
    assert (installed / "ascii_hydra_payload.py").read_text() == f'DIGEST = "{digest}"\n'
    assert not (installed / "ascii_hydra" / "config").exists()


def ran(folder: Path, digest: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "step.py"
    script.write_text(STEP)
    words = ["--engine", "databricks", "--mode", "full", "--output", "/nowhere"]
    # What is installed for the step stands before this environment's own packages.
    return subprocess.run(
        [sys.executable, "-P", str(script), *words, "--payload", digest],
        env={"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_step_refuses_the_code_of_another_before_it_does_anything(
    installed: Path, tmp_path: Path
) -> None:
    said = ran(installed, "0123456789ab", tmp_path)
    assert said.returncode == 1
    assert said.stdout == "began hammer\n"
    last = said.stderr.strip().splitlines()[-1]
    assert "PayloadError: the step was submitted with the Python code 0123456789ab" in last
    assert "restart it" in last


def test_a_step_is_told_the_digest_of_what_is_installed(installed: Path) -> None:
    request = asked(run_of())
    words = list(request.task["spark_python_task"]["parameters"])
    digest = words[words.index("--payload") + 1]
    wheel = next(one for one in request.uploads if one.uri.endswith(".whl"))
    assert wheel.content is not None
    with zipfile.ZipFile(BytesIO(wheel.content)) as archive:
        assert archive.read("ascii_hydra_payload.py").decode() == f'DIGEST = "{digest}"\n'


@pytest.mark.parametrize("name", ["ascii_hydra.py", "dagster_pipes.py", "ascii_hydra_payload.py"])
def test_a_module_that_would_hide_ours_is_refused(name: str, tmp_path: Path) -> None:
    run = run_of()
    paths = []
    for one in (name, "größe.py", "data.zip"):
        (tmp_path / one).write_bytes(b"")
        paths.append(tmp_path / one)
    run = replace(run, settings=replace(run.settings, py_files=tuple(paths)))
    said = [str(one) for one in databricks_problems(run)]
    assert len(said) == 3
    assert f"{name} would hide the module that every step imports" in said[0]
    assert all(one.startswith("pipeline.steps.step_1.py_files: ") for one in said)
