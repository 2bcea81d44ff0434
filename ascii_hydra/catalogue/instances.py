"""Instance types as the package knows them. README.md beside this tells where figures are from."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ascii_hydra.config.choices import Architecture

_SMALL_SIZES = ("nano", "micro", "small", "medium", "large")
_RELEASE = re.compile(r"emr-(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class InstanceType:
    """One EC2 instance type: what it is. What it costs is in `PriceList`.

    Attributes:
        emr_since: the first release of EMR that offers it; None if none does.
        spot_interruption: how often spot takes it away in a month: `<5%`, ... `>20%`; None if that
            is not known.
        databricks_listed: Databricks offers it.
    """

    name: str
    vcpus: int
    memory_gib: float
    local_storage_gb: float
    architecture: Architecture
    emr_since: str | None = None
    spot_interruption: str | None = None
    databricks_listed: bool = False

    @property
    def family(self) -> str:
        """`m5d` of `m5d.xlarge`."""
        return self.name.partition(".")[0]

    @property
    def size(self) -> str:
        """`xlarge` of `m5d.xlarge`."""
        return self.name.partition(".")[2]

    def offered_in(self, release: str) -> bool:
        """Whether a release of EMR offers it. A release newer than those known drops none."""
        if self.emr_since is None:
            return False
        asked, since = _RELEASE.fullmatch(release), _RELEASE.fullmatch(self.emr_since)
        if asked is None or since is None:  # emr-spark-8.x offers all
            return True
        return tuple(map(int, asked.groups())) >= tuple(map(int, since.groups()))


def instance_types(region: str | None = None) -> Mapping[str, InstanceType]:  # noqa: ARG001
    """Every known instance type by its name. There is one list: us-east-1's stands for the other
    regions, which may lack some of its types."""
    return _packaged()


@cache
def _packaged() -> Mapping[str, InstanceType]:
    table = files("ascii_hydra.catalogue").joinpath("instances_us_east_1.csv")
    with table.open(encoding="utf-8") as rows:
        return {row["instance_type"]: _instance(row) for row in csv.DictReader(rows)}


def _instance(row: Mapping[str, str]) -> InstanceType:
    return InstanceType(
        name=row["instance_type"],
        vcpus=int(row["vcpus"]),
        memory_gib=float(row["memory_gib"]),
        local_storage_gb=float(row["local_storage_gb"]),
        architecture=Architecture(row["architecture"]),
        emr_since=row["emr_since"] or None,
        spot_interruption=row["spot_interruption"] or None,
        databricks_listed=row["databricks_listed"] == "yes",
    )


def size_rank(size: str) -> int:
    """Where a size stands: nano, micro, small, medium, large, xlarge, 2xlarge, 3xlarge, ..., metal.

    Raises:
        ValueError: it is no size.
    """
    if size in _SMALL_SIZES:
        return _SMALL_SIZES.index(size)
    found = re.fullmatch(r"(\d*)xlarge|metal(?:-(\d+)xl)?", size)
    if found is None:
        raise ValueError(size)
    if size.startswith("metal"):
        return 10_000 + int(found[2] or 0)
    return len(_SMALL_SIZES) - 1 + int(found[1] or 1)
