"""Spark's driver and executors fit the workers of a cluster, and use every vCPU of them.

YARN's arithmetic is written out here once more: a container is the heap and the overhead that are
written, with what else Spark adds to it, and YARN rounds it up to a multiple of 32 MiB on older
releases.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascii_hydra.catalogue import instance_types
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.emr.sizing import Sizing, properties, sizing, yarn_memory_mib
from ascii_hydra.engines.emr.submit_words import spark_conf_in
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
    assert size[-1] in "mg"
    return int(size[:-1]) * (1024 if size[-1] == "g" else 1)


def container_mib(spark: dict[str, str], process: str) -> int:
    """By the keys that are written: EMR's own factor, 0.1875 for executors, must not count."""
    keys = [f"spark.{process}.memory", f"spark.{process}.memoryOverhead"]
    if process == "executor" and spark.get("spark.memory.offHeap.enabled") == "true":
        keys.append("spark.memory.offHeap.size")
    if process == "executor" and "spark.executor.pyspark.memory" in spark:
        keys.append("spark.executor.pyspark.memory")
    return math.ceil(sum(mib(spark[key]) for key in keys) / 32) * 32


def fits(flow: dict[str, Any], steps: int = 1) -> None:
    """Every worker has room for the drivers of all steps, and beside them for each step's share of
    executors; no executor more would fit where a driver may come."""
    yarn, spark = properties(flow, "yarn-site"), properties(flow, "spark-defaults")
    node = int(yarn["yarn.nodemanager.resource.memory-mb"])
    driver, executor = container_mib(spark, "driver"), container_mib(spark, "executor")
    assert steps * (driver + executor) <= node
    assert node - steps * (driver + executor) < executor
    assert steps == 1 or node // executor == steps
    # No less is left for Python than where EMR sizes the executors.
    heap = mib(spark["spark.executor.memory"])
    assert mib(spark["spark.executor.memoryOverhead"]) >= max(384, int(heap * 0.1875))
    # EMR would make executors larger than that where a node offers more.
    assert spark["spark.yarn.heterogeneousExecutors.enabled"] == "false"
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
    made = sizing(flow, {}, KNOWN)
    flow["Configurations"] = made.configurations
    fits(flow)
    spark = properties(flow, "spark-defaults")
    assert int(spark["spark.executor.cores"]) == KNOWN[name].vcpus
    assert made.executor_vcpus == (core + tasks) * KNOWN[name].vcpus
    assert sizing(flow, {}, KNOWN) == made


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
    # 11,264 MiB less a driver of 3,456, for two executors: 3,904 each.
    assert spark["spark.executor.memory"] == "3287m"
    assert spark["spark.executor.memoryOverhead"] == "617m"
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
    assert container_mib(spark, "executor") == 12288 - 1408
    fixed = conf_of("+engine.spark_conf={spark.dynamicAllocation.enabled: 'false'}")
    assert fixed["spark.executor.instances"] == "2"
    assert "spark.executor.instances" not in conf_of(
        "+engine.spark_conf={spark.dynamicAllocation.enabled: 'True'}"
    )


@pytest.mark.parametrize(
    "key", ["spark.executor.memoryOverheadFactor", "spark.yarn.executor.memoryOverheadFactor"]
)
def test_a_factor_of_overhead_is_what_the_executor_is_fitted_by(key: str) -> None:
    spark = conf_of(f"+engine.spark_conf={{{key}: '0.5'}}")
    # In MiB as well: beside a user's factor EMR has one of its own.
    heap, overhead = (mib(spark[f"spark.executor.{one}"]) for one in ("memory", "memoryOverhead"))
    assert heap + overhead == container_mib(spark, "executor")
    assert 0 <= overhead - heap * 0.5 < 2


@pytest.mark.parametrize(
    "key", ["spark.executor.memoryOverhead", "spark.yarn.executor.memoryOverhead"]
)
def test_an_overhead_of_a_users_own_is_kept(key: str) -> None:
    flow = flow_of(f"+engine.spark_conf={{{key}: 3g}}")
    spark = properties(flow, "spark-defaults")
    assert spark["spark.executor.memoryOverhead"] == "3072m"
    fits(flow)
    theirs = f"[{{classification: spark-defaults, properties: {{{key}: 3g}}}}]"
    kept = conf_of(f"engine.configurations={theirs}")
    assert (kept[key], mib(kept["spark.executor.memoryOverhead"])) == ("3g", 3072)


