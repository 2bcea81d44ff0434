"""What several features' tests share: the command line as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parent.parent
# What a user's environment may hold and a test must not depend on.
_FOREIGN = (
    "ASCII_AWS_ACCESS_KEY_ID",
    "ASCII_AWS_SECRET_ACCESS_KEY",
    "ASCII_HYDRA_OVERRIDES",
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_SECRET_ACCESS_KEY",
    "DAGSTER_HOME",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_CONFIG_FILE",
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_HOST",
    "DATABRICKS_TOKEN",
    "HYDRA_FULL_ERROR",
    "PYSPARK_GATEWAY_PORT",
    "SPARK_EXECUTION_MODE",
    "SPARK_PIPES_ENGINE",
)

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME for all tests that do not need one of their own: making one takes seconds."""
    return tmp_path_factory.mktemp("dagster_home")


@pytest.fixture
def environment(shared_home: Path) -> dict[str, str]:
    """A clean environment with a DAGSTER_HOME of the tests' own."""
    return clean_environment(shared_home)


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of this process without what a user's may hold.

    Args:
        home: the DAGSTER_HOME in it.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**kept, "DAGSTER_HOME": str(home), "COLUMNS": "120"}


@pytest.fixture
def command_line(environment: dict[str, str], tmp_path: Path) -> CommandLine:
    """Runs `python -m ascii_hydra ARGUMENTS` in a folder of the test's own, or with `program` the
    source of a Python program that ends as the command line."""

    def run(
        *arguments: str,
        program: str | None = None,
        extra: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        command = ["-m", "ascii_hydra"] if program is None else ["-c", program]
        return subprocess.run(
            [sys.executable, *command, *arguments],
            cwd=tmp_path,
            env={**environment, **(extra or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


SMALL = {
    "two_steps": (
        "pipeline.steps.step_1.parameters.rows="
        "{small_dev_sample_local: 2000, small_dev_sample_s3: 2000}"
    ),
    "webgraph": "pipeline.partitions=[SAMPLE-2024-10,night_sky]",
}
"""By pipeline: the override that makes little of it."""


@pytest.fixture(scope="session")
def made_here(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The output folder of a small pipeline, made by the local engine once for all tests that hold
    another engine's output against it."""
    data = tmp_path_factory.mktemp("made_here")

    @cache
    def made(pipeline: str) -> Path:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "ascii_hydra", f"pipeline={pipeline}", SMALL[pipeline]),
                f"mode.output_root={data}",
            ],
            cwd=data,
            env=clean_environment(shared_home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return data / pipeline

    return made


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test, or a skipped module, is a failed one: a promise nobody checked."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
