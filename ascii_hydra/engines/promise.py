"""What the workers of a request have, and whether that is what a size promises, whichever cloud it
is of."""

from __future__ import annotations

from dataclasses import dataclass

from ascii_hydra.config.cluster_schema import Promise

TOLERANCE = 0.1
"""AWS sells disks by 10^9 bytes and memory by 2^30, and EMR's own figures of memory are lower than
EC2's: a promise is kept by what comes this close to it."""


@dataclass(frozen=True)
class Hardware:
    """What a worker has.

    Attributes:
        vcpus, memory_gib: of the instance.
        disk_gib: for Spark, besides the root volume.
    """

    vcpus: int
    memory_gib: float
    disk_gib: float


@dataclass(frozen=True)
class Capacity:
    """What the workers of a request have at the start.

    Attributes:
        workers: how many; the only node of a cluster without any counts as one.
        vcpus, memory_gib, disk_gib: of all of them.
        least: of the worker that has least, where they differ or the cloud may choose.
        executor_vcpus: what Spark's executors get of `vcpus` for one step.
    """

    workers: int
    vcpus: float
    memory_gib: float
    disk_gib: float
    least: Hardware
    executor_vcpus: float


def promise_lack(capacity: Capacity, promise: Promise) -> str | None:
    """What a request's workers lack of a size's promise, as a clause for people; None if they keep
    it."""
    one, least = capacity.least, 1 - TOLERANCE
    if capacity.workers < promise.workers:
        return f"{capacity.workers} of {promise.workers} workers"
    if one.vcpus < promise.vcpus_per_worker:
        return f"workers of {one.vcpus} vCPUs, not {promise.vcpus_per_worker}"
    if one.memory_gib < promise.memory_gib_per_worker * least:
        return f"workers of {one.memory_gib:g} GiB, not {promise.memory_gib_per_worker:g}"
    if one.disk_gib < promise.disk_gib_per_worker * least:
        return f"workers with {one.disk_gib:.0f} GiB of disk, not {promise.disk_gib_per_worker}"
    promised = promise.workers * promise.vcpus_per_worker
    if capacity.executor_vcpus < promised:
        return f"{capacity.executor_vcpus:g} vCPUs for Spark's executors, not {promised}"
    return None
