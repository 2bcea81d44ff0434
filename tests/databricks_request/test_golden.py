"""The whole request of a step, for every cluster size and every kind of compute.

After a change that is meant, remake the files and read the difference:

    ASCII_HYDRA_REMAKE_GOLDEN=1 python -m pytest tests/databricks_request/test_golden.py; git diff
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from databricks.sdk.service.compute import AwsAttributes, ClusterSpec, DiskSpec
from databricks.sdk.service.jobs import JobEnvironment, SubmitTask

from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.identity import Identity
from ascii_hydra.rehearsal.databricks_rules import check_pool, check_submit
from ascii_hydra.report.plan import compact_json
from tests.databricks_request.asking import asked, run_of
from tests.golden_files import golden, readable

CASES = {
    "databricks_small": ["cluster=small"],
    "databricks_medium": ["cluster=medium"],
    "databricks_large": ["cluster=large"],
    "databricks_large_spot_graviton_photon": [
        "cluster=large",
        "cluster.spot_share=0.5",
        "cluster.max_workers=16",
        "cluster.photon=true",
        "cluster.worker_node_type=m6g.4xlarge",
        "cluster.driver_node_type=m6gd.xlarge",
        "cluster.zone=us-east-1b",
        "+engine.instance_profile=arn:aws:iam::123456789012:instance-profile/s3",
        "+engine.policy_id=0123456789ABCDEF",
        "engine.init_scripts=[/Volumes/c/s/v/a.sh,/Workspace/Shared/b.sh,'s3://b/c.sh']",
        "+engine.spark_conf={spark.sql.ansi.enabled: 'true'}",
        "engine.libraries=['six==1.16.0']",
        "+engine.tags={team: data}",
    ],
    "databricks_medium_shared_pools": [
        "cluster=medium",
        "cluster.spot_share=1",
        "cluster.worker_node_type=m5.2xlarge",
        "launch.reuse_cluster=run",
    ],
    "databricks_small_one_pool": ["cluster=small", "launch.reuse_cluster=run"],
    "databricks_existing_cluster": [
        "engine.cluster_id=0123-456789-abcdefgh",
        "engine.staging_root=/Workspace/Shared/ascii_hydra",
        "+engine.spark_conf={spark.sql.ansi.enabled: 'true'}",
    ],
    "databricks_existing_pools": ["+cluster.pool_id=a-pool-1", "+cluster.driver_pool_id=a-pool-2"],
    "databricks_serverless": [
        "engine.serverless=true",
        "engine.libraries=['six==1.16.0']",
        "+engine.budget_policy_id=0b7a6c9c-0000-4000-8000-000000000000",
        "+engine.spark_conf={spark.sql.ansi.enabled: 'true'}",
    ],
}
IDENTITY = Identity(run="r-1", launch="l-1", token="t-1", deadline="")


def made_readable(request: DatabricksRequest) -> str:
    """Without what changes with every change to the step runtime or the configuration."""
    text = readable(request)
    text = re.sub(r"ascii_hydra_step-1\.\d+-", "ascii_hydra_step-1.<n>-", text)
    text = re.sub(r'("--payload",\s*)"[0-9a-f]{12}"', r'\1"<digest>"', text)
    # A pool's name tells by a hash what it is, the configuration's digest in its tags included.
    text = re.sub(r'(<launch> \S+) [0-9a-f]{6}"', r'\1 <what>"', text)
    return re.sub(r'("ascii_hydra/config":\s*)"[0-9a-f]{12}"', r'\1"<config>"', text)


@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_golden_one(case: str) -> None:
    made = made_readable(asked(run_of(*CASES[case])))
    assert made == golden(case, made)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_shows_the_whole_request_compactly(case: str) -> None:
    whole = asked(run_of(*CASES[case])).as_json()
    shown = compact_json(whole)
    assert json.loads(shown) == whole
    assert shown.count("\n") < 0.9 * json.dumps(whole, indent=2).count("\n")


@pytest.mark.parametrize("case", CASES)
def test_the_sdk_reads_the_request_without_loss(case: str) -> None:
    request = asked(run_of(*CASES[case])).of(
        IDENTITY, ["--more"], {"<pool>": "p", "<driver pool>": "d"}
    )
    text = json.dumps(request.as_json())
    assert not re.search("<(run|launch|token|pool|driver pool)>", text)
    assert SubmitTask.from_dict(dict(request.task)).as_dict() == request.task
    for one in request.submit.get("environments", []):
        assert JobEnvironment.from_dict(one).as_dict() == one
    for pool in request.pools.values():
        kept = dict(pool)
        if "disk_spec" in kept:
            assert DiskSpec.from_dict(kept["disk_spec"]).as_dict() == kept["disk_spec"]
        assert AwsAttributes.from_dict(kept["aws_attributes"]).as_dict() == kept["aws_attributes"]


@pytest.mark.parametrize("case", CASES)
def test_the_rehearsals_own_rules_have_nothing_against_it(case: str) -> None:
    request = asked(run_of(*CASES[case])).of(IDENTITY)
    check_submit(request.submit, pool=str, cluster=str)
    for pool in request.pools.values():
        check_pool(pool)


def test_a_cluster_of_the_request_is_a_cluster_of_the_sdk() -> None:
    cluster: dict[str, Any] = dict(asked(run_of()).task["new_cluster"])
    assert ClusterSpec.from_dict(cluster).as_dict() == cluster
