"""What a step used of a cloud, as the cloud tells it afterwards or as it is planned before."""

from __future__ import annotations

from dataclasses import dataclass

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.step.choices import Engine


@dataclass(frozen=True)
class Disk:
    """EBS storage of one instance: all of its volumes of one type.

    Attributes:
        volume_type: as EBS names it: gp3, gp2, io1, io2, st1, sc1.
        gib: their sizes together.
    """

    volume_type: str
    gib: float


@dataclass(frozen=True)
class InstanceUse:
    """Instances that were used alike. All times are seconds of each of them.

    Attributes:
        role: primary, core, task; driver, worker; or pool for one that waited in a pool.
        instance_type, market: what EC2 bills.
        count: how many.
        rented_s: from its start to its end: for this, EC2 and EBS are paid.
        charged_s: of it, the time that the platform takes its fee for: on EMR all of it, on
            Databricks while the cluster ran.
        worked_s: of it, the time in which the step executed. The rest is start-up and idle.
        disks: EBS volumes of each.
        share: the times are a share of instances that served others too, so that AWS's minimum of a
            minute is not for them.
    """

    role: str
    instance_type: str
    market: Market
    count: int
    rented_s: float
    charged_s: float
    worked_s: float
    disks: tuple[Disk, ...] = ()
    share: bool = False


@dataclass(frozen=True)
class Usage:
    """What one attempt of a step used: one step of EMR or one run of Databricks.

    Attributes:
        engine, region: whose prices count.
        instances: every instance that was there for it, the driver's or primary too. An instance
            that served several steps in turn is counted with this step's share of its time.
        startup_s: from the submission to the step's first moment.
        run_s: the step's execution.
        sku: what Databricks sells it as: JOBS_COMPUTE, ALL_PURPOSE_COMPUTE, ...; None on EMR.
        photon: the cluster ran Photon.
        fresh: its instances were started for it, and not for a pool or a cluster that was there
            before: only then its start-up tells of others'.
        wasted: it did not make the asset: it failed, or was stopped.
        not_counted: what it used that is not known, and so has no price: clauses for people.
        assumed: what was taken as asked for, because nobody tells it: clauses for people.
    """

    engine: Engine
    region: str
    instances: tuple[InstanceUse, ...] = ()
    startup_s: float = 0.0
    run_s: float = 0.0
    sku: str | None = None
    photon: bool = False
    fresh: bool = True
    wasted: bool = False
    not_counted: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def is_told(self) -> bool:
        """There is something in it that costs money, or that is known to be lacking."""
        used = any(one.count and one.rented_s != 0 for one in self.instances)
        return used or bool(self.not_counted)
