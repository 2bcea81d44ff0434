"""`python -m ascii_hydra.rehearsal [--port N]`: a rehearsal cloud on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from contextlib import closing
from types import FrameType

from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.rehearsal.settings import from_json

# Nothing but this machine itself reaches the cloud: a step is a program that anybody could send.
_HOST = "127.0.0.1"
_DEFAULT_PORT = 4599


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ascii_hydra.rehearsal",
        description="A cloud on this machine to rehearse in. docs/rehearsal.md tells more.",
    )
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT, help="0 for any free one")
    parser.add_argument("--config", default="{}", help="RehearsalConfig as JSON")
    parser.add_argument("--until-fd", type=int, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    try:
        config = from_json(json.loads(asked.config))
    except ValueError as fault:
        parser.error(f"--config: {fault}")
    try:
        listening = _bound(asked.port)
    except OSError as fault:
        why = os.strerror(fault.errno) if fault.errno else str(fault)
        parser.error(f"--port {asked.port}: {why}. Take another: --port N")
    url = f"http://{_HOST}:{listening.getsockname()[1]}"
    stop = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    broken = threading.Event()

    def fail(what: threading.ExceptHookArgs) -> None:
        # Of a cloud in which things no longer happen when they are due, nobody may wait for more.
        threading.__excepthook__(what)
        broken.set()
        stop.set()

    threading.excepthook = fail
    if asked.until_fd is not None:
        _stop_with_parent(asked.until_fd, stop)
    kept = asked.until_fd is None
    _tell(url, config, for_people=kept)
    _serve(config, url, listening, stop, for_people=kept)
    sys.stdout.flush()
    # Nothing is left to be done, and requests in flight need not be waited for.
    os._exit(1 if broken.is_set() else 0)


def _serve(
    config: RehearsalConfig,
    url: str,
    listening: socket.socket,
    stop: threading.Event,
    *,
    for_people: bool,
) -> None:
    # Requests already wait in the socket while this is imported.
    from ascii_hydra.engines.own_folder import OwnFolder
    from ascii_hydra.rehearsal.guard import Guard
    from ascii_hydra.rehearsal.server import Cloud, server_of

    with OwnFolder("spark") as folder, closing(Guard()) as guard:
        cloud = Cloud(config, url, folder, guard)
        server = server_of(cloud, listening)
        threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
        cloud.load()
        if for_people:
            _fetch_jars()
        stop.wait()
        cloud.close()


def _fetch_jars() -> None:
    """What the first step would otherwise wait for, without a word."""
    from ascii_hydra.engines.s3_jars import JarsMissingError, ensured

    try:
        ensured(lambda line: print(line, flush=True))  # noqa: T201
    except JarsMissingError as fault:
        print(f"No step can run: {fault}", flush=True)  # noqa: T201


def _bound(port: int) -> socket.socket:
    """A socket that listens on loopback. Raises OSError if the port is taken."""
    return socket.create_server((_HOST, port), backlog=128)


def _stop_with_parent(descriptor: int, stop: threading.Event) -> None:
    def wait() -> None:
        os.read(descriptor, 1)  # comes to its end with the process that holds the other end
        stop.set()

    os.set_inheritable(descriptor, False)
    threading.Thread(target=wait, name="parent", daemon=True).start()


def _tell(url: str, config: RehearsalConfig, *, for_people: bool) -> None:
    print(f"rehearsal {url}", flush=True)  # noqa: T201
    if for_people:
        print(  # noqa: T201
            "A rehearsal cloud with S3, EMR and Databricks;"
            f" {config.speed:g} virtual seconds a second.\n"
            "In another terminal (for the UI: docs/rehearsal.md):\n"
            f"  python -m ascii_hydra engine=emr mode=small_dev_sample_s3 endpoint=rehearsal"
            f" endpoint.url={url}\n"
            "Ctrl-C ends it, and all that is in it.",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