@pytest.mark.parametrize("size", ["2g", "2147483648"])
def test_memory_off_the_heap_and_pythons_count_in_the_container(size: str) -> None:
    """A number alone is in bytes for offHeap.size, and in MiB for all others (Spark)."""
    off_heap = {"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": size}
    python = {"spark.executor.pyspark.memory": "1024"}
    settings = ", ".join(f"{key}: '{value}'" for key, value in (off_heap | python).items())
    plain, spark = conf_of(), conf_of(f"+engine.spark_conf={{{settings}}}")
    counted = spark | off_heap | {"spark.memory.offHeap.size": "2g"}
    counted |= {"spark.executor.pyspark.memory": "1g"}
    assert container_mib(counted, "executor") == container_mib(plain, "executor")
    off = conf_of("+engine.spark_conf={spark.memory.offHeap.size: 2g}")
    assert off["spark.executor.memory"] == plain["spark.executor.memory"]


def test_a_container_with_its_memory_off_the_heap_must_fit_a_worker() -> None:
    off_heap = "spark.memory.offHeap.enabled: 'true', spark.memory.offHeap.size: 8g"
    said = told(f"+engine.spark_conf={{spark.executor.memory: 3g, {off_heap}}}")
    assert said.startswith(
        "engine.spark_conf: Spark's executor takes a container of 11840 MiB (spark.executor.memory,"
        " spark.executor.memoryOverhead, spark.memory.offHeap.size and"
        " spark.executor.pyspark.memory), and YARN gives 11264 MiB of a worker at most"
    )


def test_more_task_slots_than_vcpus_are_allowed_by_yarn() -> None:
    own = "+engine.spark_conf={spark.executor.cores: '16'}"
    flow = flow_of(own)
    yarn = properties(flow, "yarn-site")
    assert yarn["yarn.nodemanager.resource.cpu-vcores"] == "17"
    assert yarn["yarn.scheduler.maximum-allocation-vcores"] == "17"
    assert properties(flow, "spark-defaults")["spark.dynamicAllocation.initialExecutors"] == "2"
    assert executors_get(own) == (8, 8)
    few = "{spark.executor.cores: '16', spark.dynamicAllocation.maxExecutors: '1'}"
    assert executors_get(f"+engine.spark_conf={few}") == (4, 8)
    shared = ("launch.reuse_cluster=run", "engine.step_concurrency=2")
    yarn = properties(flow_of(own, *shared), "yarn-site")
    assert yarn["yarn.nodemanager.resource.cpu-vcores"] == "34"


@pytest.mark.parametrize(
    "key",
    ["yarn.nodemanager.resource.cpu-vcores", "yarn.scheduler.maximum-allocation-vcores"],
)
def test_more_cores_than_yarn_is_told_to_offer_are_refused(key: str) -> None:
    theirs = f"[{{classification: yarn-site, properties: {{{key}: '8'}}}}]"
    words = (f"engine.configurations={theirs}", "+engine.spark_conf={spark.executor.cores: '16'}")
    assert f"spark.executor.cores=16: is more than {key}=8" in told(*words)


def test_a_container_above_yarns_largest_of_a_users_own_is_refused() -> None:
    theirs = "{classification: yarn-site, properties: {yarn.scheduler.maximum-allocation-mb: 4096}}"
    words = (f"engine.configurations=[{theirs}]", "+engine.spark_conf={spark.executor.memory: 4g}")
    assert "and YARN gives 4096 MiB of a worker at most" in told(*words)


def test_an_executor_is_fitted_to_yarns_largest_container_of_a_users_own() -> None:
    theirs = "{classification: yarn-site, properties: {yarn.scheduler.maximum-allocation-mb: 4096}}"
    spark = conf_of(f"engine.configurations=[{theirs}]")
    # 9,003 MiB beside a driver for three of them, as two would be larger.
    assert container_mib(spark, "executor") == 2976
    assert spark["spark.executor.cores"] == "1"
    assert spark["spark.dynamicAllocation.initialExecutors"] == "6"


