"""What can be configured of a cluster, by the engine that keeps its promise; see schema.py for the
whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from ascii_hydra.config.choices import (
    AllocationStrategy,
    Architecture,
    CatalogueSource,
    ClusterSize,
    DataSecurityMode,
    InstanceCollection,
    ranged,
)


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
    families: tuple[str, ...] = field(default=(), metadata={"launchpad": True})
    architecture: Architecture | None = None
    size_at_most: str | None = field(default=None, metadata={"launchpad": True})
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
    volume_type: str = field(default="gp3", metadata={"launchpad": True})
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

    primary_instance_types: tuple[str, ...] = field(default=(), metadata={"launchpad": True})
    worker_instance_types: tuple[str, ...] = field(default=(), metadata={"launchpad": True})
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
    volume_type: str = field(default="general_purpose_ssd", metadata={"launchpad": True})


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

    driver_node_type: str = field(default=MISSING, metadata={"launchpad": True})
    worker_node_type: str = field(default=MISSING, metadata={"launchpad": True})
    max_workers: int | None = field(default=None, metadata={"range": (1, 1000)})
    photon: bool = False
    zone: str = "auto"
    spot_bid_price_pct: int = ranged(100, 1, 10_000)
    data_security_mode: DataSecurityMode = field(
        default=DataSecurityMode.single_user, metadata={"launchpad": False}
    )
    pool_id: str | None = None
    driver_pool_id: str | None = None
    elastic_disk: bool = True
    ebs: DatabricksVolumes = field(default_factory=DatabricksVolumes)
