"""Whole files in a volume, in the workspace and in DBFS, by one interface."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import pytest

from ascii_hydra.engines.databricks_errors import DATABRICKS_FAULTS
from tests.databricks.conftest import ROOT, fault

FOLDERS = (f"{ROOT}/files", "/Workspace/Shared/files", "dbfs:/files")
MUCH = bytes(range(256)) * 10_000  # 2.5 MB: several of DBFS' blocks


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_what_was_written(cloud, folder):
    store = cloud.store
    assert store.read(f"{folder}/a/b c.json") is None
    assert not store.exists(f"{folder}/a/b c.json")
    assert store.names(folder) == []
    store.delete(folder)
    store.write(f"{folder}/a/b c.json", b"one")
    store.write(f"{folder}/a/b c.json", b"two")
    store.create(f"{folder}/a/b c.json", b"three")
    assert store.read(f"{folder}/a/b c.json") == b"two"
    store.create(f"{folder}/much", MUCH)
    store.create(f"{folder}/much", b"less")
    assert store.read(f"{folder}/much") == MUCH
    store.write(f"{folder}/much", MUCH[::-1])
    assert store.read(f"{folder}/much") == MUCH[::-1]
    store.write(f"{folder}/empty", b"")
    assert store.read(f"{folder}/empty") == b""
    assert store.exists(f"{folder}/empty")
    assert sorted(store.names(folder)) == ["a/b c.json", "empty", "much"]
    assert store.names(f"{folder}/a") == ["b c.json"]
    store.delete(folder)
    assert store.names(folder) == []
    assert store.read(f"{folder}/much") is None


@pytest.mark.parametrize(
    ("code", "transient", "denied"),
    [
        ("PERMISSION_DENIED", False, True),
        ("TEMPORARILY_UNAVAILABLE", True, False),
        ("INVALID_PARAMETER_VALUE", False, False),
    ],
)
def test_a_fault_is_not_taken_for_a_missing_file(cloud, code, transient, denied):
    """D9."""
    cloud.behave(fault("databricks:fs/files GET", "refused", code=code))
    with pytest.raises(DATABRICKS_FAULTS) as raised:
        cloud.store.read(f"{ROOT}/files/x")
    told = cloud.store.fault(raised.value)
    assert (told.transient, told.denied) == (transient, denied)


def test_the_sdk_is_a_current_one_and_dagsters_own_client_is_not_there():
    """D11: dagster-databricks holds the SDK back at 0.60."""
    assert int(version("databricks-sdk").split(".")[1]) > 60
    assert find_spec("dagster_databricks") is None
