"""Spark's driver and executors fit the workers of a cluster, and use every vCPU of them.

YARN's arithmetic is written out here once more: a container is the heap and a tenth of it, 384 MiB
at least, and YARN rounds it up to a multiple of 32 MiB on older releases.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.catalogue import instance_types
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.emr.sizing import executor_vcpus, properties, sizes, yarn_memory_mib
from ascii_hydra.engines.planned import capacity, describe
from ascii_hydra.engines.request import keeps_promise, request_notices
from tests.emr_request.asking import asked, flow_of, run_of, settled, told

KNOWN = instance_types()
OFFERED = sorted(one.name for one in KNOWN.values() if one.emr_since is not None and one.vcpus >= 4)
SIZES = {"small": (2, 4), "medium": (4, 8), "large": (8, 16)}
# yarn.nodemanager.resource.memory-mb of Amazon EMR's Release Guide, "Task configuration"; of c5, of
# EMR's own table of instance types.
DOCUMENTED_MIB = {
    "c5.xlarge": 5632,
    "c5.2xlarge": 11520,
    "c5.4xlarge": 23040,
    "m5a.xlarge": 12288,
    "m5a.2xlarge": 24576,
    "m5a.4xlarge": 57344,
    "m5ad.xlarge": 11712,
    "m5ad.2xlarge": 23424,
    "m5ad.4xlarge": 54272,
    "m5.12xlarge": 188416,
    "m5.24xlarge": 385024,
    "m7g.xlarge": 11712,
    "m7g.2xlarge": 23424,
    "m7g.4xlarge": 54272,
    "m7g.8xlarge": 116736,
    "m7g.16xlarge": 241664,
    "m7a.48xlarge": 741376,
}


def mib(size: str) -> int:
    assert size.endswith("m")
    return int(size[:-1])


def container_mib(heap: str) -> int:
    whole = mib(heap) + max(384, int(mib(heap) * 0.1))
    return math.ceil(whole / 32) * 32


def fits(flow: dict[str, Any], steps: int = 1) -> None:
    """Every worker has room for the drivers of all steps, and beside them for each step's share of
    executors; no executor more would fit where a driver may come."""
    yarn, spark = properties(flow, "yarn-site"), properties(flow, "spark-defaults")
    node = int(yarn["yarn.nodemanager.resource.memory-mb"])
    driver = container_mib(spark["spark.driver.memory"])
    executor = container_mib(spark["spark.executor.memory"])
    assert steps * (driver + executor) <= node
    assert node - steps * (driver + executor) < executor
    assert steps == 1 or node // executor == steps
    # The largest container that YARN gives is not what the primary's type says.
    assert executor <= int(yarn["yarn.scheduler.maximum-allocation-mb"]) == node
    # A cluster that counts vCPUs as well has room for the drivers' too.
    vcpus = int(spark["spark.executor.cores"])
    assert steps * (vcpus + 1) <= int(yarn["yarn.nodemanager.resource.cpu-vcores"])


def conf_of(*overrides: str, **config: Any) -> dict[str, str]:
    return properties(flow_of(*overrides, **config), "spark-defaults")


def executors_get(*overrides: str, **config: Any) -> tuple[float, float]:
    """The vCPUs of executors, and of the workers."""
    has = capacity(asked(run_of(*overrides, **config)))
    assert has is not None
    return has.executor_vcpus, has.vcpus


@pytest.mark.parametrize("size", SIZES)
def test_executors_get_every_vcpu_that_a_size_promises(size: str) -> None:
    workers, vcpus = SIZES[size]
    flow = flow_of(f"cluster={size}")
    fits(flow)
    spark = properties(flow, "spark-defaults")
    assert int(spark["spark.executor.cores"]) == vcpus
    assert int(spark["spark.dynamicAllocation.initialExecutors"]) == workers
    assert executors_get(f"cluster={size}") == (workers * vcpus, workers * vcpus)
    assert "maximizeResourceAllocation" not in str(flow)


@pytest.mark.parametrize("name", DOCUMENTED_MIB)
def test_yarn_is_never_given_more_than_emr_gives_it(name: str) -> None:
    assert 0.9 * DOCUMENTED_MIB[name] <= yarn_memory_mib(KNOWN[name]) <= DOCUMENTED_MIB[name]


@given(
    name=st.sampled_from(OFFERED),
    core=st.integers(1, 20),
    tasks=st.integers(0, 20),
    primary=st.sampled_from(OFFERED),
)
def test_every_type_of_emr_is_used_whole(name: str, core: int, tasks: int, primary: str) -> None:
    groups = [("MASTER", primary, 1), ("CORE", name, core), ("TASK", name, tasks)]
    flow: dict[str, Any] = {
        "Instances": {
            "InstanceGroups": [
                {"InstanceRole": role, "InstanceType": kind, "InstanceCount": count}
                for role, kind, count in groups
                if count
            ]
        }
    }
    flow["Configurations"] = sizes(flow, {}, KNOWN)
    fits(flow)
    spark = properties(flow, "spark-defaults")
    assert int(spark["spark.executor.cores"]) == KNOWN[name].vcpus
    assert executor_vcpus(flow, {}, KNOWN) == (core + tasks) * KNOWN[name].vcpus


@pytest.mark.parametrize(("size", "most"), [("small", 2), ("medium", 3), ("large", 5)])
def test_steps_at_a_time_have_their_own_part_of_every_worker(size: str, most: int) -> None:
    workers, vcpus = SIZES[size]
    shared = (f"cluster={size}", "launch.reuse_cluster=run", "cluster.spot_share=0.5")
    for steps in range(2, most + 1):
        words = (*shared, f"engine.step_concurrency={steps}")
        assert told(*words) == ""
        flow = flow_of(*words)
        fits(flow, steps)
        spark = properties(flow, "spark-defaults")
        # No step can take the executors of another, and all drivers may start.
        assert int(spark["spark.dynamicAllocation.maxExecutors"]) == workers
        assert properties(flow, "capacity-scheduler") == {
            "yarn.scheduler.capacity.maximum-am-resource-percent": "1"
        }
        assert executors_get(*words) == (workers * (vcpus // steps), workers * vcpus)
        (notice,) = [
            one for one in request_notices(settled(*words)) if ": Spark's executors" in one
        ]
        assert f"because engine.step_concurrency={steps} divides every worker" in notice
    refused = told(*shared, f"engine.step_concurrency={most + 1}")
    assert refused.startswith(f"engine.step_concurrency={most + 1}: a worker has {vcpus} vCPUs")
    assert f"Set {most} or less" in refused


def test_a_cluster_of_one_step_has_no_limit_to_grow_by() -> None:
    spark = conf_of("cluster.max_workers=10", "engine.step_concurrency=9")
    assert "spark.dynamicAllocation.maxExecutors" not in spark
    assert spark["spark.dynamicAllocation.initialExecutors"] == "2"
    shared = ("launch.reuse_cluster=run", "engine.step_concurrency=2", "cluster.max_workers=10")
    assert conf_of(*shared)["spark.dynamicAllocation.maxExecutors"] == "10"


def test_a_limit_of_vcpus_is_counted_in_workers() -> None:
    limits = {"UnitType": "VCPU", "MinimumCapacityUnits": 8, "MaximumCapacityUnits": 40}
    words = ("launch.reuse_cluster=run", "engine.step_concurrency=2")
    own = {"ManagedScalingPolicy": {"ComputeLimits": limits}}
    assert conf_of(*words, emr_job_config=own)["spark.dynamicAllocation.maxExecutors"] == "10"
    grown = describe(asked(run_of(*words, emr_job_config=own)))
    assert grown == "2 to 10 x m5d.xlarge + m5d.xlarge, shared"


def test_executors_are_sized_to_the_smallest_of_a_fleet() -> None:
    mixed = flow_of("cluster.worker_instance_types=[r5d.xlarge,m5d.xlarge]")
    assert properties(mixed, "yarn-site") == properties(flow_of(), "yarn-site")
    assert properties(mixed, "spark-defaults") == properties(flow_of(), "spark-defaults")


def test_what_a_user_sets_is_kept_and_the_rest_fitted_to_it() -> None:
    spark = conf_of("+engine.spark_conf={spark.executor.cores: '2', spark.driver.memory: 3g}")
    assert spark["spark.dynamicAllocation.initialExecutors"] == "4"
    # 11,264 MiB less a driver of 3,456, for two executors: 3,904 each with 384 of overhead.
    assert spark["spark.executor.memory"] == "3520m"
    words = ["+engine.spark_conf={spark.executor.cores: '2', spark.driver.memory: 3g}"]
    assert executors_get(*words) == (8, 8)
    theirs = "{classification: spark-defaults, properties: {spark.executor.memory: 2g}}"
    assert conf_of(f"engine.configurations=[{theirs}]")["spark.executor.memory"] == "2g"
    own = {
        "Configurations": [
            {"Classification": "spark-defaults", "Properties": {"spark.driver.memory": "1g"}},
            {
                "Classification": "yarn-site",
                "Properties": {"yarn.nodemanager.resource.memory-mb": 12288},
            },
        ]
    }
    flow = flow_of(emr_job_config=own)
    spark = properties(flow, "spark-defaults")
    assert spark["spark.driver.memory"] == "1g"
    yarn = properties(flow, "yarn-site")
    assert yarn["yarn.nodemanager.resource.memory-mb"] == "12288"
    assert container_mib(spark["spark.executor.memory"]) == 12288 - 1408
    fixed = conf_of("+engine.spark_conf={spark.dynamicAllocation.enabled: 'false'}")
    assert fixed["spark.executor.instances"] == "2"


def test_instances_of_a_users_own_are_what_is_sized() -> None:
    def group(role: str, kind: str, count: int) -> dict[str, Any]:
        return {"InstanceRole": role, "InstanceType": kind, "InstanceCount": count}

    groups = [group("MASTER", "m5d.xlarge", 1), group("CORE", "m5d.4xlarge", 20)]
    own = {"Instances": {"InstanceGroups": groups}}
    flow = flow_of(emr_job_config=own)
    fits(flow)
    assert executors_get(emr_job_config=own) == (320, 320)
    short = {
        "Instances": {
            "MasterInstanceType": "m5d.xlarge",
            "SlaveInstanceType": "m5d.2xlarge",
            "InstanceCount": 4,
        }
    }
    assert executors_get(emr_job_config=short) == (24, 24)


@pytest.mark.parametrize(("size", "cores"), [("small", 4), ("medium", 24), ("large", 112)])
def test_emrs_own_maximization_is_told_with_what_it_costs(size: str, cores: int) -> None:
    words = (f"cluster={size}", "engine.maximize_resource_allocation=true")
    assert told(*words) == ""
    flow = flow_of(*words)
    assert properties(flow, "spark") == {"maximizeResourceAllocation": "true"}
    assert "spark.executor.memory" not in properties(flow, "spark-defaults")
    workers, vcpus = SIZES[size]
    assert executors_get(*words) == (cores, workers * vcpus)
    notices = list(request_notices(settled(*words)))
    assert (
        f"step_1, step_2: Spark's executors get {cores} of the {workers * vcpus} vCPUs of"
        " the workers, because engine.maximize_resource_allocation=true gives the driver a whole"
        " worker."
    ) in notices
    assert any(f"{cores} vCPUs for Spark's executors, not" in one for one in notices)
    assert not keeps_promise(settled(*words))
    assert keeps_promise(settled(f"cluster={size}"))


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ("{spark.driver.memory: 12g}", "too little for Spark's driver and an executor"),
        ("{spark.executor.memory: 12g}", "engine.spark_conf: no worker (2 x m5d.xlarge"),
        ("{spark.executor.memory: much}", "spark.executor.memory=much: is no size of memory"),
        ("{spark.executor.cores: '0'}", "spark.executor.cores=0: must be a whole number"),
        ("{spark.executor.memoryOverheadFactor: a}", "memoryOverheadFactor=a: write a number"),
    ],
)
def test_an_executor_that_no_worker_has_room_for_is_refused(conf: str, said: str) -> None:
    assert said in told(f"+engine.spark_conf={conf}")


def test_nothing_is_sized_for_instances_that_are_not_known() -> None:
    flow = {
        "Instances": {
            "InstanceGroups": [
                {"InstanceRole": "CORE", "InstanceType": "m99.large", "InstanceCount": 1}
            ]
        }
    }
    assert sizes(flow, {}, KNOWN) == []
    assert executor_vcpus(flow, {}, KNOWN) is None
    assert capacity(asked(run_of("engine.cluster_id=j-1"))) is None


def test_types_too_small_for_driver_and_executor_are_refused() -> None:
    flow = {"Instances": {"MasterInstanceType": "m1.small", "InstanceCount": 2}}
    with pytest.raises(ConfigError, match="too little for Spark's driver and an executor"):
        sizes(flow, {}, KNOWN)


def test_a_broken_request_is_refused_for_what_is_broken() -> None:
    said = told(emr_job_config={"Instances": {"InstanceGroups": [{"InstanceRole": "CORE"}]}})
    assert "InstanceGroups[0].InstanceType" in said
