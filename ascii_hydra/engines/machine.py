"""What a run needs of this machine, looked at before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from ascii_hydra.aws.client import Place
from ascii_hydra.config.engine_schema import PySparkEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.engines.s3_spark import s3_place
from ascii_hydra.engines.spark_launch import Installation, SparkMissingError
from ascii_hydra.engines.step_run import planned_run

# How long a Spark master, or what answers instead of AWS, may take before it counts as not there.
_REACH_S = 3.0
_PORTS = {"http": 80, "https": 443}


def machine_problems(settings: Settings) -> Iterator[Problem]:
    """What is missing to run the steps: a Java and a Spark for those of local Spark, a Spark master
    that answers, an endpoint that does."""
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
        places = [place.rpartition(":") for place in master.removeprefix("spark://").split(",")]
        refused = [
            f"{host}:{port} ({why})"
            for host, _, port in places
            if (why := _unreached(host, int(port))) is not None
        ]
        if len(refused) == len(places):
            yield Problem(f"engine.master={master}", f"cannot be reached: {', '.join(refused)}.")
    for place in dict.fromkeys(place for _, place in _steps_with_s3(settings)):
        yield from _endpoint_problems(place)


def prepared(settings: Settings, tell: Callable[[str], None]) -> None:
    """Have all that steps of local Spark need on this machine: the jars for s3a:// are downloaded
    if they are not there yet, of which `tell` gets a line.

    Raises ConfigError if they cannot be had.
    """
    # A rehearsed cluster runs its steps on this machine as well.
    here = [
        step
        for step, place in _steps_with_s3(settings)
        if place.rehearsal or isinstance(step.engine, PySparkEngine)
    ]
    if not here:
        return
    from ascii_hydra.engines import s3_jars

    try:
        s3_jars.ensured(tell)
    except s3_jars.JarsMissingError as fault:
        raise ConfigError(
            [Problem(f"mode={settings.config.mode.name.value}", str(fault))]
        ) from None


def _steps_with_s3(settings: Settings) -> Iterator[tuple[StepSettings, Place]]:
    for step in settings.steps.values():
        place = s3_place(planned_run(settings, step))
        if place is not None:
            yield step, place


def _endpoint_problems(place: Place) -> Iterator[Problem]:
    """An address of one's own that nobody answers at. S3A would try it for a minute or more."""
    if place.url is None:
        return
    parts = urlsplit(place.url)
    why = _unreached(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443))
    if why is not None:
        todo = (
            "start one by make rehearsal, or leave the url out" if place.rehearsal else "check it"
        )
        yield Problem(f"endpoint.url={place.url}", f"cannot be reached ({why}): {todo}.")


def _unreached(host: str, port: int) -> str | None:
    """Why nothing answers at an address, or None if something does."""
    try:
        socket.create_connection((host, port), timeout=_REACH_S).close()
    except OSError as fault:
        return fault.strerror or str(fault)
    return None
