"""What a run needs of this machine, looked at before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ascii_hydra.config.problems import Problem
from ascii_hydra.config.schema import PySparkEngine
from ascii_hydra.config.settle import Settings
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError

# How long a Spark master may take to answer before it counts as not there.
_REACH_S = 3.0


def machine_problems(settings: Settings) -> Iterator[Problem]:
    """What is missing to run the steps of local Spark: a Java, or a Spark master that answers."""
    engines = [step.engine for step in settings.steps.values()]
    here = [one for one in engines if isinstance(one, PySparkEngine)]
    if here:
        try:
            Installation.found()
        except SparkMissingError as fault:
            yield Problem("engine=pyspark", str(fault))
    for master in dict.fromkeys(one.master for one in here if one.master):
        if not master.startswith("spark://"):
            continue
        refused = []
        for place in master.removeprefix("spark://").split(","):
            host, _, port = place.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=_REACH_S).close()
            except OSError as fault:
                refused.append(f"{place} ({fault.strerror or fault})")
        if len(refused) == len(master.split(",")):
            yield Problem(f"engine.master={master}", f"cannot be reached: {', '.join(refused)}.")
