"""Who cannot log in hears of it before anything is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines.credentials import credential_problems, launch_credential_problems
from ascii_hydra.engines.databricks.api import Databricks
from tests.databricks.conftest import Cloud

WORDS = ("engine=databricks", "mode=small_dev_sample_s3", "mode.bucket=mine", "action=plan")
VARIABLES = ("DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET")


def settled(*more: str) -> Settings:
    return settle(composed([*WORDS, *more]), [*WORDS, *more])


@pytest.fixture
def logged_out(cloud: Cloud) -> Iterator[Cloud]:
    """A workspace that this process has no token of, before and after."""
    api = Databricks(cloud.workspace, cloud.clock, threading.Event())
    api.renew()
    yield cloud
    cloud.behave()
    api.renew()


def test_refused_credentials_are_named(logged_out: Cloud) -> None:
    settings = settled("endpoint=rehearsal", f"endpoint.url={logged_out.url}")
    assert launch_credential_problems(settings) == []
    Databricks(logged_out.workspace, logged_out.clock, threading.Event()).renew()
    logged_out.behave({"target": "databricks:oidc/v1/token", "effect": "refused", "times": 99})
    (problem,) = credential_problems(next(iter(settings.steps.values())))
    assert problem.where == "DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET"
    assert problem.what.startswith("Databricks refuses the credentials (invalid_client")
    assert problem.what.endswith(": check both.")


def test_a_host_that_does_not_answer_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("http://127.0.0.1:9", "me", "mine"), strict=True):
        monkeypatch.setenv(name, value)
    (problem,) = launch_credential_problems(settled())
    assert problem.where == "DATABRICKS_HOST=http://127.0.0.1:9"
    assert "not to be reached" in problem.what


@pytest.mark.parametrize("missing", VARIABLES)
def test_a_part_of_the_credentials_is_no_credentials(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "given")
    monkeypatch.delenv(missing)
    (problem,) = launch_credential_problems(settled())
    assert problem.where == missing
    assert problem.what.endswith("set all three.")


def test_a_step_whose_staging_is_in_s3_needs_credentials_of_aws_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "ASCII_AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "me")
    monkeypatch.setenv("ASCII_AWS_SECRET_ACCESS_KEY", "mine")
    found = launch_credential_problems(settled("engine.staging_root=s3://mine/ascii_hydra"))
    assert [one.where for one in found] == [
        "DATABRICKS_HOST, DATABRICKS_CLIENT_SECRET",
        "ASCII_AWS_ACCESS_KEY_ID",
    ]
    # On a volume, what is in S3 is Databricks' own to read and write.
    assert [one.where for one in launch_credential_problems(settled())] == [
        "DATABRICKS_HOST, DATABRICKS_CLIENT_SECRET"
    ]
    # But the partitions of a pipeline are read here.
    assert "ASCII_AWS_ACCESS_KEY_ID" in [
        one.where for one in launch_credential_problems(settled("pipeline=webgraph"))
    ]