def test_cores_are_fitted_to_an_executor_memory_of_a_users_own() -> None:
    words = ("cluster=medium", "+engine.spark_conf={spark.executor.memory: 4g}")
    flow = flow_of(*words)
    spark, yarn = properties(flow, "spark-defaults"), properties(flow, "yarn-site")
    node = int(yarn["yarn.nodemanager.resource.memory-mb"])
    fitting = (node - container_mib(spark, "driver")) // container_mib(spark, "executor")
    assert fitting == 3
    assert int(spark["spark.executor.cores"]) == 8 // fitting
    assert int(spark["spark.dynamicAllocation.initialExecutors"]) == 4 * fitting
    both = "+engine.spark_conf={spark.executor.memory: 4g, spark.executor.cores: '4'}"
    assert conf_of("cluster=medium", both)["spark.executor.cores"] == "4"
    assert conf_of("cluster=medium", both)["spark.dynamicAllocation.initialExecutors"] == "8"


@pytest.mark.parametrize(
    "conf",
    [
        "{}",
        "{spark.executor.memory: 4g}",
        "{spark.executor.cores: '16'}",
        "{spark.executor.memory: 2g, spark.executor.cores: '3'}",
        "{spark.dynamicAllocation.enabled: 'false', spark.executor.memory: 4g}",
        "{spark.memory.offHeap.enabled: 'true', spark.memory.offHeap.size: 4g}",
        "{spark.yarn.executor.memoryOverheadFactor: '0.4', spark.driver.memoryOverhead: 1g}",
    ],
)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_plan_tells_of_the_executors_that_the_request_has(conf: str, steps: int) -> None:
    """The cluster's own sizes, read back from a request, divide it as they did when they were
    made."""
    words = (f"+engine.spark_conf={conf}", f"engine.step_concurrency={steps}")
    made = asked(run_of("cluster=medium", "launch.reuse_cluster=run", *words))
    assert made.run_job_flow is not None
    bare = {**made.run_job_flow, "Configurations": []}
    spark_conf = spark_conf_in(made.step_config)
    first, again = (sizing(flow, spark_conf, KNOWN) for flow in (bare, made.run_job_flow))
    assert again == first
    assert executors_get("cluster=medium", "launch.reuse_cluster=run", *words) == (
        first.executor_vcpus,
        32,
    )


def test_executors_of_different_sizes_are_a_users_to_choose() -> None:
    key = "spark.yarn.heterogeneousExecutors.enabled"
    theirs = f"[{{classification: spark-defaults, properties: {{{key}: 'true'}}}}]"
    assert conf_of(f"engine.configurations={theirs}")[key] == "true"
    maximized = conf_of("engine.maximize_resource_allocation=true")
    assert key not in maximized


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
        ("{spark.driver.memory: 10g}", "too little for Spark's driver and an executor"),
        ("{spark.driver.memory: 12g}", "Spark's driver takes a container of 13536 MiB"),
        ("{spark.executor.memory: 12g}", "Spark's executor takes a container of 14592 MiB"),
        ("{spark.executor.memory: 400m}", "spark.executor.memory=400m: Spark starts no executor"),
        (
            "{spark.memory.offHeap.enabled: 'true', spark.memory.offHeap.size: 9g}",
            "too little for Spark's driver and an executor",
        ),
        (
            "{spark.executor.memory: 4g, spark.executor.pyspark.memory: 7g}",
            "Spark's executor takes a container of 12032 MiB",
        ),
        ("{spark.executor.memory: much}", "spark.executor.memory=much: is no size of memory"),
        ("{spark.executor.cores: '0'}", "spark.executor.cores=0: must be a whole number"),
        ("{spark.executor.memoryOverheadFactor: a}", "memoryOverheadFactor=a: write a number"),
        ("{spark.yarn.driver.memoryOverheadFactor: '-1'}", "Factor=-1: write a number"),
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
    assert sizing(flow, {}, KNOWN) == Sizing([], None)
    assert capacity(asked(run_of("engine.cluster_id=j-1"))) is None


def test_types_too_small_for_a_driver_are_refused() -> None:
    flow = {"Instances": {"MasterInstanceType": "m1.small", "InstanceCount": 2}}
    with pytest.raises(ConfigError, match=r"1408 MiB .* YARN gives 1196 MiB of a worker"):
        sizing(flow, {}, KNOWN)


def test_a_broken_request_is_refused_for_what_is_broken() -> None:
    said = told(emr_job_config={"Instances": {"InstanceGroups": [{"InstanceRole": "CORE"}]}})
    assert "InstanceGroups[0].InstanceType" in said
