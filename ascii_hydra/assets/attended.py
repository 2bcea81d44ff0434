"""The resource of runs that somebody watches in a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from ascii_hydra.assets.definitions import default_choice
from ascii_hydra.assets.launchpad import SparkPipesClient, client_type
from ascii_hydra.assets.step_logs import StepLogs
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.engines.clock import Clock
from ascii_hydra.engines.pyspark import LocalSparkClient
from ascii_hydra.engines.still_running import StillRunning
from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from ascii_hydra.engines.cloud_client import CloudClient


def attended(
    conf: Path,
    launch: str,
    stop: threading.Event,
    tell: Callable[[str], None],
    warn: Callable[[str], None],
    keep: Callable[[StillRunning], None],
) -> SparkPipesClient:
    """The resource of runs that a terminal watches: they stop when it says so, tell it what goes
    on, and share what they share with the other runs of the launch.

    Args:
        conf: the folder of the configuration.
        launch: names the launch.
        stop: set when it is to end.
        tell: takes a line for people.
        warn: takes a line that people must not miss.
        keep: takes what may be left running, at once.
    """
    try:
        offered = default_choice(conf)
    except ConfigError:
        # The UI would refuse this environment; a run may have chosen otherwise on its own.
        offered = {}

    class Attended(SparkPipesClient):
        __doc__ = SparkPipesClient.__doc__

        def local_client(self) -> LocalSparkClient:
            return LocalSparkClient(stop=stop, sink=StepLogs.write_line)

        def cloud_client(self, engine: Engine, clock: Clock) -> CloudClient[Any]:
            return client_type(engine)(
                clock=clock, stop=stop, tell=tell, warn=warn, keep=keep, launch_id=launch
            )

        def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
            """The launch ends what it shares when all of its runs have ended."""

    return Attended(**offered)
