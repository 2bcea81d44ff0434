"""What can be configured: types, allowed ranges and defaults.

Everything below `settle()` works on these frozen dataclasses. Hydra composes into unfrozen twins
of them (`compose.py` derives those), because OmegaConf makes a frozen dataclass read-only.

Enum names equal their values, because OmegaConf matches names and people type values. Numbers
carry their unit in the name and their allowed range in the field's metadata (`ranged`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from omegaconf import MISSING

from ascii_hydra.step.choices import Engine, ExecutionMode


class ClusterSize(StrEnum):
    """How much computing a step gets; the same promise on every engine."""

    small = "small"
    medium = "medium"
    large = "large"


class Action(StrEnum):
    """What to do with the composed configuration."""

    run = "run"
    plan = "plan"


class Endpoint(StrEnum):
    """Whose cloud is talked to."""

    cloud = "cloud"
    rehearsal = "rehearsal"


# What a sweep does after a row that failed. (`continue` is a keyword: no class body can name it.)
OnFailure = Enum("OnFailure", {"continue": "continue", "stop": "stop"}, type=str)


def ranged(default: Any, low: float, high: float) -> Any:
    """A number's field: its default and the inclusive range that `settle` holds it to."""
    return field(default=default, metadata={"range": (low, high)})


# --- engine ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class EngineConfig:
    """What every engine has, so that a sweep over engines can override it."""

    name: Engine = MISSING
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    timeout_minutes: float = ranged(MISSING, 0.01, 7 * 24 * 60)
    region: str | None = None


@dataclass(frozen=True)
class PySparkEngine(EngineConfig):
    """Spark on this machine."""

    master: str | None = None
    reuse_jvm: bool = True
    class_sharing: bool = True
    stop_grace_seconds: float = ranged(5.0, 0.1, 300)


@dataclass(frozen=True)
class EmrEngine(EngineConfig):
    """EMR on EC2."""

    release_label: str = MISSING


@dataclass(frozen=True)
class DatabricksEngine(EngineConfig):
    """Databricks jobs on AWS."""

    spark_version: str = MISSING


# --- mode -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModeConfig:
    """Where the data of a mode lives. A relative folder is taken from the project's folder."""

    name: ExecutionMode = MISSING
    bucket: str | None = None
    input_root: str = MISSING
    output_root: str = MISSING


# --- cluster --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promise:
    """What a size means, whoever keeps it: a worker's vCPU, memory and disk, times `workers`."""

    workers: int = ranged(MISSING, 1, 1000)
    vcpus_per_worker: int = ranged(MISSING, 1, 448)
    memory_gib_per_worker: float = ranged(MISSING, 1, 24576)
    disk_gib_per_worker: int = ranged(MISSING, 0, 65536)


@dataclass(frozen=True)
class ClusterConfig:
    """What every engine's cluster has, so that a sweep over engines can override it.

    Attributes:
        workers: machines besides the driver's or master's; None for an engine without any.
        spot_share: part of the workers that may be taken away by the cloud, 0 to 1.
    """

    size: ClusterSize = MISSING
    promise: Promise = field(default_factory=Promise)
    keeps_promise: bool = True
    workers: int | None = field(default=None, metadata={"range": (1, 1000)})
    spot_share: float = ranged(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class PySparkCluster(ClusterConfig):
    """A slice of this machine; no cloud cluster is equal to it, so it never claims to be."""

    keeps_promise: bool = False
    cores: int = ranged(MISSING, 1, 1024)
    driver_memory_gib: float = ranged(MISSING, 0.5, 1024)


@dataclass(frozen=True)
class EmrCluster(ClusterConfig):
    """Instances of one EMR cluster."""

    primary_instance_type: str = MISSING
    worker_instance_type: str = MISSING


@dataclass(frozen=True)
class DatabricksCluster(ClusterConfig):
    """Instances of one Databricks job cluster."""

    driver_node_type: str = MISSING
    worker_node_type: str = MISSING
    photon: bool = False


# --- pipeline -------------------------------------------------------------------------------


@dataclass(frozen=True)
class PartitionDimension:
    """The values of one partition dimension: given as `keys`, or read from a column of a CSV
    file in the pipeline's input, of the rows that have the values of `where`; then `also`."""

    keys: tuple[str, ...] = ()
    csv: str | None = None
    column: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepConfig:
    """One step: a script and what it needs. `engine` and `cluster` override the run's."""

    script: str = MISSING
    description: str = ""
    deps: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    py_files: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    engine: Engine | None = None
    cluster: ClusterSize | None = None
    local_spark_config: Mapping[str, Any] = field(default_factory=dict)
    emr_job_config: Mapping[str, Any] = field(default_factory=dict)
    databricks_cluster_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineConfig:
    """A chain of steps.

    Attributes:
        input: folder or URI that the first steps read.
        output: folder or URI below which every step has a folder of its own.
        script_root: folder of the scripts; a relative one is taken from the project's folder.
        partition_dimensions: where the values of each dimension come from.
        partitions: which partitions to make: values of a dimension, or whole keys (`a|b`);
            None for all.
    """

    name: str = MISSING
    description: str = ""
    input: str = MISSING
    output: str = MISSING
    script_root: str = "steps"
    partition_dimensions: Mapping[str, PartitionDimension] = field(default_factory=dict)
    partitions: tuple[str, ...] | None = None
    steps: Mapping[str, StepConfig] = field(default_factory=dict)


# --- launch ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class EndpointConfig:
    """Whose cloud is talked to."""

    name: Endpoint = MISSING


@dataclass(frozen=True)
class LaunchConfig:
    """How a run, or a sweep of runs, is conducted."""

    on_failure: OnFailure = OnFailure["continue"]


@dataclass(frozen=True)
class Config:
    """The whole of conf/config.yaml."""

    action: Action = Action.run
    engine: EngineConfig = field(default_factory=EngineConfig)
    mode: ModeConfig = field(default_factory=ModeConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)


# The schema that each option of a group merges over, by its name in the ConfigStore.
SCHEMAS: Mapping[str, type] = {
    "config": Config,
    "engine/pyspark": PySparkEngine,
    "engine/emr": EmrEngine,
    "engine/databricks": DatabricksEngine,
    "cluster/pyspark": PySparkCluster,
    "cluster/emr": EmrCluster,
    "cluster/databricks": DatabricksCluster,
}
