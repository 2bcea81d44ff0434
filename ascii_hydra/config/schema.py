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


class ReuseCluster(StrEnum):
    """Whom a cloud cluster serves: one step, or all steps of one launch (a command of the command
    line, or a run of the UI)."""

    step = "step"
    run = "run"


class AllocationStrategy(StrEnum):
    """How EMR chooses among the spot instance types of a fleet."""

    price_capacity_optimized = "price_capacity_optimized"
    capacity_optimized = "capacity_optimized"
    lowest_price = "lowest_price"
    diversified = "diversified"


class InstanceCollection(StrEnum):
    """How EMR is asked for instances."""

    fleets = "fleets"
    groups = "groups"


class Architecture(StrEnum):
    """Of an instance type's processors."""

    x86_64 = "x86_64"
    arm64 = "arm64"


class CatalogueSource(StrEnum):
    """Where instance types and their prices are looked up: in the package, or asked of AWS."""

    packaged = "packaged"
    live = "live"


class DataSecurityMode(StrEnum):
    """Of a Databricks cluster: for one user (dedicated), for several who are kept apart (standard),
    or as Databricks chooses."""

    single_user = "single_user"
    user_isolation = "user_isolation"
    auto = "auto"


class FaultEffect(StrEnum):
    """What goes wrong in the rehearsal cloud. docs/rehearsal.md tells each."""

    throttled = "throttled"
    refused = "refused"
    server_error = "server_error"
    reply_lost = "reply_lost"
    slow = "slow"
    no_capacity = "no_capacity"
    validation_error = "validation_error"
    bootstrap_failure = "bootstrap_failure"
    start_failure = "start_failure"
    instance_failure = "instance_failure"
    step_interrupted = "step_interrupted"
    step_killed = "step_killed"
    logs_late = "logs_late"
    logs_missing = "logs_missing"
    queued = "queued"
    skipped = "skipped"
    library_failure = "library_failure"
    expired = "expired"


# What a sweep does after a row that failed. (`continue` is a keyword: no class body can name it.)
OnFailure = Enum("OnFailure", {"continue": "continue", "stop": "stop"}, type=str)


def ranged(default: Any, low: float, high: float) -> Any:
    """A number's field: its default and the inclusive range that `settle` holds it to."""
    return field(default=default, metadata={"range": (low, high)})


# --- engine ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class EmrConfiguration:
    """One EMR configuration classification, such as spark-defaults."""

    classification: str = MISSING
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BootstrapAction:
    """A script that every node of an EMR cluster runs before the cluster is used."""

    name: str = MISSING
    script: str = MISSING
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineConfig:
    """What every engine has, so that a sweep over engines can override it.

    Attributes:
        spark_conf: Spark settings for every step.
        timeout_minutes: a step that runs longer is stopped.
        region: AWS region; None for this machine.
        libraries: packages for every step on this engine, besides the step's own: `name==version`
            or the path of a wheel. This machine has what it has.
    """

    name: Engine = MISSING
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    timeout_minutes: float = ranged(MISSING, 0.01, 7 * 24 * 60)
    region: str | None = None
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class PySparkEngine(EngineConfig):
    """Spark on this machine."""

    master: str | None = None
    reuse_jvm: bool = True
    class_sharing: bool = True
    stop_grace_seconds: float = ranged(5.0, 0.1, 300)


