"""The Dagster UI with everything of ours in it: `make start`, or `python -m ascii_hydra.serve`.

Arguments are passed on to `dagster dev`: `python -m ascii_hydra.serve --port 3001`. What it starts
is the same but for the webserver, which stands behind a guard (`webserver.py`).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.dagster_home import VARIABLE, dagster_home, first_alone
from ascii_hydra.loopback import LOOPBACK_NAMES

_HOST, _PORT = "127.0.0.1", 3000
# As many as uvicorn lets wait.
_BACKLOG = 2048


def main() -> None:
    """Check the configuration, let Dagster know every partition, and be `dagster dev`."""
    conf = conf_folder()
    host, port, rest = _address(sys.argv[1:])
    try:
        home = dagster_home()
        os.environ[VARIABLE] = str(home)
        _register_partitions()
    except USER_ERRORS as fault:
        sys.exit(explained(fault, conf))
    # From here on nobody else can serve on this port; a browser that asks already, waits.
    with _listening(host, port) as listening:
        _run_dagster_dev(listening, [*rest, "--host", host, "--port", str(port)])


def _address(arguments: list[str]) -> tuple[str, int, list[str]]:
    """Host and port to serve on, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--host", "--dagit-host", dest="host", default=_HOST)
    parser.add_argument("-p", "--port", "--dagit-port", dest="port", default=_PORT, type=int)
    known, rest = parser.parse_known_args(arguments)
    return known.host, known.port, rest


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; leaves with what to do if there can be none."""
    if host not in {one.strip("[]") for one in LOOPBACK_NAMES}:
        print(  # noqa: T201
            f"Note: --host {host} lets everybody who reaches port {port} of this machine start"
            " clusters and run programs with your credentials: the Dagster UI has no login.",
            file=sys.stderr,
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        if host == _HOST:
            sys.exit(
                f"Port {port} is taken: is the UI open already? Or make start ARGS='--port 3001'."
            )
        sys.exit(f"--host {host} --port {port} cannot be served on: {fault.strerror}.")


def _run_dagster_dev(listening: socket.socket, arguments: Sequence[str]) -> None:
    """Be `dagster dev` with these arguments, whose webserver is ours on a listening socket.

    What is private of Dagster is replaced here and nowhere else. If a later version starts its
    webserver in another way, that one ends at once: its port is taken.
    """
    from dagster._cli import dev
    from dagster._cli import main as run_dagster

    # A shell lets its background jobs ignore SIGINT. Dagster treats SIGTERM as it does SIGINT, and
    # would not end at all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = dev.open_ipc_subprocess  # type: ignore[attr-defined]

    def start_guarded(command: Sequence[str], **options: Any) -> Any:
        if "dagster_webserver" not in command:
            return start(command, **options)
        at = list(command).index("dagster_webserver")
        own = ["ascii_hydra.webserver", str(listening.fileno())]
        options["pass_fds"] = [*options.get("pass_fds", ()), listening.fileno()]
        return start([*command[:at], *own, *command[at + 1 :]], **options)

    dev.open_ipc_subprocess = start_guarded  # type: ignore[attr-defined, assignment]
    sys.argv = ["dagster", "dev", "-m", "ascii_hydra.definitions", *arguments]
    sys.stdout.flush()
    run_dagster()  # type: ignore[no-untyped-call]


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
