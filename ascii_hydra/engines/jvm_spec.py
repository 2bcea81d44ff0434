"""What is fixed when a Spark driver's JVM starts, and the settings that fix it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ascii_hydra.aws.client import Place
from ascii_hydra.engines import class_archive
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.own_folder import OwnFolder
from ascii_hydra.engines.spark_launch import Installation, driver_conf


@dataclass(frozen=True)
class JvmSpec:
    """What is fixed when a JVM starts. Steps that agree on it can share one.

    Attributes:
        driver_memory_mib: heap.
        small_data: quick compiler only.
        class_sharing: use the archive of Spark's classes if there is one.
        on_this_machine: loopback addresses, and this Python for Spark's workers.
        launch_conf: the step's Spark settings that take effect only now.
        environment: extra variables.
        folder: where relative paths begin.
        java_options: more options for Java, in its own words.
        place: the AWS that it finds in its environment, or None.
    """

    driver_memory_mib: int
    small_data: bool
    class_sharing: bool
    on_this_machine: bool
    launch_conf: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    folder: str
    java_options: str = ""
    place: Place | None = None

    @classmethod
    def of(cls, request: LocalRequest) -> JvmSpec:
        """The JVM that a step wants, started from the folder that is current now."""
        return cls(
            driver_memory_mib=request.driver_memory_mib,
            small_data=request.small_data,
            class_sharing=request.class_sharing,
            on_this_machine=request.on_this_machine,
            launch_conf=tuple(sorted(request.launch_conf().items())),
            environment=tuple(sorted(request.environment.items())),
            folder=str(Path.cwd()),
            place=request.place,
        )


def launch_settings(spec: JvmSpec, installed: Installation, temporary: Path) -> dict[str, str]:
    """The Spark settings that a driver of this spec is started with."""
    asked = dict(spec.launch_conf)
    options = (spec.java_options, asked.pop("spark.driver.extraJavaOptions", ""))
    own = driver_conf(
        memory_mib=spec.driver_memory_mib,
        small_data=spec.small_data,
        temporary=temporary,
        archive=class_archive.existing(installed) if spec.class_sharing else None,
        extra_options=" ".join(filter(None, options)),
    )
    return {**own, **asked}


def temporary_folder(spec: JvmSpec) -> OwnFolder:
    """A new folder for all temporary files of a driver, on the disk that Spark is told to use."""
    asked = dict(spec.launch_conf).get("spark.local.dir") or os.environ.get("SPARK_LOCAL_DIRS", "")
    base = asked.split(",")[0].strip() or None
    if base is not None:
        Path(base).mkdir(parents=True, exist_ok=True)
    return OwnFolder("spark", base)
