"""The rehearsal workspace over HTTP: for the unmodified SDK of Databricks."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.schema import FaultRule
from ascii_hydra.rehearsal import databricks_statements as statements
from ascii_hydra.rehearsal.databricks_calls import Call, Raw, Reply
from ascii_hydra.rehearsal.databricks_cluster import USER
from ascii_hydra.rehearsal.databricks_clusters import Clusters
from ascii_hydra.rehearsal.databricks_dbfs import Dbfs
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError
from ascii_hydra.rehearsal.databricks_files import FilesApi
from ascii_hydra.rehearsal.databricks_folders import Folders
from ascii_hydra.rehearsal.databricks_jobs import Jobs
from ascii_hydra.rehearsal.databricks_login import WORKSPACE_ID, OAuthError, Tokens, well_known
from ascii_hydra.rehearsal.databricks_pools import Pools
from ascii_hydra.rehearsal.databricks_rules import node_types
from ascii_hydra.rehearsal.databricks_runtimes import LISTED
from ascii_hydra.rehearsal.databricks_workspace_files import WorkspaceFiles
from ascii_hydra.rehearsal.world import World
from ascii_hydra.rehearsal.wsgi import WORDS, Environ, StartResponse, hang_up, let_pass

_CLOSE_S = 15.0
_PATH = re.compile(r"/api/(2\.[0-2])/(fs/(?:files|directories)|.*?)(/Volumes/.*|/Volumes)?")
_LOGIN = "oidc/v1/token"
# Older versions of an operation that still answer; every other one is of 2.0 alone.
_VERSIONS = {"jobs": ("2.0", "2.1", "2.2"), "clusters": ("2.0", "2.1")}
# What the SDK sends although its types do not know it.
_UNTYPED = {"workspace/export": "direct_download"}
Operation = Callable[[dict[str, Any]], Reply]


class WorkspaceApi:
    """The WSGI application of the workspace.

    Args:
        world: shared with the rehearsal's AWS.
        url: where it answers.
        record: is told the name of every operation that is asked for.
    """

    def __init__(self, world: World, url: str, record: Callable[[str], None]) -> None:
        self._world, self._record = world, record
        self._loading, self._loaded = threading.Lock(), False
        folder = world.sandbox.folder / "databricks"
        folders = Folders(folder, world.store)
        self._tokens = Tokens()
        self._well_known = well_known(url)
        self._pools = pools = Pools(world)
        self._clusters = clusters = Clusters(world, pools)
        self._jobs = jobs = Jobs(world, folders, folder / "libraries", clusters, pools, url)
        self._files = FilesApi(folders)
        dbfs, files = Dbfs(folders), WorkspaceFiles(folders)
        # By name: the SDK's method or type that the request has to fit, and what answers it.
        self._asked: Mapping[str, tuple[str, str, Operation]] = {
            "jobs/runs/submit": ("POST", "jobs.JobsAPI.submit", jobs.submit),
            "jobs/runs/get": ("GET", "jobs.JobsAPI.get_run", jobs.get),
            "jobs/runs/list": ("GET", "jobs.JobsAPI.list_runs", jobs.listed),
            "jobs/runs/cancel": ("POST", "jobs.JobsAPI.cancel_run", jobs.cancel),
            "jobs/runs/get-output": ("GET", "jobs.JobsAPI.get_run_output", jobs.output),
            "jobs/runs/delete": ("POST", "jobs.JobsAPI.delete_run", jobs.delete),
            "clusters/create": ("POST", "compute.ClustersAPI.create", clusters.create),
            "clusters/get": ("GET", "compute.ClustersAPI.get", clusters.get),
            "clusters/list": ("GET", "compute.ClustersAPI.list", clusters.listed),
            "clusters/events": ("POST", "compute.ClustersAPI.events", clusters.events),
            "clusters/delete": ("POST", "compute.ClustersAPI.delete", clusters.delete),
            "clusters/permanent-delete": (
                *("POST", "compute.ClustersAPI.permanent_delete"),
                clusters.permanent_delete,
            ),
            "clusters/list-node-types": (
                *("GET", "compute.ClustersAPI.list_node_types"),
                _list_node_types,
            ),
            "clusters/spark-versions": (
                *("GET", "compute.ClustersAPI.spark_versions"),
                _list_spark_versions,
            ),
            "instance-pools/create": ("POST", "compute.InstancePoolsAPI.create", pools.create),
            "instance-pools/get": ("GET", "compute.InstancePoolsAPI.get", pools.get),
            "instance-pools/list": ("GET", "compute.InstancePoolsAPI.list", pools.listed),
            "instance-pools/edit": ("POST", "compute.InstancePoolsAPI.edit", pools.edit),
            "instance-pools/delete": ("POST", "compute.InstancePoolsAPI.delete", pools.delete),
            "dbfs/put": ("POST", "files.DbfsAPI.put", dbfs.put),
            "dbfs/create": ("POST", "files.DbfsAPI.create", dbfs.create),
            "dbfs/add-block": ("POST", "files.DbfsAPI.add_block", dbfs.add_block),
            "dbfs/close": ("POST", "files.DbfsAPI.close", dbfs.close),
            "dbfs/read": ("GET", "files.DbfsAPI.read", dbfs.read),
            "dbfs/get-status": ("GET", "files.DbfsAPI.get_status", dbfs.get_status),
            "dbfs/list": ("GET", "files.DbfsAPI.list", dbfs.listed),
            "dbfs/mkdirs": ("POST", "files.DbfsAPI.mkdirs", dbfs.mkdirs),
            "dbfs/move": ("POST", "files.DbfsAPI.move", dbfs.move),
            "dbfs/delete": ("POST", "files.DbfsAPI.delete", dbfs.delete),
            "workspace/get-status": ("GET", "workspace.WorkspaceAPI.get_status", files.get_status),
            "workspace/list": ("GET", "workspace.WorkspaceAPI.list", files.listed),
            "workspace/mkdirs": ("POST", "workspace.WorkspaceAPI.mkdirs", files.mkdirs),
            "workspace/delete": ("POST", "workspace.WorkspaceAPI.delete", files.delete),
            "workspace/import": ("POST", "workspace.WorkspaceAPI.import_", files.import_),
            "workspace/export": ("GET", "workspace.WorkspaceAPI.export", files.export),
            "sql/statements": (
                *("POST", "sql.StatementExecutionAPI.execute_statement"),
                statements.execute,
            ),
            "preview/scim/v2/Me": ("GET", "iam.CurrentUserAPI.me", _me),
        }

    @property
    def operations(self) -> set[str]:
        """The names of all operations, as fault rules and `calls` have them."""
        names = {*self._asked, *self._files.operations, *self._well_known, _LOGIN}
        return {f"databricks:{one}" for one in names}

    def load(self) -> None:
        """Import what takes long, so that the first request need not wait for it."""
        from ascii_hydra.databricks.model import field_names

        # Two threads that import the SDK's modules at once, which import one another, may wait
        # for each other for ever.
        with self._loading:
            if not self._loaded:
                for _, kind, _ in self._asked.values():
                    field_names(kind)
                node_types()
                self._loaded = True

    def alive(self) -> list[str]:
        """Runs and clusters that have not ended, and pools that are not deleted."""
        with self._world.agenda.moment():
            runs = [f"run {one.id}" for one in self._jobs.living]
            others = [one.id for one in self._clusters.living]
            return [*runs, *others, *(one.id for one in self._pools.living)]

    def close(self) -> None:
        """End every run; returns when no script executes any more."""
        with self._world.agenda.moment():
            for run in self._jobs.living:
                run.cancel()
        deadline = time.monotonic() + _CLOSE_S
        while self._jobs.executing and time.monotonic() < deadline:
            time.sleep(0.01)

    @staticmethod
    def serves(environ: Environ) -> bool:
        """The request is for the workspace, and not for a bucket of such a name."""
        path = environ.get("PATH_INFO", "")
        return path.startswith(("/api/2.", "/oidc/", "/.well-known/")) and not environ.get(
            "HTTP_AUTHORIZATION", ""
        ).startswith("AWS4")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if not self._loaded:
            self.load()
        operation, version, rest = _operation(environ)
        self._record(f"databricks:{operation}")
        call = Call.of(environ, rest)
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        lost, slow_s = False, 0.0
        headers: dict[str, str] = {}
        try:
            if version:
                self._tokens.check(authorization)
            fault = self._world.faults.taken(f"databricks:{operation}")
            if fault is not None:
                self._refuse(fault, operation, authorization)
                lost = fault.effect is FaultEffect.reply_lost
                slow_s = fault.seconds if fault.effect is FaultEffect.slow else 0.0
            if operation == _LOGIN:
                reply: Reply = self._tokens.issued(call, authorization, fault)
            else:
                reply = self._answer(operation, version, environ["REQUEST_METHOD"], call)
            status = 200
        except OAuthError as refused:
            reply, status = refused.told, refused.status
        except WorkspaceError as error:
            reply, status = error.as_json(), error.status
            if error.retry_after_s is not None:
                headers = {"Retry-After": str(error.retry_after_s)}
        if lost:
            hang_up(environ)
        let_pass(self._world.clock, slow_s)
        return _sent(environ, start_response, reply, status, headers)

    def _refuse(self, fault: FaultRule, operation: str, authorization: str) -> None:
        """Raises WorkspaceError, or OAuthError, for a fault that lets nothing happen."""
        effect = fault.effect
        if effect is FaultEffect.throttled:
            message = fault.message or "Too many requests. Please wait a moment and try again."
            raise WorkspaceError(
                "REQUEST_LIMIT_EXCEEDED", message, retry_after_s=int(fault.seconds) or 1
            )
        if effect is FaultEffect.server_error:
            raise WorkspaceError("INTERNAL_ERROR", fault.message or "Internal error happened")
        if effect is FaultEffect.refused:
            if operation == _LOGIN:
                raise OAuthError(
                    401, fault.code or "invalid_client", fault.message or "Client is not allowed"
                )
            raise WorkspaceError(
                fault.code or "PERMISSION_DENIED",
                fault.message or f"{USER} is not authorized to perform this action.",
            )
        if effect is FaultEffect.expired and operation != _LOGIN:
            self._tokens.revoke(authorization)
            raise WorkspaceError("UNAUTHENTICATED", "Access token has expired.")

    def _answer(self, operation: str, version: str, method: str, call: Call) -> Reply:
        if operation in self._well_known:
            return self._well_known[operation]
        if operation in self._files.operations and version == "2.0":
            return self._files.operations[operation](call)
        of = operation.partition("/")[0]
        found = self._asked.get(operation)
        if found is None or version not in _VERSIONS.get(of, ("2.0",)) or found[0] != method:
            raise WorkspaceError("ENDPOINT_NOT_FOUND", f"No API found for '{method} /{operation}'")
        _, kind, answered = found
        form = call.form() if operation in ("workspace/import", "dbfs/put") else None
        if form is None:
            form = (
                call.params(kind, _UNTYPED.get(operation)) if method == "GET" else call.body(kind)
            )
        with self._world.agenda.moment():
            return answered(form)


def _operation(environ: Environ) -> tuple[str, str, str]:
    """Name of the operation, version of the API, and what follows it in the path."""
    path = environ.get("PATH_INFO", "")
    found = _PATH.fullmatch(path)
    if found is None:
        return path.strip("/"), "", ""
    version, name, rest = found.groups()
    if name in ("fs/files", "fs/directories"):
        name = f"{name} {environ['REQUEST_METHOD']}"
    return name, version, rest or ""


def _sent(
    environ: Environ,
    start_response: StartResponse,
    reply: Reply,
    status: int,
    headers: Mapping[str, str],
) -> list[bytes]:
    if isinstance(reply, Raw):
        content, status = reply.content, reply.status
        given = {"Content-Length": str(len(content)), **reply.headers}
    else:
        content = json.dumps(reply).encode()
        given = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    if environ["REQUEST_METHOD"] == "HEAD":
        content = b""
        if not isinstance(reply, Raw):
            given = {"Content-Length": "0"}
    if status == 204:  # noqa: PLR2004 - it has no content, and no length of it
        given.pop("Content-Length")
    given |= {"X-Databricks-Org-Id": WORKSPACE_ID, "X-Request-Id": str(uuid.uuid4()), **headers}
    start_response(f"{status} {WORDS.get(status, 'Error')}", list(given.items()))
    return [content]


def _list_node_types(_params: Mapping[str, Any]) -> Reply:
    told = []
    for name, one in sorted(node_types().items()):
        told.append(
            {
                "node_type_id": name,
                "instance_type_id": name,
                "memory_mb": int(one.memory_gib * 1024),
                "num_cores": float(one.vcpus),
                "description": name,
                "category": "General Purpose",
                "is_graviton": one.architecture.value == "arm64",
                "is_deprecated": False,
                "is_hidden": False,
                "support_cluster_tags": True,
                "support_ebs_volumes": True,
                "node_instance_type": {
                    "instance_type_id": name,
                    "local_nvme_disks": 1 if one.local_storage_gb else 0,
                    "local_nvme_disk_size_gb": int(one.local_storage_gb),
                },
            }
        )
    return {"node_types": told}


def _list_spark_versions(_params: Mapping[str, Any]) -> Reply:
    return {"versions": [{"key": key, "name": name} for key, name in LISTED.items()]}


def _me(_params: Mapping[str, Any]) -> Reply:
    return {"id": "1", "userName": USER, "displayName": USER, "active": True}
