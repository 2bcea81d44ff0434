"""How much of a worker's memory and vCPUs Spark's driver and executors get. Pure.

EMR's own `maximizeResourceAllocation` gives the driver as much memory as the smaller of a core node
and the primary has, so that a worker that runs the driver has no room for an executor; AWS does not
recommend it for instance fleets (Release Guide, "Configure Spark"). So the sizes are written out
instead: every worker has room for the driver, since YARN may start it on any core node, and beside
it for one executor with all of the worker's vCPUs. One executor on a worker is what Databricks runs
("Databricks runs one executor per worker node", docs.databricks.com), with which this is compared;
heaps of tens of GiB are what G1, the collector of Java 17, is made for.

The driver takes no vCPU from the executors: YARN's capacity scheduler counts memory alone by
default (`DefaultResourceCalculator`; Hadoop, "Capacity Scheduler"). Should a cluster count vCPUs as
well, each worker offers one more for each driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ascii_hydra.catalogue import InstanceType
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.emr.nodes import most_workers, nodes_of, worker_nodes

NODE_MEMORY, NODE_VCPUS = (
    "yarn.nodemanager.resource.memory-mb",
    "yarn.nodemanager.resource.cpu-vcores",
)
_AM_PERCENT = "yarn.scheduler.capacity.maximum-am-resource-percent"
_DRIVER, _EXECUTOR, _CORES = "spark.driver.memory", "spark.executor.memory", "spark.executor.cores"
_INSTANCES, _DYNAMIC = "spark.executor.instances", "spark.dynamicAllocation.enabled"
_INITIAL = "spark.dynamicAllocation.initialExecutors"
_MOST = "spark.dynamicAllocation.maxExecutors"
# YARN rounds a container up to a multiple of yarn.scheduler.minimum-allocation-mb: 1 MiB on current
# releases (Release Guide, "Task configuration"), 32 MiB on older ones.
_STEP_MIB = 32
# spark.*.memoryOverhead: a tenth of the heap, and 384 MiB or more; on YARN for PySpark too (Spark,
# "Configuration").
_OVERHEAD_SHARE, _LEAST_OVERHEAD_MIB = 0.1, 384
# Spark's own default for a driver; more than a worker's sixth, or than 8 GiB, would be missed by
# the executors.
_LEAST_DRIVER_MIB, _MOST_DRIVER_MIB, _DRIVER_SHARE = 1024, 8192, 6
# Spark starts no executor with less (UnifiedMemoryManager: 1.5 x 300 MiB).
_LEAST_EXECUTOR_MIB = 450
# What maximizeResourceAllocation leaves of a worker for YARN's application master.
_MAXIMIZED_RESERVE_MIB = 896
_SIZE = re.compile(r"(\d+)\s*(b|k|kb|m|mb|g|gb|t|tb)?", re.IGNORECASE)
_UNIT_MIB = {"b": 1 / 1024**2, "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}


@dataclass(frozen=True)
class Worker:
    """What every worker of a cluster has at least.

    Attributes:
        memory_mib: for all containers of YARN.
        vcpus: of the instance.
    """

    memory_mib: int
    vcpus: int


def yarn_memory_mib(kind: InstanceType) -> int:
    """The memory of an instance that YARN may give away, in MiB.

    Never more than what EMR itself gives YARN on current instance types, which is 3/4 of the memory
    of small ones and all but 8 GiB of large ones, of 61/64 of EC2's figure for most families
    (Release Guide, "Task configuration": 11,712 on m7g.xlarge, 54,272 on m7g.4xlarge, 741,376 on
    m7a.48xlarge), and 11/16 on the smallest c5.
    """
    whole = kind.memory_gib * 1024
    return int(max(whole * 11 / 16, whole * 61 / 64 - 8192))


def sizes(
    flow: Mapping[str, Any], spark_conf: Mapping[str, str], known: Mapping[str, InstanceType]
) -> list[dict[str, Any]]:
    """Configuration classifications by which executors get all workers of a cluster. What the
    cluster or the step says of it already is kept, and the rest fitted to it.

    With `StepConcurrencyLevel` above 1, each step gets its part of every worker, so that no step
    can keep the driver or the executors of another from starting.

    Args:
        flow: the arguments of RunJobFlow.
        spark_conf: of the step itself, which comes before the cluster's.
        known: instance types; nothing is sized for one that is not known.

    Raises:
        ConfigError: a worker has not the memory for so many drivers and executors, or a size is not
            written as Spark reads it.
    """
    steps = flow.get("StepConcurrencyLevel", 1)
    worker = _worker(flow, known)
    if worker is None or _maximized(flow):
        return []
    conf = {**properties(flow, "spark-defaults"), **spark_conf}
    if steps > worker.vcpus:
        raise ConfigError([_crowded(steps, worker)])
    share_mib = worker.memory_mib // steps
    part_mib = share_mib // (_DRIVER_SHARE * steps)
    own = max(_LEAST_DRIVER_MIB, min(_MOST_DRIVER_MIB, part_mib))
    driver_mib = _container_mib("driver", conf, own)
    cores = _whole(conf, _CORES) or max(1, worker.vcpus // steps)
    each = max(1, worker.vcpus // steps // cores)
    heap_mib = _heap_mib((share_mib - driver_mib) // each // _STEP_MIB * _STEP_MIB, conf)
    theirs = _DRIVER in conf or _EXECUTOR in conf
    # An executor more than planned must not fit into the room that is kept for drivers.
    crowded = steps > 1 and steps * driver_mib >= (share_mib - driver_mib) // each
    if heap_mib < _LEAST_EXECUTOR_MIB or (crowded and not theirs):
        raise ConfigError([_crowded(steps, worker)])
    count = sum(one.count for one in worker_nodes(flow))
    first = min(count * each, _whole(conf, _MOST) or count * each)
    spark = {_DRIVER: f"{own}m", _CORES: str(cores), _EXECUTOR: f"{heap_mib}m"}
    # All of them from the start, as on Databricks; Spark gives back those that it does not need.
    spark[_INITIAL if conf.get(_DYNAMIC, "true") == "true" else _INSTANCES] = str(first)
    if steps > 1:
        spark[_MOST] = str(most_workers(flow, worker.vcpus) * each)
    yarn = {
        NODE_MEMORY: str(worker.memory_mib),
        # Else the primary's type may decide it, which is smaller than the workers.
        "yarn.scheduler.maximum-allocation-mb": str(worker.memory_mib),
        NODE_VCPUS: str(worker.vcpus + steps),
        "yarn.scheduler.maximum-allocation-vcores": str(worker.vcpus + steps),
    }
    made = [
        {"Classification": "yarn-site", "Properties": yarn},
        {"Classification": "spark-defaults", "Properties": spark},
    ]
    if steps > 1:  # as many drivers as EMR starts steps
        made.append({"Classification": "capacity-scheduler", "Properties": {_AM_PERCENT: "1"}})
    return made


def executor_vcpus(
    flow: Mapping[str, Any], spark_conf: Mapping[str, str], known: Mapping[str, InstanceType]
) -> float | None:
    """The vCPUs that the executors of a step get while it runs alone: those of all workers, less
    those of workers on which no executor has room. None if an instance type is not known.

    Raises:
        ConfigError: a size is not written as Spark reads it.
    """
    if _worker(flow, known) is None:
        return None
    # The driver is on a core node, if there is one.
    workers = sorted(worker_nodes(flow), key=lambda one: one.role == "task")
    conf = {**properties(flow, "spark-defaults"), **spark_conf}
    given = _whole(properties(flow, "yarn-site"), NODE_MEMORY)
    each = [_least(one.types, known, given) for one in workers for _ in range(one.count)]
    if _maximized(flow):
        managers = [one for one in nodes_of(flow) if one.role == "primary"]
        smallest = min(_least(one.types, known, given).memory_mib for one in (*managers, *workers))
        driver_mib = smallest if len(each) > 1 else _container_mib("driver", conf, 1024)
        reserved_mib = _MAXIMIZED_RESERVE_MIB if len(each) > 1 else driver_mib
        executor_mib = max(one.memory_mib for one in each) - reserved_mib
        cores = max(one.vcpus for one in each)
    else:
        driver_mib = _container_mib("driver", conf, _LEAST_DRIVER_MIB)
        executor_mib = _container_mib("executor", conf, 1024)
        cores = _whole(conf, _CORES) or 1
    fixed = conf.get(_DYNAMIC, "true") != "true"
    most = _whole(conf, _INSTANCES if fixed else _MOST)
    room = [one.memory_mib for one in each]
    room[0] -= driver_mib
    counts = [max(0, mib // executor_mib) for mib in room]
    whole = sum(min(count * cores, one.vcpus) for count, one in zip(counts, each, strict=True))
    return float(whole if most is None else min(whole, most * cores))


def properties(flow: Mapping[str, Any], classification: str) -> dict[str, str]:
    """The properties of one of a cluster's configuration classifications."""
    found: dict[str, str] = {}
    for one in flow.get("Configurations") or ():
        if one.get("Classification") == classification:
            found |= one.get("Properties") or {}
    return found