@dataclass(frozen=True)
class EmrEngine(EngineConfig):
    """EMR on EC2.

    Attributes:
        release_label: decides the versions of Spark and Python: emr-7.x.y or emr-spark-8.x.y.
        python_version: of those that the release ships, the one that steps run with.
        staging_root: s3:// folder for payloads, Pipes messages and logs of clusters.
        cluster_id: an existing cluster to add steps to; it is never terminated by us.
        step_concurrency: steps that a cluster runs at a time.
        service_role, job_flow_role: IAM role of EMR, and instance profile of its instances.
        subnets: EMR takes the zone with the best capacity and price of several (fleets only).
        key_name: EC2 key pair for SSH, or None.
        primary_security_group, worker_security_group, service_security_group: EMR's own if None.
        security_configuration: name of one, or None.
        node_labels: the driver runs on core nodes only, never on a task node that spot may take.
        maximize_resource_allocation: EMR sizes the executors to the instances.
        configurations: EMR configuration classifications, merged with ours by classification.
        bootstrap_actions: scripts (s3:// URI, then its arguments) that every node runs first.
        tags: of clusters, besides those that ascii_hydra sets.
        start_timeout_minutes: a cluster that has not started by then is terminated.
        max_lifetime_minutes: a cluster shuts itself down after so long, whatever happens to us.
        idle_timeout_minutes: EMR ends a shared cluster that has had no step for so long.
        poll_seconds: the longest pause between two looks at a running step.
        log_wait_seconds: how long a failed step's log is waited for, which EMR uploads late.
    """

    release_label: str = MISSING
    python_version: str = MISSING
    staging_root: str = MISSING
    cluster_id: str | None = None
    step_concurrency: int = ranged(1, 1, 256)
    service_role: str = "EMR_DefaultRole"
    job_flow_role: str = "EMR_EC2_DefaultRole"
    subnets: tuple[str, ...] = ()
    key_name: str | None = None
    primary_security_group: str | None = None
    worker_security_group: str | None = None
    service_security_group: str | None = None
    security_configuration: str | None = None
    node_labels: bool = True
    maximize_resource_allocation: bool = True
    configurations: tuple[EmrConfiguration, ...] = ()
    bootstrap_actions: tuple[BootstrapAction, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    start_timeout_minutes: float = ranged(60.0, 0.01, 24 * 60)
    max_lifetime_minutes: float = ranged(25.0 * 60, 1, 30 * 24 * 60)
    idle_timeout_minutes: float = ranged(10.0, 1, 7 * 24 * 60)
    poll_seconds: float = ranged(10.0, 0.1, 300)
    log_wait_seconds: float = ranged(30.0, 0, 3600)


@dataclass(frozen=True)
class DatabricksEngine(EngineConfig):
    """Databricks jobs on AWS.

    Attributes:
        spark_version: the Databricks Runtime, which decides the versions of Spark and Python:
            17.3.x-scala2.13.
        staging_root: folder for payloads and Pipes messages: of a Unity Catalog volume
            (/Volumes/<catalog>/<schema>/<volume>/...), of the workspace (/Workspace/...), of S3
            (s3://...) or, where it must be, of DBFS (dbfs:/...).
        serverless: steps run on serverless compute; `cluster` has no effect.
        environment_version: of serverless compute: decides its version of Python.
        cluster_id: an existing all-purpose cluster to run on, which is never terminated by us.
        instance_profile: ARN of the instance profile by which clusters reach S3; None where Unity
            Catalog's external locations do.
        policy_id: cluster policy that clusters obey, and whose default values they have.
        budget_policy_id: policy that serverless usage is accounted to.
        init_scripts: scripts (on a volume, in the workspace or in S3) that every node runs first.
        tags: of clusters, besides those that ascii_hydra sets.
        start_timeout_minutes: a run that has not begun to work by then is cancelled.
        idle_timeout_minutes: an instance of a launch's pool that nobody uses is given back.
        poll_seconds: the longest pause between two looks at a running step.
    """

    spark_version: str = MISSING
    staging_root: str = MISSING
    serverless: bool = False
    environment_version: str = "4"
    cluster_id: str | None = None
    instance_profile: str | None = None
    policy_id: str | None = None
    budget_policy_id: str | None = None
    init_scripts: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    start_timeout_minutes: float = ranged(60.0, 0.01, 24 * 60)
    idle_timeout_minutes: int = ranged(10, 1, 10_000)
    poll_seconds: float = ranged(10.0, 0.1, 300)


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
class InstanceFilters:
    """Which instance types would do for the workers; the cheapest that match are taken.

    Attributes:
        vcpus, vcpus_at_most: lowest and highest number of vCPUs.
        memory_gib, memory_gib_at_most: lowest and highest memory.
        storage_gb: lowest size of the local disks.
        families: `m5d`, `r6g`, ...; empty for all.
        size_at_most: `4xlarge`; sizes are ordered medium, large, xlarge, 2xlarge, 3xlarge, ...
        types: how many instance types to take.
        source: where types and prices are looked up.
    """

    vcpus: int | None = field(default=None, metadata={"range": (1, 448)})
    vcpus_at_most: int | None = field(default=None, metadata={"range": (1, 448)})
    memory_gib: float | None = field(default=None, metadata={"range": (0.5, 24576)})
    memory_gib_at_most: float | None = field(default=None, metadata={"range": (0.5, 24576)})
    storage_gb: float | None = field(default=None, metadata={"range": (0, 500_000)})
    families: tuple[str, ...] = ()
    architecture: Architecture | None = None
    size_at_most: str | None = None
    types: int = ranged(5, 1, 30)
    source: CatalogueSource = CatalogueSource.packaged


@dataclass(frozen=True)
class EbsVolumes:
    """EBS volumes of every instance, besides its local disks. EMR adds some to types without local
    disks unless told otherwise, so they are always told.

    Attributes:
        volumes: per instance; 0 for a type with local disks.
        size_gib: of one volume.
        volume_type: gp3, gp2, io1, io2, st1 or sc1.
        root_size_gib: of the root volume.
    """

    volumes: int = ranged(0, 0, 25)
    size_gib: int = ranged(64, 10, 16384)
    volume_type: str = "gp3"
    root_size_gib: int = ranged(15, 15, 100)


@dataclass(frozen=True)
class EmrCluster(ClusterConfig):
    """Instances of one EMR cluster: a primary, core nodes on demand, task nodes on spot.

    Attributes:
        primary_instance_types, worker_instance_types: alternatives; EMR takes what it can get. All
            of one architecture; all workers of the same number of vCPUs.
        filters: chooses `worker_instance_types` by what they are and cost, if any is set.
        instance_collection: fleets take several types, groups only one.
        allocation_strategy: how EMR chooses among them on spot.
        spot_timeout_minutes: after so long without spot capacity, on demand is taken.
        max_workers: the cluster may grow to so many while steps need it (managed scaling; the
            additional ones are task nodes); None for a fixed size.
        ebs: volumes of every instance.
    """

    primary_instance_types: tuple[str, ...] = ()
    worker_instance_types: tuple[str, ...] = ()
    filters: InstanceFilters = field(default_factory=InstanceFilters)
    instance_collection: InstanceCollection = InstanceCollection.fleets
    allocation_strategy: AllocationStrategy = AllocationStrategy.price_capacity_optimized
    spot_timeout_minutes: int = ranged(10, 5, 1440)
    max_workers: int | None = field(default=None, metadata={"range": (1, 1000)})
    ebs: EbsVolumes = field(default_factory=EbsVolumes)


@dataclass(frozen=True)
class DatabricksVolumes:
    """EBS volumes of every instance of a Databricks cluster, besides its local disks.

    Attributes:
        volumes: per instance; 0 for a type with local disks. With any, Spark does not use the
            local disks.
        size_gib: of one volume.
        volume_type: general_purpose_ssd or throughput_optimized_hdd.
    """

    volumes: int = ranged(0, 0, 10)
    size_gib: int = ranged(100, 100, 4096)
    volume_type: str = "general_purpose_ssd"


@dataclass(frozen=True)
class DatabricksCluster(ClusterConfig):
    """Instances of one Databricks job cluster.

    Attributes:
        driver_node_type, worker_node_type: instance types of EC2. The driver is on demand.
        max_workers: the cluster may grow to so many (autoscaling); None for a fixed size.
        photon: Databricks' own engine, faster for SQL and at a higher DBU rate.
        zone: an availability zone, or auto for one that has capacity.
        spot_bid_price_pct: highest spot price, in percent of the on-demand price.
        data_security_mode: who may use the cluster, and through what.
        pool_id, driver_pool_id: existing instance pools, instead of node types.
        elastic_disk: disks grow while Spark fills them.
        ebs: volumes of every instance. Types without local disks need one at least.
    """

    driver_node_type: str = MISSING
    worker_node_type: str = MISSING
    max_workers: int | None = field(default=None, metadata={"range": (1, 1000)})
    photon: bool = False
    zone: str = "auto"
    spot_bid_price_pct: int = ranged(100, 1, 10_000)
    data_security_mode: DataSecurityMode = DataSecurityMode.single_user
    pool_id: str | None = None
    driver_pool_id: str | None = None
    elastic_disk: bool = True
    ebs: DatabricksVolumes = field(default_factory=DatabricksVolumes)


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
    """

    script: str = MISSING
    description: str = ""
    deps: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    py_files: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    needs_cluster: bool = False
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
        seconds: virtual time, for `slow` and `logs_late`.
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
    """

    on_failure: OnFailure = OnFailure["continue"]
    reuse_cluster: ReuseCluster = ReuseCluster.step
    owner: str | None = None


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
