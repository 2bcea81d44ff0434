"""What a step with data in S3 would be started with, and how its failures are told. Pure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ascii_hydra.aws.client import Place
from ascii_hydra.config.compose import composed
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.engines import s3_jars
from ascii_hydra.engines.jvm_spec import JvmSpec
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.machine import machine_problems, prepared
from ascii_hydra.engines.request import request
from ascii_hydra.engines.s3_cause import s3_cause
from ascii_hydra.engines.s3_spark import s3a_conf
from ascii_hydra.engines.step_run import planned_run
from ascii_hydra.engines.step_verdict import Evidence, cause
from tests.s3.conftest import KEY, SECRET, Store

AWS = Place("eu-west-1")
ELSEWHERE = Place("eu-west-1", "http://10.0.0.1:9000")


def settled(*overrides: str) -> Settings:
    if "mode=small_dev_sample_s3" in overrides:
        overrides = (*overrides, "mode.bucket=mine")
    return settle(composed(overrides), overrides)


def local(*overrides: str) -> LocalRequest:
    settings = settled(*overrides)
    asked = request(planned_run(settings, next(iter(settings.steps.values()))))
    assert isinstance(asked, LocalRequest)
    return asked


def test_a_local_mode_has_nothing_of_s3() -> None:
    asked = local()
    assert asked.place is None
    assert not any("s3" in f"{key}{value}" for key, value in asked.spark_conf.items())
    assert "spark.jars" not in asked.spark_conf


@pytest.mark.usefixtures("store")
def test_a_mode_in_s3() -> None:
    asked = local("mode=small_dev_sample_s3", "mode.region=eu-west-1", "endpoint.path_style=true")
    assert asked.place == Place("eu-west-1", path_style=True)
    conf = asked.spark_conf
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert conf["spark.hadoop.fs.s3a.path.style.access"] == "true"
    assert "spark.hadoop.fs.s3a.endpoint" not in conf
    assert conf["spark.jars"] == str(s3_jars.needed().all_in_one)
    # Everything but the committers' classes stays with the JVM.
    assert {key for key in conf if "s3a" in key} <= set(asked.launch_conf())
    printed = json.dumps(asked.as_json()) + repr(asked) + repr(JvmSpec.of(asked))
    assert SECRET not in printed
    assert KEY not in printed


def test_data_in_s3_whatever_the_mode() -> None:
    assert local("pipeline.output=s3a://b/out", "mode.region=eu-west-1").place == AWS
    web = local("pipeline=webgraph", "pipeline.input=s3a://b/in", "mode.region=eu-west-1")
    assert web.place == AWS


def test_what_a_user_says_wins_and_own_jars_are_kept() -> None:
    asked = local(
        "mode=small_dev_sample_s3",
        "+engine.spark_conf={spark.hadoop.fs.s3a.committer.name: directory, spark.jars: /my.jar}",
    )
    assert asked.spark_conf["spark.hadoop.fs.s3a.committer.name"] == "directory"
    assert asked.spark_conf["spark.jars"] == f"{s3_jars.needed().all_in_one},/my.jar"


def test_executors_of_a_cluster_are_sent_every_jar() -> None:
    asked = local("mode=small_dev_sample_s3", "engine.master=spark://host:7077")
    assert asked.spark_conf["spark.jars"].split(",") == [str(one) for one in s3_jars.jar_paths()]


def test_an_endpoint_of_ones_own() -> None:
    conf = s3a_conf(ELSEWHERE)
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://10.0.0.1:9000"
    assert conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    secure = s3a_conf(Place(None, "https://store.example"))
    assert secure["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "true"
    # A rehearsal that is not started yet is not AWS.
    rehearsal = s3a_conf(Place("us-east-1", rehearsal=True))
    assert rehearsal["spark.hadoop.fs.s3a.endpoint"] == "<address of the rehearsal>"


def test_a_plan_needs_no_jars_and_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ASCII_HYDRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASCII_HYDRA_MAVEN_REPOSITORY", "http://127.0.0.1:9")
    assert local("mode=small_dev_sample_s3").spark_conf["spark.jars"].endswith("/s3a.jar")
    assert not (tmp_path / "cache").exists()
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"^mode=small_dev_sample_s3: A jar that s3a:// needs"):
        prepared(settled("mode=small_dev_sample_s3"), said.append)
    jars = s3_jars.needed().jars
    megabytes = sum(jar.size for jar in jars) / 1e6
    what = f"Downloading {len(jars)} jars ({megabytes:.0f} MB) for s3a:// from 127.0.0.1:9 …"
    assert said == [what]
    prepared(settled(), pytest.fail)
    # A Spark of another Hadoop can be planned with, too.
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    (tmp_path / "spark" / "jars" / "hadoop-client-api-2.7.4.jar").touch()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    assert "spark.jars" not in local("mode=small_dev_sample_s3").spark_conf


def test_an_endpoint_that_nobody_answers_at() -> None:
    words = ["mode=small_dev_sample_s3", "endpoint.url=http://127.0.0.1:9"]
    assert [str(one) for one in machine_problems(settled(*words))] == [
        "endpoint.url=http://127.0.0.1:9: cannot be reached (Connection refused): check it."
    ]
    (problem,) = machine_problems(settled(*words, "endpoint=rehearsal"))
    assert problem.what.endswith("start one by make rehearsal, or leave the url out.")


def test_an_endpoint_that_answers(store: Store) -> None:
    words = ["mode=small_dev_sample_s3", f"endpoint.url={store.url}"]
    assert list(machine_problems(settled(*words))) == []


CREDENTIALS = (
    "set ASCII_AWS_ACCESS_KEY_ID and ASCII_AWS_SECRET_ACCESS_KEY, or configure AWS as usual"
    " (AWS_PROFILE, aws sso login, a role)."
)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (
            ("java.nio.file.AccessDeniedException: s3a://data/x: org.apache.hadoop.fs.s3a.auth."
            "NoAuthWithAWSException: No AWS Credentials provided by DefaultCredentialsProvider"),
            AWS,
            f"found no credentials for AWS: {CREDENTIALS}",
        ),
        (
            ("SparkException: Job aborted due to stage failure: Task 0 failed 4 times, most recent"
            " failure: Lost task 0.3 (TID 3) (10.0.0.2 executor 0): java.nio.file.Access"
            "DeniedException: s3a://b/x: org.apache.hadoop.fs.s3a.auth.NoAuthWithAWSException"),
            AWS,
            ("has tasks that found no credentials for AWS: the workers of a Spark cluster need"
            " their own, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in their environment, or"
            " as a role."),
        ),
        (
            "BrokenReadError: s3a://b/manifest.csv cannot be read: Unable to locate credentials",
            AWS,
            f"found no credentials for AWS: {CREDENTIALS}",
        ),
        (
            ("java.nio.file.AccessDeniedException: s3a://b/x: getFileStatus on s3a://b/x:"
            " software.amazon.awssdk.services.s3.model.S3Exception: No. (Service: S3, Status Code:"
            " 403):InvalidAccessKeyId: No."),
            AWS,
            f"has credentials that S3 does not accept (InvalidAccessKeyId): {CREDENTIALS}",
        ),
        (
            "java.net.UnknownHostException: getFileStatus on s3a://b/y: software.amazon.awssdk",
            AWS,
            "could not reach S3 in eu-west-1 for the bucket b: check the network and mode.region.",
        ),
        (
            "org.apache.hadoop.net.ConnectTimeoutException: getFileStatus on s3a://b/y: ",
            ELSEWHERE,
            "could not reach S3 at http://10.0.0.1:9000 for the bucket b: check endpoint.url.",
        ),
        (
            "software.amazon.awssdk.services.s3.model.S3Exception: AWSRedirectException",
            AWS,
            ("looked for its bucket in the wrong region (eu-west-1): set mode.region to the"
            " bucket's own."),
        ),
        ("ValueError: AccessDenied by me", AWS, None),
        ("java.net.ConnectException: of a database", AWS, None),
        ("AnalysisException: [PATH_NOT_FOUND] Path does not exist: s3a://b/x", AWS, None),
    ],
)  # fmt: skip
def test_what_s3_refused(text: str, place: Place, said: str | None) -> None:
    assert s3_cause(text, place) == said
    name, _, message = text.partition(": ")
    evidence = Evidence("s", 1, True, True, exception=(name, message), place=place)
    told = cause(evidence) or ""
    assert told == f"s {said}" if said else told.startswith("s raised ")
