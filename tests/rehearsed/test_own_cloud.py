"""What a command does to the rehearsal cloud that it uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ascii_hydra.aws.client import aws_client
from ascii_hydra.config.compose import composed
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.rehearsal.own import close_own, rehearsed
from ascii_hydra.rehearsal.started import started
from tests.comparison.test_sweep import light_steps
from tests.conftest import CommandLine
from tests.rehearsal_cloud import place_of
from tests.rehearsed.conftest import Cloud

FAULTS = "rehearsal.faults=[{target: s3:ListBuckets, effect: refused, code: AccessDenied}]"


def settled(*more: str) -> Settings:
    overrides = ["engine=emr", "mode=small_dev_sample_s3", "endpoint=rehearsal", *more]
    return settle(composed(overrides), overrides)


def test_a_kept_cloud_is_filled_and_told_once_how_to_behave(cloud: Cloud) -> None:
    rehearsed(settled(f"endpoint.url={cloud.url}"))
    assert cloud.asked("config")["faults"] == []
    assert "small_dev_sample/input/webgraph/manifest.csv" in cloud.keys("ascii-hydra", "")
    behaving = settled(f"endpoint.url={cloud.url}", FAULTS, "rehearsal.speed=300")
    rehearsed(behaving)
    assert cloud.asked("config")["speed"] == 300
    (rule,) = cloud.asked("config")["faults"]
    assert (rule["target"], rule["effect"]) == ("s3:ListBuckets", "refused")
    store = aws_client("s3", cloud.place, retried=False)
    with pytest.raises(store.exceptions.ClientError, match="AccessDenied"):
        store.list_buckets()
    # Asked again, as it is for each step: the rule has been used up, and stays so.
    rehearsed(behaving)
    assert store.list_buckets()["Buckets"]


def test_a_cloud_of_its_own_is_filled_before_anything_goes_wrong() -> None:
    try:
        here = rehearsed(settled(FAULTS.replace("ListBuckets", "PutObject")))
        url = here.config.endpoint.url
        assert url is not None
        cloud = Cloud(url)
        assert "small_dev_sample/input/webgraph/seeds.csv" in cloud.keys("ascii-hydra", "")
        store = aws_client("s3", cloud.place, retried=False)
        with pytest.raises(store.exceptions.ClientError, match="AccessDenied"):
            store.put_object(Bucket="ascii-hydra", Key="x")
        # Another address is no other configuration.
        assert here.digest == settled(FAULTS.replace("ListBuckets", "PutObject")).digest
    finally:
        close_own()


def test_a_cloud_that_does_not_answer_is_named() -> None:
    with pytest.raises(ConfigError, match="localhost:9: is no rehearsal cloud"):
        rehearsed(settled("endpoint.url=http://localhost:9"))


def test_a_cloud_that_is_no_rehearsal_by_its_endpoint_has_real_durations(
    command_line: CommandLine, tmp_path: Path
) -> None:
    """The rehearsal stands for AWS here: the endpoint is the cloud's, by boto3's own variable."""
    with started(RehearsalConfig(speed=500)) as url:
        aws_client("s3", place_of(url)).create_bucket(Bucket="mine")
        words = [
            "engine=emr",
            "mode=small_dev_sample_s3",
            "mode.bucket=mine",
            *light_steps(tmp_path),
        ]
        keys = {"AWS_ACCESS_KEY_ID": "rehearsal", "AWS_SECRET_ACCESS_KEY": "rehearsal"}
        ended = command_line(*words, extra={"AWS_ENDPOINT_URL": url, **keys})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "rehearsed cloud's time" not in ended.stdout
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["virtual"] is False


def test_a_rehearsal_says_whose_time_it_tells(command_line: CommandLine, tmp_path: Path) -> None:
    words = ["engine=emr", "mode=small_dev_sample_s3", "endpoint=rehearsal", *light_steps(tmp_path)]
    ended = command_line(*words, "rehearsal.speed=500")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "of the rehearsed cloud's time" in ended.stdout
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["virtual"] is True
