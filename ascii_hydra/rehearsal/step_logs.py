"""The logs of a cluster, where EMR leaves them: compressed, below the cluster's LogUri."""

from __future__ import annotations

from collections.abc import Mapping

from ascii_hydra.rehearsal.store import Store


def step_folder(log_uri: str, cluster: str, step: str) -> str:
    """Where a step's logs are."""
    return f"{_root(log_uri, cluster)}/steps/{step}"


def write_step_logs(
    store: Store, log_uri: str, cluster: str, step: str, logs: Mapping[str, bytes]
) -> None:
    """Write an execution's logs: those of the step, and those of its containers."""
    for name, content in logs.items():
        below = name if name.startswith("containers/") else f"steps/{step}/{name}"
        store.write_gzip(f"{_root(log_uri, cluster)}/{below}.gz", content)


def write_bootstrap_log(
    store: Store, log_uri: str, cluster: str, instance: str, number: int, said: str
) -> str:
    """Write why a bootstrap action failed; returns the log's URI."""
    folder = f"{_root(log_uri, cluster)}/node/{instance}/bootstrap-actions/{number}"
    store.write_gzip(f"{folder}/controller.gz", f"ERROR {said}\n".encode())
    store.write_gzip(f"{folder}/stderr.gz", f"{said}\n".encode())
    return f"{folder}/stderr.gz"


def _root(log_uri: str, cluster: str) -> str:
    # EMR's own tools write s3n:// and s3:// for the same thing.
    return "s3://" + log_uri.split("://", 1)[1].rstrip("/") + f"/{cluster}"
