"""What a step's request is made of: cluster, pools, libraries, tags, a user's own cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ascii_hydra.engines.databricks.cluster_config import merged_cluster
from ascii_hydra.engines.identity import Identity
from ascii_hydra.engines.step_run import planned_run
from ascii_hydra.report.plan import show_plan
from tests.databricks_request.asking import asked, cluster_of, run_of, settled, told, words_of

SHARED = "launch.reuse_cluster=run"


@pytest.mark.parametrize(
    ("words", "aws"),
    [
        ([], {"availability": "ON_DEMAND"}),
        (
            ["cluster.spot_share=0.5"],
            {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 2},
        ),
        (
            ["cluster.spot_share=1", "cluster.spot_bid_price_pct=80"],
            {"first_on_demand": 1, "spot_bid_price_percent": 80},
        ),
        (
            ["cluster.worker_node_type=m5.xlarge"],  # has no disk of its own
            {"ebs_volume_count": 1, "ebs_volume_size": 150},
        ),
        (
            ["cluster.ebs.volumes=2", "cluster.ebs.size_gib=200"],
            {
                "ebs_volume_count": 2,
                "ebs_volume_size": 200,
                "ebs_volume_type": "GENERAL_PURPOSE_SSD",
            },
        ),
    ],
)
def test_instances_are_asked_for_as_they_were_meant(words: list[str], aws: dict[str, Any]) -> None:
    made = cluster_of(*words)["aws_attributes"]
    assert {key: made.get(key) for key in aws} == aws
    assert ("ebs_volume_count" in made) == ("ebs_volume_count" in aws)


def test_a_cluster_grows_or_does_not() -> None:
    assert cluster_of("cluster.max_workers=5")["autoscale"] == {"min_workers": 2, "max_workers": 5}
    assert "num_workers" not in cluster_of("cluster.max_workers=5")
    assert cluster_of("cluster.max_workers=2")["num_workers"] == 2


@pytest.mark.parametrize(
    ("mode", "kind"), [("user_isolation", None), ("auto", "CLASSIC_PREVIEW"), ("single_user", None)]
)
def test_who_may_use_a_cluster(mode: str, kind: str | None) -> None:
    made = cluster_of(f"cluster.data_security_mode={mode}")
    assert mode.removesuffix("_user").upper() in made["data_security_mode"]
    assert made.get("kind") == kind


def test_dbfs_must_be_allowed_to_hold_libraries() -> None:
    conf = cluster_of("engine.staging_root='dbfs:/x'")["spark_conf"]
    assert conf == {"spark.databricks.driver.dbfsLibraryInstallationAllowed": "true"}
    assert "spark_conf" not in cluster_of()


def test_a_users_cluster_is_merged_without_losing_ours() -> None:
    ours = {"num_workers": 2, "aws_attributes": {"zone_id": "auto", "availability": "SPOT"}}
    theirs: dict[str, Any] = {
        "autoscale": {"min_workers": 1, "max_workers": 3},
        "aws_attributes": {"zone_id": None, "ebs_volume_count": 1},
        "ssh_public_keys": ("a",),
        "custom_tags": {"team": "data", "gone": None},
    }
    before = json.dumps([ours, theirs])
    assert merged_cluster(ours, theirs) == {
        "aws_attributes": {"availability": "SPOT", "ebs_volume_count": 1},
        "autoscale": {"min_workers": 1, "max_workers": 3},
        "ssh_public_keys": ["a"],
        "custom_tags": {"team": "data"},
    }
    assert json.dumps([ours, theirs]) == before


def test_a_users_cluster_keeps_our_tags() -> None:
    made = cluster_of(databricks_cluster_config={"custom_tags": {"team": "data"}, "num_workers": 9})
    assert made["custom_tags"]["team"] == "data"
    assert made["custom_tags"]["ascii_hydra/token"] == "<token>"
    assert made["num_workers"] == 9


def test_steps_of_a_launch_share_their_pools() -> None:
    words = (SHARED, "cluster.driver_node_type=m5d.2xlarge")
    first, second = (asked(run_of(*words, step=step)) for step in ("step_1", "step_2"))
    assert first.pools == second.pools
    assert set(first.pools) == {"<pool>", "<driver pool>"}
    names = [one["instance_pool_name"] for one in first.pools.values()]
    assert len(set(names)) == 2
    assert all(name.startswith("ascii_hydra two_steps <launch> m5d.") for name in names)
    larger = asked(run_of(*words, "pipeline.steps.step_2.cluster=large", step="step_2"))
    assert larger.pools["<pool>"]["instance_pool_name"] not in names
    cluster = first.task["new_cluster"]
    # Databricks gives an instance of a pool only to a cluster that has all tags of the pool.
    assert first.pools["<pool>"]["custom_tags"].items() <= cluster["custom_tags"].items()
    assert not {"node_type_id", "aws_attributes", "enable_elastic_disk"} & set(cluster)


@pytest.mark.parametrize(
    "words",
    [
        (),
        (SHARED, "cluster.pool_id=ours"),
        (SHARED, "engine.serverless=true"),
        (SHARED, "engine.cluster_id=0123-456789-abcdefgh"),
    ],
)
def test_no_pool_is_made_where_nobody_would_use_it(words: tuple[str, ...]) -> None:
    assert asked(run_of(*words)).pools == {}


def test_a_name_of_a_pool_stays_short() -> None:
    run = run_of(SHARED)
    run = replace(run, settings=replace(run.settings, pipeline="p" * 90))
    identity = Identity(
        run="r", launch="0b7a6c9c-1111-4000-8000-000000000000", token="t", deadline=""
    )
    (pool,) = asked(run).of(identity).pools.values()
    assert len(pool["instance_pool_name"]) <= 100


def test_a_step_is_told_its_session_settings_where_no_cluster_is_made() -> None:
    conf = "+engine.spark_conf={a.b: 'c d'}"
    assert "--spark-conf" not in words_of(asked(run_of(conf)))
    serverless = words_of(asked(run_of(conf, "engine.serverless=true")))
    assert serverless[-2:] == ["--spark-conf", "a.b=c d"]


def test_data_is_reached_through_databricks_own_connector() -> None:
    words = words_of(asked(run_of("mode.output_root=s3a://b/out")))
    assert not any("s3a://" in word for word in words)
    assert "s3://b/out/two_steps/step_1" in words


def test_libraries_of_the_step_and_of_the_engine(tmp_path: Path) -> None:
    wheel = tmp_path / "tool-1.0+cpu-py3-none-any.whl"
    wheel.write_bytes(b"made up")
    words = ("engine.libraries=['six==1.16.0','attrs==23.1.0']",)
    request = asked(run_of(*words, libraries=("six==1.17.0", str(wheel), "packaging")))
    found = [*request.task["libraries"]]
    assert found[1]["whl"].endswith("/tool-1.0+cpu-py3-none-any.whl")
    packages = [one["pypi"]["package"] for one in found[2:]]
    assert packages[:1] + packages[2:] == ["attrs==23.1.0", "six==1.17.0"]
    assert packages[1].startswith("packaging==")
    assert [one.uri for one in request.uploads[1:]] == [found[0]["whl"], found[1]["whl"]]
    serverless = asked(run_of("engine.serverless=true", *words, libraries=(str(wheel),)))
    spec = serverless.submit["environments"][0]["spec"]
    assert spec["dependencies"][1:] == [found[1]["whl"], "attrs==23.1.0", "six==1.16.0"]
    assert "libraries" not in serverless.task


def test_a_wheel_that_is_none(tmp_path: Path) -> None:
    wheel = tmp_path / "tool.whl"
    wheel.write_bytes(b"made up")
    where = "pipeline.steps.step_1.libraries"
    assert told(libraries=(str(wheel),)) == f"{where}: tool.whl is no name of a wheel."


def test_what_a_workspace_folder_cannot_hold(tmp_path: Path) -> None:
    wheel = tmp_path / "tool-1.0-py3-none-any.whl"
    wheel.write_bytes(bytes(10 * 1024 * 1024 + 1))
    said = told("engine.staging_root=/Workspace/Shared/x", libraries=(str(wheel),))
    assert said == (
        "pipeline.steps.step_1: tool-1.0-py3-none-any.whl has 10,485,761 bytes; a file of the"
        " workspace has 10,485,760 at most. Name a volume in engine.staging_root."
    )


def test_a_partition_names_the_run_and_placeholders_are_filled() -> None:
    settings = settled("pipeline=webgraph")
    run = planned_run(settings, settings.steps["nodes"])
    run = replace(run, partition_key="q\n1", partition={"query": "q"})
    made = asked(run).of(Identity(run="r-1", launch="l-1", token="t-1", deadline=""))
    assert made.submit["run_name"] == f"ascii_hydra webgraph/nodes q_1 t-1 {settings.digest}"
    assert made.task["new_cluster"]["custom_tags"]["ascii_hydra/launch"] == "l-1"
    assert made.messages_uri.endswith("/pipes/r-1-t-1")


def test_the_plan_tells_shared_pools_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(settled(SHARED))
    shown = capsys.readouterr().out
    assert shown.count('"min_idle_instances"') == 1
    assert "that of step_1, which it shares" in shown


def test_the_sdk_is_imported_for_databricks_alone() -> None:
    told = "import sys; print([m for m in sys.modules if m.startswith('databricks.')])"
    script = f"""
from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.engines.request import request, request_problems
from ascii_hydra.engines.step_run import planned_run
words = ["engine=emr", "mode=full", "action=plan"]
settings = settle(composed(words), words)
assert list(request_problems(settings)) == []
request(planned_run(settings, settings.steps["step_1"]))
{told}
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.strip() == "[]"
