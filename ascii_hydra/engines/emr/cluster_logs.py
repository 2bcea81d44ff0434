"""The last lines of the right logs of a failed step. EMR uploads logs late, and not always."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ascii_hydra.aws.client import aws_client
from ascii_hydra.engines.aws_errors import AWS_FAULTS, words
from ascii_hydra.engines.emr.api import Emr

_LINES = 40
_LINE_LIMIT = 2_000
_PAUSE_S = 2.0
# Of a log, unpacked. More is not worth the wait.
_READ_LIMIT_BYTES = 256 * 1024 * 1024
# Java says this about every Spark driver.
_NOISE = {"WARNING: Using incubator modules: jdk.incubator.vector"}
_APPLICATION = re.compile(r"application_\d+_\d+")
_BOOTSTRAP = re.compile(r"\((i-[0-9a-f]+)\).*?bootstrap action (\d+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class LogTail:
    """The ends of one or several logs.

    Attributes:
        uris: of the logs.
        lines: their last ones, those of the most telling log at the end.
    """

    uris: tuple[str, ...]
    lines: tuple[str, ...]

    def __add__(self, other: LogTail) -> LogTail:
        return LogTail(self.uris + other.uris, self.lines + other.lines)


class ClusterLogs:
    """The logs of one cluster.

    Args:
        emr: whose place, clock and stop are used.
        log_uri: the cluster's LogUri, or None if it keeps no logs.
        cluster_id: the cluster.
    """

    def __init__(self, emr: Emr, log_uri: str | None, cluster_id: str) -> None:
        self._emr = emr
        parts = urlsplit(log_uri or "")
        self._bucket = parts.netloc
        self._prefix = "/".join(filter(None, (parts.path.strip("/"), cluster_id)))
        self.uri = f"s3://{self._bucket}/{self._prefix}/" if log_uri else None

    def step_uri(self, step_id: str) -> str | None:
        """Where a step's logs are."""
        return None if self.uri is None else f"{self.uri}steps/{step_id}/"

    def bootstrap_uri(self, message: str) -> str | None:
        """Where the log of the failed bootstrap action is that a cluster's message tells of."""
        found = _BOOTSTRAP.search(message)
        if self.uri is None:
            return None
        if found is None:
            return f"{self.uri}node/"
        return f"{self.uri}node/{found[1]}/bootstrap-actions/{found[2]}/stderr.gz"

    def tail(self, step_id: str, *, wait_s: float, warn: Callable[[str], None]) -> LogTail | None:
        """The ends of spark-submit's log and of what the step's driver has printed; None if there
        is nothing.

        Args:
            step_id: the step.
            wait_s: how long to wait for the driver's log.
            warn: is told why logs cannot be read.
        """
        if self.uri is None:
            return None
        deadline = self._emr.clock.local.now() + wait_s if wait_s else 0.0
        found: LogTail | None = None
        try:
            while True:
                submitting, driver = self._look(step_id)
                found = submitting + driver if submitting and driver else submitting or driver
                late = (
                    not wait_s or self._emr.clock.local.now() >= deadline or self._emr.stop.is_set()
                )
                if driver is not None or late:
                    return found
                self._emr.clock.sleep(_PAUSE_S, self._emr.stop)
        except (*AWS_FAULTS, OSError) as fault:
            warn(f"the logs of {step_id} cannot be read ({words(fault)})")
            return found

    def _look(self, step_id: str) -> tuple[LogTail | None, LogTail | None]:
        """What there is now of spark-submit's log, and of the driver's."""
        submitting: LogTail | None = None
        application = None
        for key in self._keys(f"steps/{step_id}/"):
            name = key.rsplit("/", 1)[-1]
            if name.startswith(("stderr", "controller", "syslog")):
                tail = self._read(key)
                ids = _APPLICATION.findall("\n".join(tail.lines))
                application = ids[-1] if ids else application
                if name.startswith("stderr") and tail.lines:
                    submitting = tail
        if application is None:
            return submitting, None
        # Container 1 of an application holds the driver. Spark sends all that a driver in Python
        # prints to stdout, its errors too; stderr is the JVM's.
        driver: LogTail | None = None
        for stream in ("stderr", "stdout"):
            for key in self._keys(f"containers/{application}/"):
                if re.search(rf"/container_[^/]*_0*1/{stream}[^/]*$", key):
                    tail = self._read(key)
                    driver = tail if driver is None else driver + tail
        return submitting, driver

    def _keys(self, below: str) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}/{below}"
        )
        for page in pages:
            for one in page.get("Contents", ()):
                yield one["Key"]

    def _read(self, key: str) -> LogTail:
        body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"]
        stream = gzip.GzipFile(fileobj=body) if key.endswith(".gz") else body.iter_lines()
        lines: deque[str] = deque(maxlen=_LINES)
        size = 0
        try:
            for line in stream:
                size += len(line)
                if size > _READ_LIMIT_BYTES:
                    break
                text = line.decode("utf-8", "replace").rstrip()[:_LINE_LIMIT]
                if text and text not in _NOISE:
                    lines.append(text)
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            # EMR uploads what there is when a node goes; what was read before says something.
            lines.append(f"({key.rsplit('/', 1)[-1]} is cut off: {fault})")
        return LogTail((f"s3://{self._bucket}/{key}",), tuple(lines))

    @property
    def _s3(self) -> Any:
        client = getattr(self, "_client", None)
        if client is None:
            client = self._client = aws_client("s3", self._emr.place)
        return client
