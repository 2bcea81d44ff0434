"""What can be configured: types, allowed ranges and defaults.

Everything below `settle()` works on these frozen dataclasses. Hydra composes into unfrozen twins
of them (`compose.py` derives those), because OmegaConf makes a frozen dataclass read-only.

Closed choices and ranges are in choices.py, engines and clusters in engine_schema.py and
cluster_schema.py. What `launchpad` in a field's metadata means is said in launchpad_rule.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ascii_hydra.config.choices import (
    Action,
    ClusterSize,
    Endpoint,
    FaultEffect,
    OnFailure,
    PlanFormat,
    ReuseCluster,
    Tier,
    ranged,
)
from ascii_hydra.config.cluster_schema import (
    ClusterConfig,
    DatabricksCluster,
    EmrCluster,
    PySparkCluster,
)
from ascii_hydra.config.engine_schema import (
    DatabricksEngine,
    EmrEngine,
    EngineConfig,
    PySparkEngine,
)
from ascii_hydra.step.choices import Engine, ExecutionMode

# --- mode -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModeConfig:
    """Where the data of a mode lives. A relative folder is taken from the project's folder.

    Attributes:
        bucket: S3 bucket of the data, for a mode that has one.
        region: AWS region of the bucket.
    """

    name: ExecutionMode = MISSING
    bucket: str | None = None
    region: str | None = None
    input_root: str = MISSING
    output_root: str = MISSING


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
    """One step: a script and what it needs. `engine` and `cluster` override the run's.

    Attributes:
        needs_cluster: it uses RDDs or the JVM, which serverless compute does not have.
        writes_output: every run must write a file of its output folder, or it fails; false for a
            step that has an effect elsewhere alone, such as a table of a catalog.
        expected_minutes: how long it executes, as far as you know better than the history of its
            runs; of one partition. For plans and budgets.
    """

    script: str = MISSING
    description: str = ""
    deps: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict, metadata={"launchpad": True})
    py_files: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    needs_cluster: bool = False
    writes_output: bool = True
    expected_minutes: float | None = field(default=None, metadata={"range": (0, 30 * 24 * 60)})
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
    """Whose cloud is talked to.

    Attributes:
        url: of S3 or a service compatible with it; in a rehearsal of EMR and Databricks too. None
            for AWS itself (and DATABRICKS_HOST), or, in a rehearsal, for a cloud that is started
            for this run alone.
        path_style: the bucket stands in the path rather than in the host name.
    """

    name: Endpoint = MISSING
    url: str | None = None
    path_style: bool = False


@dataclass(frozen=True)
class FaultRule:
    """Something that goes wrong in the rehearsal cloud. docs/rehearsal.md tells each.

    Attributes:
        target: an operation (`RunJobFlow`, `s3:PutObject`, `databricks:jobs/runs/submit`), or
            `cluster`, `step`, `logs`.
        effect: what happens.
        times: to how many of them.
        after: how many go well before.
        code, message: what AWS would answer, for `refused`. The code SPOT, for `no_capacity`: spot
            alone is short.
        seconds: virtual time, for `slow`, `effect_late`, `visible_late` and `logs_late`.
    """

    target: str = MISSING
    effect: FaultEffect = MISSING
    times: int = ranged(1, 1, 1_000_000)
    after: int = ranged(0, 0, 1_000_000)
    code: str | None = None
    message: str | None = None
    seconds: float = ranged(0.0, 0, 1_000_000)


@dataclass(frozen=True)
class RehearsalConfig:
    """How the rehearsal cloud behaves; only for `endpoint=rehearsal`.

    Attributes:
        speed: virtual seconds per second, while no step really executes.
        provisioning_seconds: virtual time until a cluster's instances are there. 210 s is what
            AWS's own aws-emr-advisor plans with.
        pool_seconds: the same for a Databricks cluster whose instances wait in a pool.
        cleanup_seconds: virtual time that a run on Databricks takes to end, after its step.
        bootstrap_seconds: virtual time of each bootstrap action, and of init scripts and libraries.
        step_minutes: virtual duration of every step; None for as long as it really takes.
        faults: what goes wrong.
    """

    speed: float = ranged(60.0, 1, 1_000_000)
    provisioning_seconds: float = ranged(210.0, 0, 24 * 3600)
    pool_seconds: float = ranged(60.0, 0, 24 * 3600)
    cleanup_seconds: float = ranged(5.0, 0, 24 * 3600)
    bootstrap_seconds: float = ranged(15.0, 0, 24 * 3600)
    step_minutes: float | None = field(default=None, metadata={"range": (0, 30 * 24 * 60)})
    faults: tuple[FaultRule, ...] = ()


@dataclass(frozen=True)
class LaunchConfig:
    """How a run, or a sweep of runs, is conducted.

    Attributes:
        on_failure: what a sweep does after a row that failed.
        reuse_cluster: whom a cloud cluster serves.
        owner: who answers for what is started; a tag of every cluster. None for the user's name.
        budget_usd: what a run, or a whole sweep, may cost; None for any. It is not begun if it is
            expected to cost more, and stopped when it has.
        resume: folder of an earlier sweep: rows that succeeded there, with the same configuration,
            are taken over from it.
    """

    on_failure: OnFailure = OnFailure["continue"]
    reuse_cluster: ReuseCluster = ReuseCluster.step
    owner: str | None = None
    budget_usd: float | None = field(
        default=None, metadata={"range": (0, 1_000_000), "launchpad": False}
    )
    resume: str | None = None


# --- prices and plans -----------------------------------------------------------------------


@dataclass(frozen=True)
class Discounts:
    """What you pay less than the list price for each, in percent."""

    ec2_pct: float = ranged(0.0, 0, 100)
    spot_pct: float = ranged(0.0, 0, 100)
    emr_pct: float = ranged(0.0, 0, 100)
    dbu_pct: float = ranged(0.0, 0, 100)
    ebs_pct: float = ranged(0.0, 0, 100)


@dataclass(frozen=True)
class PricesConfig:
    """Which prices count.

    Attributes:
        tier: of the Databricks workspace.
        folder: where `action=refresh_prices` keeps what it finds; it counts before what is
            packaged. A relative one is taken from the project's folder.
        warehouse_id: the SQL warehouse of the Databricks workspace that `action=refresh_prices`
            asks for the price of a DBU; None to keep those that are known.
        discounts: your contract's.
    """

    tier: Tier = Tier.premium
    folder: str = "prices"
    warehouse_id: str | None = None
    discounts: Discounts = field(default_factory=Discounts)


@dataclass(frozen=True)
class PlanConfig:
    """How `action=plan` tells the plan."""

    format: PlanFormat = PlanFormat.text
    requests: bool = True


@dataclass(frozen=True)
class Config:
    """The whole of conf/config.yaml."""

    action: Action = field(default=Action.run, metadata={"launchpad": False})
    engine: EngineConfig = field(default_factory=EngineConfig)
    mode: ModeConfig = field(default_factory=ModeConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    prices: PricesConfig = field(default_factory=PricesConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    rehearsal: RehearsalConfig = field(default_factory=RehearsalConfig)


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
