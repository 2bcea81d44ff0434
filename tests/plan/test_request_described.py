"""What a plan and result.json say of a cluster is what the request asks for, not what the
configuration would have asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ascii_hydra.engines.planned import capacity, describe
from ascii_hydra.engines.request import keeps_promise, request, request_notices
from tests.conftest import CommandLine
from tests.request_asking import run_of, settled, told

TWENTY = (
    "+pipeline.steps.step_1.emr_job_config={Instances: {InstanceGroups:"
    " [{InstanceRole: MASTER, InstanceType: m5d.xlarge, InstanceCount: 1},"
    " {InstanceRole: CORE, InstanceType: m5d.4xlarge, InstanceCount: 20}]}}"
)
ONE = TWENTY.replace("m5d.4xlarge, InstanceCount: 20", "m5d.xlarge, InstanceCount: 1")
VOLUME = "{ebs_volume_type: GENERAL_PURPOSE_SSD, ebs_volume_count: 1, ebs_volume_size: 100}"


def steps_in(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """result.json, and step_1 in it."""
    (path,) = folder.glob("outputs/*/*/result.json")
    whole: dict[str, Any] = json.loads(path.read_text())
    return whole, next(one for one in whole["steps"] if one["step"] == "step_1")


def test_a_larger_cluster_of_a_users_own_is_the_one_that_is_shown(
    command_line: CommandLine, tmp_path: Path
) -> None:
    ended = command_line("action=plan", "engine=emr", "mode=full", TWENTY, "plan.requests=false")
    assert ended.returncode == 0, ended.stderr
    (line,) = [one for one in ended.stdout.splitlines() if "4xlarge" in one]
    assert "20 x m5d.4xlarge + m5d.xlarge" in line
    assert "320 vCPU" in line
    outcome, step = steps_in(tmp_path)
    assert outcome["keeps_promise"] is True
    assert step["vcpus"] == 320


def test_a_smaller_cluster_of_a_users_own_keeps_no_promise(
    command_line: CommandLine, tmp_path: Path
) -> None:
    words = ("action=plan", "engine=emr", "mode=full", "cluster=large", ONE, "plan.format=json")
    ended = command_line(*words)
    assert ended.returncode == 0, ended.stderr
    notice = (
        "step_1: what is asked for (1 x m5d.xlarge + m5d.xlarge) does not keep the"
        " promise of cluster=large (1 of 8 workers): comparisons tell it as not equal."
    )
    assert notice in ended.stderr
    plan = json.loads(ended.stdout)
    assert notice in plan["notices"]
    assert plan["keeps_promise"] is False
    first = plan["steps"][0]
    assert first["computing"] == "1 x m5d.xlarge + m5d.xlarge"
    assert (first["vcpus"], first["executor_vcpus"]) == (4.0, 4.0)
    outcome, step = steps_in(tmp_path)
    assert outcome["keeps_promise"] is False
    assert step["vcpus"] == 4


@pytest.mark.parametrize(
    ("config", "shown", "lack"),
    [
        ("{num_workers: 1}", "1 x m5d.xlarge + m5d.xlarge", "1 of 2 workers"),
        ("{is_single_node: true}", "m5d.xlarge", "1 of 2 workers"),
        ("{node_type_id: m5d.large}", "2 x m5d.large + m5d.xlarge", "workers of 2 vCPUs, not 4"),
        ("{node_type_id: c5d.xlarge}", "2 x c5d.xlarge + m5d.xlarge", "workers of 8 GiB, not 16"),
        (
            f"{{node_type_id: m5.xlarge, aws_attributes: {VOLUME}}}",
            "2 x m5.xlarge + m5d.xlarge",
            "workers with 100 GiB of disk, not 150",
        ),
    ],
)
def test_a_users_own_databricks_cluster_is_shown_and_measured(
    config: str, shown: str, lack: str
) -> None:
    word = f"+pipeline.steps.step_1.databricks_cluster_config={config}"
    assert told("databricks", word) == ""
    assert describe(request(run_of("databricks", word))) == shown
    whole = settled("databricks", word)
    assert not keeps_promise(whole)
    (notice,) = [one for one in request_notices(whole) if "promise" in one]
    assert notice.startswith(f"step_1: what is asked for ({shown}) does not keep")
    assert f"({lack})" in notice


def test_more_of_a_users_own_is_shown_too_and_keeps_the_promise() -> None:
    word = "+pipeline.steps.step_1.databricks_cluster_config={autoscale: {min_workers: 3,"
    word += " max_workers: 9}, runtime_engine: PHOTON}"
    asked = request(run_of("databricks", word))
    assert describe(asked) == "3 to 9 x m5d.xlarge + m5d.xlarge, Photon"
    has = capacity(asked)
    assert has is not None
    assert (has.workers, has.vcpus, has.executor_vcpus, has.memory_gib) == (3, 12.0, 12.0, 48.0)
    assert keeps_promise(settled("databricks", word))


def test_kinds_of_workers_of_a_users_own_emr_cluster_stand_side_by_side() -> None:
    def fleet(role: str, kind: str, key: str, count: int) -> str:
        return (
            f"{{InstanceFleetType: {role}, {key}: {count},"
            f" InstanceTypeConfigs: [{{InstanceType: {kind}, WeightedCapacity: 1}}]}}"
        )

    fleets = ", ".join(
        [
            fleet("MASTER", "m5d.xlarge", "TargetOnDemandCapacity", 1),
            fleet("CORE", "m5d.xlarge", "TargetOnDemandCapacity", 2),
            fleet("TASK", "r5d.2xlarge", "TargetSpotCapacity", 3),
        ]
    )
    word = f"+pipeline.steps.step_1.emr_job_config={{Instances: {{InstanceFleets: [{fleets}]}}}}"
    assert told("emr", word) == ""
    asked = request(run_of("emr", word))
    assert describe(asked) == "2 x m5d.xlarge + 3 x r5d.2xlarge (3 spot) + m5d.xlarge"
    has = capacity(asked)
    assert has is not None
    # Executors are all of one size, so the larger workers are used in part.
    assert (has.vcpus, has.executor_vcpus) == (32.0, 20.0)
    (notice,) = [one for one in request_notices(settled("emr", word)) if "executors" in one]
    assert notice == (
        "step_1: Spark's executors get 20 of the 32 vCPUs of the workers, because of"
        " Spark's settings or of workers that are not alike."
    )


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("databricks", ("engine.serverless=true",)),
        ("databricks", ("engine.cluster_id=0123-456789-abcdefgh",)),
        ("databricks", ("cluster.pool_id=p",)),
        ("emr", ("engine.cluster_id=j-1",)),
    ],
)
def test_what_is_not_known_is_as_the_configuration_says(
    engine: str, words: tuple[str, ...]
) -> None:
    assert capacity(request(run_of(engine, *words))) is None
    assert keeps_promise(settled(engine, *words))
    assert not keeps_promise(settled(engine, *words, "cluster.keeps_promise=false"))


def test_this_machine_claims_to_be_no_cluster() -> None:
    here = ("mode=small_dev_sample_local",)
    assert describe(request(run_of("pyspark", *here))) == "2 cores, 1 GiB here"
    assert describe(request(run_of("pyspark", *here, "engine.master=spark://h:7077"))) == (
        "spark://h:7077, 1 GiB"
    )
    assert not keeps_promise(settled("pyspark", *here))
