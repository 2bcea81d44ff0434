"""At most one driver works for a submission, however many begin at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dagster_pipes import encode_param
from moto.server import ThreadedMotoServer

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.pipes_arguments import (
    folder_uri,
    numbered,
    own_arguments,
    submission_number,
)
from ascii_hydra.engines.pipes_folder import PipesFolder
from ascii_hydra.engines.s3_store import S3Store
from ascii_hydra.engines.store import Store
from ascii_hydra.step.claim import claim
from ascii_hydra.step.folder_files import Folder, MountedFolder
from tests.pipes.folder_store import FolderStore

DRIVERS = 6
ROUNDS = 10


class StoredFolder:
    """A folder in S3 as a driver sees it, without a JVM: the files directly in it."""

    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._uri = store, uri

    def names(self) -> set[str]:
        return {one.partition("/")[0] for one in self._store.names(self._uri)}

    def write(self, name: str, content: bytes) -> None:
        self._store.write(f"{self._uri}/{name}", content)


Sides = Callable[[str], tuple[PipesFolder, Folder]]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Store]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = Place("us-east-1", f"http://{host}:{port}", path_style=True, rehearsal=True)
    aws_client("s3", place).create_bucket(Bucket="claims")
    yield S3Store(place)
    server.stop()


@pytest.fixture(params=["mounted", "s3"])
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Sides:
    """Makes a step's folder with its context: the launcher's side of it, and a driver's."""

    def make(name: str) -> tuple[PipesFolder, Folder]:
        driver: Any
        if request.param == "mounted":
            uri = str(tmp_path / name)
            launcher, driver = PipesFolder(FolderStore(), uri), MountedFolder(uri)
        else:
            store, uri = request.getfixturevalue("s3"), f"s3://claims/{name}"
            launcher, driver = PipesFolder(store, uri), StoredFolder(store, uri)
        launcher.write("context.json", b"{}")
        return launcher, driver

    return make


def works(folder: Folder, number: int = 1) -> bool:
    try:
        claim(folder, number)
    except SystemExit:
        return False
    return True


def at_once(*calls: Callable[[], bool]) -> list[bool]:
    """What calls return that begin at the same moment, each in a thread of its own."""
    barrier = threading.Barrier(len(calls))

    def begin(call: Callable[[], bool]) -> bool:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def test_of_drivers_that_begin_at_once_at_most_one_works(sides: Sides) -> None:
    for number in range(ROUNDS):
        _, driver = sides(f"drivers-{number}")
        assert sum(at_once(*[partial(works, driver)] * DRIVERS)) <= 1


def test_of_a_driver_and_its_revocation_at_most_one_has_its_way(sides: Sides) -> None:
    for number in range(3 * ROUNDS):
        launcher, driver = sides(f"revoked-{number}")
        working, revoked = at_once(partial(works, driver), partial(launcher.revoke, 1))
        assert not (working and revoked)
        assert works(driver, number=2)


def test_of_drivers_one_after_the_other_the_first_works(sides: Sides) -> None:
    launcher, driver = sides("ordered")
    assert works(driver)
    assert not works(driver)
    assert not launcher.revoke(1)
    assert launcher.is_wanted(1)
    assert launcher.revoke(2)
    assert not launcher.is_wanted(2)
    assert not works(driver, 2)
    assert works(driver, 3)
    assert works(driver, 31)


@pytest.mark.parametrize("what", ["stop", "deleted"])
def test_a_driver_that_comes_after_the_step_leaves(sides: Sides, what: str) -> None:
    launcher, driver = sides(what)
    if what == "stop":
        launcher.ask_to_stop()
    else:
        launcher.delete()
    assert not works(driver)
    assert launcher.content("context.json") == (b"{}" if what == "stop" else None)
    if what == "deleted":
        assert driver.names() == set(), "nothing is left in a folder that has been deleted"


def test_a_folder_that_is_being_deleted_has_no_context_first(tmp_path: Path) -> None:
    """Its marks may go before its context, and a driver may look between the two."""
    store, seen = FolderStore(), []
    folder = PipesFolder(store, str(tmp_path / "run"))
    folder.write("context.json", b"{}")
    delete = store.delete

    def look(uri: str) -> None:
        seen.append(folder.content("context.json"))
        delete(uri)

    store.delete = look  # type: ignore[method-assign]
    folder.delete()
    assert seen == [b""]


DRIVER = """
import sys
from ascii_hydra.step import folder_files
folder_files._MOUNTED = (sys.argv.pop(1),)
from dagster_pipes import PipesCliArgsParamsLoader
from ascii_hydra.step.folder_messages import opened_pipes
print("ready", flush=True)
sys.stdin.readline()
with opened_pipes(PipesCliArgsParamsLoader(), spark_is_ours=False):
    print("works", flush=True)
"""


def test_of_processes_that_begin_at_once_at_most_one_opens_pipes(tmp_path: Path) -> None:
    """Those that leave say why, exit with 1, and write no message."""
    uri = str(tmp_path / "run")
    folder = PipesFolder(FolderStore(), uri)
    context = {"asset_keys": ["made"], "run_id": "1", "job_name": None, "retry_number": 0}
    folder.write("context.json", json.dumps({**context, "extras": {}}).encode())
    params = encode_param({"folder": uri})
    words = numbered(["--dagster-pipes-context", params, "--dagster-pipes-messages", params], 1)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    ended = [(*one.communicate(timeout=60), one.returncode) for one in processes]
    left = [one for one in ended if one[2] != 0]
    assert len(left) >= 2
    for out, err, code in left:
        assert (out, code) == ("", 1)
        assert err.startswith("This driver ends before any work: ")
    assert len(list((tmp_path / "run").glob("messages/*.json"))) <= 1


def test_the_number_of_a_submission_stands_in_its_words() -> None:
    params = encode_param({"folder": "s3://b/f"})
    words = ["step.py", "--dagster-pipes-context", params, "--dagster-pipes-messages", params]
    assert submission_number(words) is None
    second = numbered(words, 2)
    assert submission_number(second) == 2
    assert folder_uri(second) == folder_uri(words) == "s3://b/f"
    assert own_arguments(second) == ["step.py"]
    assert submission_number(["--dagster-pipes-context", encode_param([1])]) is None
