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

`spark.*.memoryOverhead` is written in MiB, so that no release's factor counts beside it: EMR's own
spark-defaults have `spark.yarn.executor.memoryOverheadFactor 0.1875`, and not Spark's 0.1.
`spark.yarn.heterogeneousExecutors.enabled`, true on EMR since 5.32 and 6.2, would make our sizes
the least ones; AWS has it false where executors are sized explicitly (aws-emr-best-practices, Spark
and migration guide).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import Any

from ascii_hydra.catalogue import InstanceType
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.emr.nodes import most_workers, nodes_of, worker_nodes

NODE_MEMORY, NODE_VCPUS = (
    "yarn.nodemanager.resource.memory-mb",
    "yarn.nodemanager.resource.cpu-vcores",
)
_MOST_MEMORY, _MOST_VCPUS = (
    "yarn.scheduler.maximum-allocation-mb",
    "yarn.scheduler.maximum-allocation-vcores",
)
_AM_PERCENT = "yarn.scheduler.capacity.maximum-am-resource-percent"
_DRIVER, _EXECUTOR, _CORES = "spark.driver.memory", "spark.executor.memory", "spark.executor.cores"
_INSTANCES, _DYNAMIC = "spark.executor.instances", "spark.dynamicAllocation.enabled"
_INITIAL = "spark.dynamicAllocation.initialExecutors"
_MOST = "spark.dynamicAllocation.maxExecutors"
_HETEROGENEOUS = "spark.yarn.heterogeneousExecutors.enabled"
# YARN rounds a container up to a multiple of yarn.scheduler.minimum-allocation-mb: 1 MiB on current
# releases (Release Guide, "Task configuration"), 32 MiB on older ones.
_STEP_MIB = 32
# At least 384 MiB (Spark, "Configuration"), and the share of the heap that EMR has by default:
# 18.75 % for executors, Spark's 10 % for drivers (aws-emr-best-practices, Spark).
_LEAST_OVERHEAD_MIB = 384
_OVERHEAD_SHARE = {"driver": 0.1, "executor": 0.1875}
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


