"""What can be configured of each engine; see schema.py for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from omegaconf import MISSING

from ascii_hydra.config.choices import ranged
from ascii_hydra.step.choices import Engine


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
        step_concurrency: steps that a cluster runs at a time; each gets its part of every worker.
        service_role, job_flow_role: IAM role of EMR, and instance profile of its instances.
        subnets: EMR takes the zone with the best capacity and price of several (fleets only).
        key_name: EC2 key pair for SSH, or None.
        primary_security_group, worker_security_group, service_security_group: EMR's own if None.
        security_configuration: name of one, or None.
        node_labels: the driver runs on core nodes only, never on a task node that spot may take.
        maximize_resource_allocation: EMR sizes the driver and the executors, and gives the driver
            a whole worker; else we do, and executors get the vCPUs of all workers.
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
    maximize_resource_allocation: bool = False
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
            17.3.x-scala2.13, 18.x-scala2.13.
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
