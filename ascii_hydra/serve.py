"""The Dagster UI with everything of ours in it: `make start`, or `python -m ascii_hydra.serve`.

Arguments are passed on to `dagster dev`: `python -m ascii_hydra.serve --port 3001`.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.dagster_home import VARIABLE, dagster_home, first_alone

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
    _refuse_taken_port(sys.argv[1:])
    words = ["dagster", "dev", "-m", "ascii_hydra.definitions", "--host", _HOST, "--port", _PORT]
    sys.stdout.flush()
    # `python -m` rather than the script of that name: it need not be on PATH.
    os.execv(sys.executable, [sys.executable, "-m", *words, *sys.argv[1:]])  # noqa: S606


def _refuse_taken_port(arguments: list[str]) -> None:
    """Leave if the port is taken: `dagster dev` would say that it serves, and go on without."""
    flags = [at for at, word in enumerate(arguments[:-1]) if word in {"-p", "--port"}]
    port = int(arguments[flags[-1] + 1]) if flags else int(_PORT)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((_HOST, port))
        except OSError:
            sys.exit(
                f"Port {port} is taken: is the UI open already? Or make start ARGS='--port 3001'."
            )


def _register_partitions() -> None:
    """Make the partitions of every pipeline known; one whose input is not here is named."""
    from dagster import DagsterInstance

    from ascii_hydra.assets.abandoned import close_abandoned
    from ascii_hydra.assets.definitions import default_settings, pipeline_options
    from ascii_hydra.assets.partitions import dimension_name
    from ascii_hydra.aws.place import input_opener
    from ascii_hydra.config.partitions import dimension_values
    from ascii_hydra.config.problems import ConfigError
    from ascii_hydra.rehearsal.own import with_sample_input

    conf = conf_folder()
    with first_alone(dagster_home()), DagsterInstance.get() as instance:
        close_abandoned(instance)
        for option in pipeline_options(conf):
            settings = default_settings(conf, option)
            pipeline = settings.config.pipeline
            try:
                values = dimension_values(with_sample_input(settings), input_opener(settings))
            except ConfigError as fault:
                print(f"Note: pipeline {pipeline.name} shows no partitions: {fault}")  # noqa: T201
                continue
            for dimension, each in values.items():
                instance.add_dynamic_partitions(
                    dimension_name(pipeline.name, dimension), list(each)
                )


if __name__ == "__main__":
    main()