@dataclass(frozen=True)
class Memory:
    """The memory of a driver or an executor.

    Attributes:
        heap_mib: spark.*.memory.
        overhead_mib: spark.*.memoryOverhead.
        besides_mib: what Spark adds to an executor's container for memory off the heap and Python.
    """

    heap_mib: int
    overhead_mib: int
    besides_mib: int

    @property
    def container_mib(self) -> int:
        """What YARN gives it."""
        needed_mib = self.heap_mib + self.overhead_mib + self.besides_mib
        return -(-needed_mib // _STEP_MIB) * _STEP_MIB


@dataclass(frozen=True)
class Sizing:
    """How a cluster's memory and vCPUs are divided.

    Attributes:
        configurations: EMR's configuration classifications by which executors get all workers of
            the cluster; none if EMR maximizes them itself, or an instance type is not known.
        executor_vcpus: the vCPUs that the executors of a step get while it runs alone: those of all
            workers, less those of workers on which no executor has room. None if an instance type
            is not known.
    """

    configurations: list[dict[str, Any]] = field(default_factory=list)
    executor_vcpus: float | None = None


def yarn_memory_mib(kind: InstanceType) -> int:
    """The memory of an instance that YARN may give away, in MiB.

    Never more than what EMR itself gives YARN on current instance types, which is 3/4 of the memory
    of small ones and all but 8 GiB of large ones, of 61/64 of EC2's figure for most families
    (Release Guide, "Task configuration": 11,712 on m7g.xlarge, 54,272 on m7g.4xlarge, 741,376 on
    m7a.48xlarge), and 11/16 on the smallest c5.
    """
    whole = kind.memory_gib * 1024
    return int(max(whole * 11 / 16, whole * 61 / 64 - 8192))


def sizing(
    flow: Mapping[str, Any], spark_conf: Mapping[str, str], known: Mapping[str, InstanceType]
) -> Sizing:
    """How a cluster's memory and vCPUs are divided. What the cluster or the step says of it already
    is kept, and the rest fitted to it; so a flow that has these configurations is divided alike.

    With `StepConcurrencyLevel` above 1, each step gets its part of every worker, so that no step
    can keep the driver or the executors of another from starting.

    Args:
        flow: the arguments of RunJobFlow.
        spark_conf: of the step itself, which comes before the cluster's.
        known: instance types; nothing is sized for one that is not known.

    Raises:
        ConfigError: a worker has not the memory for so many drivers and executors, YARN would
            refuse the driver or an executor, or a size is not written as Spark reads it.
    """
    worker = _worker(flow, known)
    if worker is None:
        return Sizing()
    conf = {**properties(flow, "spark-defaults"), **spark_conf}
    if _maximized(flow):
        return Sizing(executor_vcpus=_maximized_vcpus(flow, conf, known))
    steps = flow.get("StepConcurrencyLevel", 1)
    if steps > worker.vcpus:
        raise ConfigError([_crowded(steps, worker, conf)])
    yarn = properties(flow, "yarn-site")
    most_mib = min(worker.memory_mib, _whole(yarn, _MOST_MEMORY) or worker.memory_mib)
    share_mib = worker.memory_mib // steps
    part_mib = share_mib // (_DRIVER_SHARE * steps)
    own_mib = max(_LEAST_DRIVER_MIB, min(_MOST_DRIVER_MIB, part_mib))
    driver = _memory("driver", conf, _size_mib(conf, _DRIVER) or own_mib)
    _refuse_above("driver", driver, most_mib)
    executor, cores, each = _executor(steps, worker, driver.container_mib, most_mib, conf)
    _refuse_above("executor", executor, most_mib)
    # More task slots than vCPUs are a user's to choose; YARN refuses a container of more vCPUs than
    # a node offers, whatever its scheduler counts.
    vcores = max(worker.vcpus, steps * cores) + steps
    _refuse_cores_above(cores, yarn, vcores)
    count = sum(one.count for one in worker_nodes(flow))
    fixed = not _switch(conf, _DYNAMIC, default=True)
    most = _whole(conf, _MOST)
    first = min(count * each, most or count * each)
    # All of them from the start, as on Databricks; Spark gives back those that it does not need.
    spark = {
        _DRIVER: f"{driver.heap_mib}m",
        "spark.driver.memoryOverhead": f"{driver.overhead_mib}m",
        _EXECUTOR: f"{executor.heap_mib}m",
        "spark.executor.memoryOverhead": f"{executor.overhead_mib}m",
        _CORES: str(cores),
        _INSTANCES if fixed else _INITIAL: str(first),
        _HETEROGENEOUS: "false",
    }
    if steps > 1:
        limit = most_workers(flow, worker.vcpus) * each
        most = most or limit
        spark[_MOST] = str(limit)
    if fixed:
        most = _whole(conf, _INSTANCES) or first
    made = [
        {
            "Classification": "yarn-site",
            "Properties": {
                NODE_MEMORY: str(worker.memory_mib),
                # Else the primary's type may decide it, which is smaller than the workers.
                _MOST_MEMORY: str(worker.memory_mib),
                NODE_VCPUS: str(vcores),
                _MOST_VCPUS: str(vcores),
            },
        },
        {"Classification": "spark-defaults", "Properties": spark},
    ]
    if steps > 1:  # as many drivers as EMR starts steps
        made.append({"Classification": "capacity-scheduler", "Properties": {_AM_PERCENT: "1"}})
    # One yarn-site counts for all nodes, so YARN gives away as much of each. The driver is on the
    # first.
    nodes = [Worker(worker.memory_mib, one.vcpus) for one in _nodes(flow, known)]
    cores_used = _executor_vcpus(nodes, driver.container_mib, executor.container_mib, cores)
    limited = cores_used if most is None else min(cores_used, most * min(cores, worker.vcpus))
    return Sizing(made, float(limited))


def properties(flow: Mapping[str, Any], classification: str) -> dict[str, str]:
    """The properties of one of a cluster's configuration classifications."""
    found: dict[str, str] = {}
    for one in flow.get("Configurations") or ():
        if one.get("Classification") == classification:
            found |= one.get("Properties") or {}
    return found


def _executor(
    steps: int, worker: Worker, driver_mib: int, most_mib: int, conf: Mapping[str, str]
) -> tuple[Memory, int, int]:
    """The memory and the vCPUs of an executor, and how many of them a step has beside a driver on
    each worker. YARN's largest container is one of `most_mib`."""
    room_mib, vcpus = worker.memory_mib // steps - driver_mib, worker.vcpus // steps
    heap_mib, cores = _size_mib(conf, _EXECUTOR), _whole(conf, _CORES)
    if heap_mib is None:
        each = max(1, vcpus // cores if cores else ceil(room_mib / most_mib))
        container_mib = min(room_mib // each, most_mib)
        executor = _largest_executor(container_mib // _STEP_MIB * _STEP_MIB, conf)
        # An executor more than planned must not fit into the room that is kept for drivers.
        tight = steps > 1 and steps * driver_mib >= container_mib
        if executor.heap_mib < _LEAST_EXECUTOR_MIB or (tight and _DRIVER not in conf):
            raise ConfigError([_crowded(steps, worker, conf)])
        return executor, cores or max(1, vcpus // each), each
    if heap_mib < _LEAST_EXECUTOR_MIB:
        least = f"Spark starts no executor with less than {_LEAST_EXECUTOR_MIB}m."
        raise ConfigError([Problem(f"{_EXECUTOR}={conf[_EXECUTOR]}", least)])
    executor = _memory("executor", conf, heap_mib)
    fitting = max(1, room_mib // executor.container_mib)
    cores = cores or max(1, vcpus // fitting)
    return executor, cores, max(1, min(fitting, vcpus // cores))


def _maximized(flow: Mapping[str, Any]) -> bool:
    return properties(flow, "spark").get("maximizeResourceAllocation") == "true"


def _maximized_vcpus(
    flow: Mapping[str, Any], conf: Mapping[str, str], known: Mapping[str, InstanceType]
) -> float:
    """The vCPUs that executors get where EMR sizes them itself."""
    workers = _nodes(flow, known)
    given = _whole(properties(flow, "yarn-site"), NODE_MEMORY)
    managers = [_least(one.types, known, given) for one in nodes_of(flow) if one.role == "primary"]
    smallest_mib = min(one.memory_mib for one in (*managers, *workers))
    alone = len(workers) == 1
    driver_mib = _memory("driver", conf, 1024).container_mib if alone else smallest_mib
    reserved_mib = driver_mib if alone else _MAXIMIZED_RESERVE_MIB
    executor_mib = max(one.memory_mib for one in workers) - reserved_mib
    cores = max(one.vcpus for one in workers)
    used = _executor_vcpus(workers, driver_mib, executor_mib, cores)
    most = _whole(conf, _MOST if _switch(conf, _DYNAMIC, default=True) else _INSTANCES)
    return float(used if most is None else min(used, most * cores))


def _executor_vcpus(nodes: Sequence[Worker], driver_mib: int, executor_mib: int, cores: int) -> int:
    """The vCPUs of executors with so much memory each, where the driver is on the first node."""
    room = [one.memory_mib for one in nodes]
    room[0] -= driver_mib
    counts = [max(0, mib // executor_mib) for mib in room]
    return sum(min(count * cores, one.vcpus) for count, one in zip(counts, nodes, strict=True))


def _nodes(flow: Mapping[str, Any], known: Mapping[str, InstanceType]) -> list[Worker]:
    """Every worker, the core nodes first: the driver is on one of them, if there is one."""
    given = _whole(properties(flow, "yarn-site"), NODE_MEMORY)
    workers = sorted(worker_nodes(flow), key=lambda one: one.role == "task")
    return [_least(one.types, known, given) for one in workers for _ in range(one.count)]


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


def _memory(process: str, conf: Mapping[str, str], heap_mib: int) -> Memory:
    """The memory of a driver or an executor with this heap."""
    overhead_mib = _overhead_mib(process, conf)
    if overhead_mib is None:
        overhead_mib = max(_LEAST_OVERHEAD_MIB, ceil(heap_mib * _overhead_share(process, conf)))
    return Memory(heap_mib, overhead_mib, _besides_mib(process, conf))


def _largest_executor(container_mib: int, conf: Mapping[str, str]) -> Memory:
    """The memory of the executor that fills this container."""
    besides_mib = _besides_mib("executor", conf)
    rest_mib = container_mib - besides_mib
    overhead_mib = _overhead_mib("executor", conf)
    if overhead_mib is None:
        share = _overhead_share("executor", conf)
        overhead_mib = max(_LEAST_OVERHEAD_MIB, rest_mib - int(rest_mib / (1 + share)))
    return Memory(rest_mib - overhead_mib, overhead_mib, besides_mib)


def _overhead_mib(process: str, conf: Mapping[str, str]) -> int | None:
    """As the configuration has it; under the name that Spark had for it before 2.3, too."""
    own_mib = _size_mib(conf, f"spark.{process}.memoryOverhead")
    return _size_mib(conf, f"spark.yarn.{process}.memoryOverhead") if own_mib is None else own_mib


def _overhead_share(process: str, conf: Mapping[str, str]) -> float:
    for key in (
        f"spark.{process}.memoryOverheadFactor",
        f"spark.yarn.{process}.memoryOverheadFactor",
    ):
        if key not in conf:
            continue
        try:
            share = float(conf[key])
        except ValueError:
            share = -1.0
        if not (isfinite(share) and share >= 0):
            raise ConfigError([Problem(f"{key}={conf[key]}", "write a number such as 0.1.")])
        return share
    return _OVERHEAD_SHARE[process]


def _besides_mib(process: str, conf: Mapping[str, str]) -> int:
    """What Spark adds to an executor's container beside heap and overhead (Spark,
    `spark.executor.memoryOverhead`): memory off the heap, and a limit of Python's memory."""
    if process != "executor":
        return 0
    off_heap = _switch(conf, "spark.memory.offHeap.enabled", default=False)
    off_heap_mib = _size_mib(conf, "spark.memory.offHeap.size", unit="b") if off_heap else 0
    return (off_heap_mib or 0) + (_size_mib(conf, "spark.executor.pyspark.memory") or 0)


def _refuse_above(process: str, memory: Memory, most_mib: int) -> None:
    """Spark refuses a container above YARN's largest when the application is submitted: after the
    cluster's paid start."""
    if memory.container_mib <= most_mib:
        return
    more = (
        ", spark.memory.offHeap.size and spark.executor.pyspark.memory"
        if process == "executor"
        else ""
    )
    raise ConfigError(
        [
            Problem(
                "engine.spark_conf",
                f"Spark's {process} takes a container of {memory.container_mib} MiB"
                f" (spark.{process}.memory, spark.{process}.memoryOverhead{more}), and YARN gives"
                f" {most_mib} MiB of a worker at most: set less, or choose larger"
                " cluster.worker_instance_types.",
            )
        ]
    )


def _refuse_cores_above(cores: int, yarn: Mapping[str, str], vcores: int) -> None:
    for key in (NODE_VCPUS, _MOST_VCPUS):
        if cores > (_whole(yarn, key) or vcores):
            raise ConfigError(
                [
                    Problem(
                        f"spark.executor.cores={cores}",
                        f"is more than {key}={yarn[key]}, and YARN refuses such a container: set no"
                        " more than that, or leave the latter out, which is then fitted.",
                    )
                ]
            )


def _size_mib(conf: Mapping[str, str], key: str, unit: str = "m") -> int | None:
    """A size in MiB; `unit` is what Spark reads of a number without one."""
    text = conf.get(key)
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError([Problem(f"{key}={text}", "is no size of memory; write 4g, 512m, ...")])
    return int(int(found[1]) * _UNIT_MIB[(found[2] or unit)[0].lower()])


def _switch(conf: Mapping[str, str], key: str, *, default: bool) -> bool:
    """Spark reads True as it reads true."""
    return conf[key].strip().lower() == "true" if key in conf else default


def _whole(conf: Mapping[str, str], key: str) -> int | None:
    text = conf.get(key)
    if text is None:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError([Problem(f"{key}={text}", "must be a whole number of 1 or more.")])
    return int(text)


def _crowded(steps: int, worker: Worker, conf: Mapping[str, str]) -> Problem:
    has = f"a worker has {worker.vcpus} vCPUs, and YARN {worker.memory_mib} MiB of its memory"
    if steps == 1:
        return Problem(
            "engine=emr",
            f"{has}: too little for Spark's driver and an executor on one worker. Choose larger"
            " cluster.worker_instance_types, or set less spark.driver.memory, memoryOverhead,"
            " spark.memory.offHeap.size or spark.executor.pyspark.memory in engine.spark_conf.",
        )
    fit = max(_fitting(worker, conf), default=1)
    return Problem(
        f"engine.step_concurrency={steps}",
        f"{has}: too little for the drivers and executors of {steps} steps at a time, each of which"
        f" might wait for the others for ever. Set {fit} or less, or choose larger"
        " cluster.worker_instance_types.",
    )


def _fitting(worker: Worker, conf: Mapping[str, str]) -> Iterator[int]:
    """Numbers of steps that a worker has the memory and the vCPUs for, with drivers of the least
    size."""
    driver_mib = _memory("driver", conf, _LEAST_DRIVER_MIB).container_mib
    for steps in range(1, worker.vcpus + 1):
        room_mib = worker.memory_mib // steps - driver_mib
        heap_mib = _largest_executor(room_mib, conf).heap_mib
        if heap_mib >= _LEAST_EXECUTOR_MIB and (steps == 1 or room_mib > steps * driver_mib):
            yield steps