def _maximized(flow: Mapping[str, Any]) -> bool:
    return properties(flow, "spark").get("maximizeResourceAllocation") == "true"


def _worker(flow: Mapping[str, Any], known: Mapping[str, InstanceType]) -> Worker | None:
    """What every worker has; None if the type of one is not known."""
    types = tuple(name for one in worker_nodes(flow) for name in one.types)
    if not types or any(name not in known for name in types):
        return None
    return _least(types, known, _whole(properties(flow, "yarn-site"), NODE_MEMORY))


def _least(
    types: tuple[str, ...], known: Mapping[str, InstanceType], memory_mib: int | None
) -> Worker:
    """What an instance of any of these types has: EMR may take any. A type that is not known has
    nothing."""
    kinds = [known[name] for name in types if name in known]
    least_mib = min((yarn_memory_mib(one) for one in kinds), default=0)
    return Worker(memory_mib or least_mib, min((one.vcpus for one in kinds), default=0))


def _container_mib(process: str, conf: Mapping[str, str], heap_mib: int) -> int:
    """The memory that YARN gives a driver or an executor: its heap, `heap_mib` unless the
    configuration says another, and what it needs besides."""
    heap_mib = _size_mib(conf, f"spark.{process}.memory") or heap_mib
    besides = _size_mib(conf, f"spark.{process}.memoryOverhead")
    if besides is None:
        besides = max(_LEAST_OVERHEAD_MIB, int(heap_mib * _overhead_share(process, conf)))
    return -(-(heap_mib + besides + _python_mib(process, conf)) // _STEP_MIB) * _STEP_MIB


def _heap_mib(container_mib: int, conf: Mapping[str, str]) -> int:
    """The largest heap of an executor whose container is no larger."""
    rest_mib = container_mib - _python_mib("executor", conf)
    besides = _size_mib(conf, "spark.executor.memoryOverhead")
    if besides is not None:
        return rest_mib - besides
    share = _overhead_share("executor", conf)
    return min(rest_mib - _LEAST_OVERHEAD_MIB, int(rest_mib / (1 + share)))


def _overhead_share(process: str, conf: Mapping[str, str]) -> float:
    key = f"spark.{process}.memoryOverheadFactor"
    try:
        return float(conf.get(key, _OVERHEAD_SHARE))
    except ValueError:
        raise ConfigError([Problem(f"{key}={conf[key]}", "write a number such as 0.1.")]) from None


def _python_mib(process: str, conf: Mapping[str, str]) -> int:
    """Spark adds a limit of Python's memory to an executor's container."""
    return (_size_mib(conf, "spark.executor.pyspark.memory") or 0) if process == "executor" else 0


def _size_mib(conf: Mapping[str, str], key: str) -> int | None:
    text = conf.get(key)
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError([Problem(f"{key}={text}", "is no size of memory; write 4g, 512m, ...")])
    return int(int(found[1]) * _UNIT_MIB[(found[2] or "m")[0].lower()])


def _whole(conf: Mapping[str, str], key: str) -> int | None:
    text = conf.get(key)
    if text is None:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError([Problem(f"{key}={text}", "must be a whole number of 1 or more.")])
    return int(text)


def _crowded(steps: int, worker: Worker) -> Problem:
    has = f"a worker has {worker.vcpus} vCPUs, and YARN {worker.memory_mib} MiB of its memory"
    if steps == 1:
        return Problem(
            "engine=emr",
            f"{has}: too little for Spark's driver and an executor on one worker. Choose larger"
            " cluster.worker_instance_types, or set less spark.driver.memory in engine.spark_conf.",
        )
    fit = max(_fitting(worker), default=1)
    return Problem(
        f"engine.step_concurrency={steps}",
        f"{has}: too little for the drivers and executors of {steps} steps at a time, each of which"
        f" might wait for the others for ever. Set {fit} or less, or choose larger"
        " cluster.worker_instance_types.",
    )


def _fitting(worker: Worker) -> Iterator[int]:
    """Numbers of steps that a worker has the memory and the vCPUs for, with drivers of the least
    size."""
    driver_mib = _container_mib("driver", {}, _LEAST_DRIVER_MIB)
    for steps in range(1, worker.vcpus + 1):
        executor_mib = worker.memory_mib // steps - driver_mib
        if executor_mib > (steps * driver_mib if steps > 1 else 0):
            yield steps
