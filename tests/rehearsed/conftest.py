"""A rehearsal cloud that several tests share, and what is in it afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.dataset as ds
import pytest
from databricks.sdk.errors import NotFound

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.config.schema import RehearsalConfig
from ascii_hydra.databricks.workspace import Workspace, workspace_client
from ascii_hydra.rehearsal.started import started
from tests.rehearsal_cloud import asked, place_of


@dataclass
class Cloud:
    """A running rehearsal cloud."""

    url: str

    @property
    def place(self) -> Place:
        return place_of(self.url)

    def asked(self, path: str) -> Any:
        return asked(self.url, path)

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster there ever was, oldest first."""
        emr = aws_client("emr", self.place)
        listed = emr.list_clusters()["Clusters"]
        return [emr.describe_cluster(ClusterId=one["Id"])["Cluster"] for one in reversed(listed)]

    def volume(self, folder: str) -> list[str]:
        """Names of what is in a folder of a volume; empty if it is not there."""
        files = workspace_client(Workspace(self.url)).files
        try:
            return [str(one.name) for one in files.list_directory_contents(folder)]
        except NotFound:
            return []

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = aws_client("s3", self.place).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in found for one in page.get("Contents", [])]

    def rows(self, uri: str, folder: Path) -> list[dict[str, object]]:
        """The rows of a Parquet folder in S3, in some order that is always the same."""
        store, place = aws_client("s3", self.place), urlsplit(uri)
        for key in self.keys(place.netloc, place.path.strip("/") + "/"):
            if key.endswith(".parquet"):
                target = folder / key
                target.parent.mkdir(parents=True, exist_ok=True)
                store.download_file(place.netloc, key, str(target))
        return rows_of(folder / place.path.strip("/"))


def rows_of(folder: Path) -> list[dict[str, object]]:
    """The rows of a Parquet folder here, in the same order."""
    rows = ds.dataset(folder, format="parquet", partitioning=None).to_table().to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with started(RehearsalConfig(speed=600)) as url:
        yield Cloud(url)


@pytest.fixture(autouse=True)
def no_cluster_is_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cloud" in request.fixturenames:
        cloud = request.getfixturevalue("cloud")
        deadline = time.monotonic() + 10  # a cluster that is terminating needs a moment for it
        while alive := cloud.asked("alive"):
            assert time.monotonic() < deadline, alive
            time.sleep(0.05)
