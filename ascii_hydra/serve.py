"""The Dagster UI with everything of ours in it: `make start`, or `python -m ascii_hydra.serve`.

Arguments are passed on to `dagster dev`: `python -m ascii_hydra.serve --port 3001`.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.dagster_home import VARIABLE, dagster_home

_HOST, _PORT = "127.0.0.1", "3000"


def main() -> NoReturn:
    """Check the configuration, let Dagster know every partition, and become `dagster dev`."""
    conf = conf_folder()
    try:
        home = dagster_home()
        os.environ[VARIABLE] = str(home)
        _register_partitions()
    except USER_ERRORS as fault:
        sys.exit(explained(fault, conf))
    words = ["dagster", "dev", "-m", "ascii_hydra.definitions", "--host", _HOST, "--port", _PORT]
    sys.stdout.flush()
    # `python -m` rather than the script of that name: it need not be on PATH.
    os.execv(sys.executable, [sys.executable, "-m", *words, *sys.argv[1:]])  # noqa: S606


def _register_partitions() -> None:
    """Make the partitions of every pipeline known; one whose input is not here is named."""
    from dagster import DagsterInstance

    from ascii_hydra.assets.definitions import default_settings, pipeline_options
    from ascii_hydra.assets.partitions import dimension_name, dimension_values
    from ascii_hydra.config.problems import ConfigError

    conf = conf_folder()
    with DagsterInstance.get() as instance:
        for option in pipeline_options(conf):
            pipeline = default_settings(conf, option).config.pipeline
            try:
                values = dimension_values(pipeline)
            except ConfigError as fault:
                print(f"Note: pipeline {pipeline.name} shows no partitions: {fault}")  # noqa: T201
                continue
            for dimension, each in values.items():
                instance.add_dynamic_partitions(
                    dimension_name(pipeline.name, dimension), list(each)
                )


if __name__ == "__main__":
    main()
