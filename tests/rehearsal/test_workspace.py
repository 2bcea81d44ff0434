"""The rehearsal workspace as the SDK meets it: its login, its rules, its files."""

from __future__ import annotations

import base64
import io
import os
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    DatabricksError,
    InvalidParameterValue,
    NotFound,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    Unauthenticated,
)
from databricks.sdk.service.workspace import ImportFormat

from ascii_hydra.config.choices import FaultEffect
from ascii_hydra.config.faults import DATABRICKS_OPERATIONS
from ascii_hydra.config.schema import FaultRule
from tests.rehearsal.conftest import Rehearsed
from tests.rehearsal.workspace import CLUSTER, POOL, VOLUME, Workspace, client

# --- login


def test_by_the_environments_variables(cloud: Rehearsed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_HOST", cloud.url)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "rehearsal")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "rehearsal")
    found = WorkspaceClient()
    assert found.config.auth_type == "oauth-m2m"
    assert found.current_user.me().user_name == "rehearsal"


def test_a_wrong_secret_is_told_as_oauth_does(cloud: Rehearsed) -> None:
    with pytest.raises(ValueError, match="invalid_client: Client authentication failed"):
        client(cloud.url, secret="wrong").current_user.me()


def test_without_a_token_nothing_is_answered(cloud: Rehearsed) -> None:
    for header in ({}, {"Authorization": "Bearer none"}):
        request = Request(f"{cloud.url}/api/2.1/clusters/list", headers=header)
        with pytest.raises(HTTPError) as refused:
            urlopen(request, timeout=30)
        assert refused.value.code == 401


def test_a_token_that_has_expired_is_renewed_by_the_sdk(cloud: Rehearsed) -> None:
    """And one that is no longer accepted, although it has not, only by a new client."""
    cloud.goes_wrong("databricks:oidc/v1/token", "expired", seconds=1)
    sdk = client(cloud.url)
    sdk.current_user.me()
    time.sleep(1.1)
    sdk.current_user.me()
    logins = [one["operation"] for one in cloud.get("calls")].count("databricks:oidc/v1/token")
    cloud.goes_wrong("databricks:clusters/list", "expired")
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            list(sdk.clusters.list())
    list(client(cloud.url).clusters.list())
    found = [one["operation"] for one in cloud.get("calls")].count("databricks:oidc/v1/token")
    assert found == logins + 1


# --- faults of operations


def test_each_fault_as_the_sdk_maps_it(cloud: Rehearsed, workspace: Workspace) -> None:
    def rule(effect: str, **settings) -> FaultRule:
        return FaultRule("databricks:clusters/list", FaultEffect(effect), **settings)

    cloud.faults(
        rule("throttled", seconds=2),
        rule("refused", after=1),
        rule("refused", after=2, code="TEMPORARILY_UNAVAILABLE"),
        rule("server_error", after=3),
    )
    found = []
    for _ in range(4):
        # What the SDK repeats until its own time limit is over is the cause of what it then says.
        with pytest.raises((DatabricksError, TimeoutError)) as raised:
            list(workspace.sdk.clusters.list())
        fault = raised.value.__cause__ or raised.value
        assert isinstance(fault, DatabricksError)
        found.append(type(fault).__name__)
        if len(found) == 1:
            assert fault.retry_after_secs == 2
    assert found == [
        *("RequestLimitExceeded", "PermissionDenied"),
        *("TemporarilyUnavailable", "InternalError"),
    ]
    list(workspace.sdk.clusters.list())


def test_a_lost_reply_leaves_the_effect(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.configure(
        speed=60,
        faults=(FaultRule("databricks:jobs/runs/submit", FaultEffect.reply_lost),),
    )
    body = workspace.body(idempotency_token="lost")
    with pytest.raises(TimeoutError) as unclear:  # the SDK's own, after its retries' time
        workspace.submit(body)
    assert "Connection" in type(unclear.value.__cause__).__name__
    (run,) = workspace.sdk.jobs.list_runs(active_only=True)
    assert workspace.submit(body) == run.run_id
    workspace.sdk.jobs.cancel_run(run.run_id)
    workspace.until(run.run_id)


def test_a_slow_reply_takes_virtual_time(cloud: Rehearsed, workspace: Workspace) -> None:
    cloud.goes_wrong("databricks:preview/scim/v2/Me", "slow", seconds=600)
    before = cloud.get("clock")["now"]
    workspace.sdk.current_user.me()
    assert cloud.get("clock")["now"] >= before + 600


# --- rules

BAD = {"spark_version": "17.3.x-scala2.13", "node_type_id": "m5d.large", "num_workers": 1}


def cluster(**changes) -> dict:
    return {"task_new_cluster": {k: v for k, v in {**BAD, **changes}.items() if v is not None}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (cluster(node_typ_id="x"), "no such field; did you mean node_type_id"),
        (cluster(num_workers="1"), "is not a whole number"),
        (cluster(node_type_id="m5d.hug"), "Node type m5d.hug is not supported"),
        (cluster(node_type_id=None), "node_type_id"),
        (cluster(spark_version="3.5"), "Spark version 3.5 is not supported"),
        (cluster(spark_version=None), "spark_version"),
        (cluster(node_type_id="m5.xlarge"), "no local disk"),
        (cluster(driver_node_type_id="m6gd.large"), "different processors"),
        (cluster(autoscale={"min_workers": 1, "max_workers": 2}), "Only one of num_workers"),
        (cluster(num_workers=None, autoscale={"min_workers": 3, "max_workers": 2}), "autoscale"),
        (cluster(num_workers=0), "without workers"),
        (cluster(autotermination_minutes=20), "cannot be set for a job cluster"),
        (cluster(instance_pool_id="none"), "cannot be supplied when an instance pool ID"),
        (cluster(node_type_id=None, instance_pool_id="none"), "Can't find an instance pool"),
        (cluster(custom_tags={str(n): "" for n in range(46)}), "at most 45"),
        (cluster(custom_tags={"aws:x": ""}), "does not allow"),
        (cluster(custom_tags={"x": "y" * 256}), "a value of over 255"),
        (cluster(aws_attributes={"first_on_demand": -1}), "first_on_demand"),
        (cluster(aws_attributes={"spot_bid_price_percent": 0}), "spot_bid_price_percent"),
        (cluster(aws_attributes={"availability": "CHEAP"}), "is none of"),
        (cluster(aws_attributes={"ebs_volume_count": 1}), "ebs_volume_type"),
        ({"task_new_cluster": None}, "Exactly one of"),
        ({"task_existing_cluster_id": "1120-120000-abcdefgh"}, "Exactly one of"),
        (
            {"task_new_cluster": None, "task_existing_cluster_id": "1120-120000-abcdefgh"},
            "does not exist",
        ),
        ({"task_environment_key": "default"}, "new_cluster cannot be set"),
        ({"task_new_cluster": None, "task_environment_key": "default"}, "not one of environments"),
        (
            {
                "task_new_cluster": None,
                "task_environment_key": "x",
                "task_libraries": [{"whl": "/"}],
            },
            "Libraries field is not supported for serverless",
        ),
        ({"task_new_cluster": None, "task_job_cluster_key": "x"}, "job_cluster_key"),
        ({"task_libraries": [{"egg": "dbfs:/x.egg"}]}, "egg"),
        ({"task_libraries": [{"whl": "x.whl"}]}, "not valid"),
        ({"task_notebook_task": {"notebook_path": "/x"}}, "spark_python_task alone"),
        ({"task_spark_python_task": {"python_file": "/tmp/x.py"}}, "Invalid python file reference"),
        ({"task_spark_python_task": {}}, "python_file: is missing"),
        ({"idempotency_token": "t" * 65}, "at most 64"),
        ({"run_name": "n" * 4097}, "run_name"),
        ({"timeout_second": 5}, "did you mean timeout_seconds"),
        ({"tasks": []}, "exactly one task"),
    ],
)
def test_a_run_that_breaks_a_rule_is_refused(
    workspace: Workspace, changes: dict, told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        workspace.submit(workspace.body(**changes))


def test_parameters_have_a_limit(workspace: Workspace) -> None:
    with pytest.raises(InvalidParameterValue, match="exceeds the limit of 10000"):
        workspace.submit(workspace.body("", "x" * 10_000))


def test_other_requests_are_checked_too(workspace: Workspace) -> None:
    for path, body in (
        ("2.0/instance-pools/create", {**POOL, "node_type_id": "none"}),
        ("2.0/instance-pools/create", {**POOL, "min_idle": 1}),
        ("2.0/instance-pools/create", {**POOL, "max_capacity": 0}),
        ("2.1/clusters/create", {**CLUSTER, "autotermination_minutes": 5}),
        ("2.2/jobs/runs/cancel", {"run_id": "one"}),
    ):
        with pytest.raises(BadRequest):
            workspace.call("POST", path, body=body)
    for query in ({"limit": 26}, {"active": "true"}, {"active_only": "yes"}):
        with pytest.raises(BadRequest):
            workspace.call("GET", "2.2/jobs/runs/list", query=query)
    for method, path in (
        ("GET", "2.0/nothing"),
        ("GET", "2.1/dbfs/list"),
        ("GET", "2.2/jobs/runs/submit"),
    ):
        with pytest.raises(NotFound, match="No API found") as fault:
            workspace.call(method, path)
        assert fault.value.error_code == "ENDPOINT_NOT_FOUND"


def test_what_can_be_chosen_is_listed(workspace: Workspace) -> None:
    clusters = workspace.sdk.clusters
    types = {one.node_type_id: one for one in clusters.list_node_types().node_types}
    assert types["m5d.large"].node_instance_type.local_nvme_disks == 1
    assert types["m6gd.large"].is_graviton
    keys = [one.key for one in clusters.spark_versions().versions]
    assert {"15.4.x-scala2.12", "16.4.x-scala2.13", "17.3.x-scala2.13"} <= set(keys)


def test_fault_rules_know_every_operation(tmp_path) -> None:
    from ascii_hydra.config.schema import RehearsalConfig
    from ascii_hydra.rehearsal.agenda import Agenda
    from ascii_hydra.rehearsal.clock import VirtualClock
    from ascii_hydra.rehearsal.databricks_api import WorkspaceApi
    from ascii_hydra.rehearsal.driver import Sandbox
    from ascii_hydra.rehearsal.faults import Faults
    from ascii_hydra.rehearsal.guard import Guard
    from ascii_hydra.rehearsal.store import Store
    from ascii_hydra.rehearsal.world import World

    clock, store = VirtualClock(1), Store()
    agenda = Agenda(clock)
    sandbox = Sandbox(tmp_path, "http://127.0.0.1:1", store, Guard())
    world = World(RehearsalConfig(), clock, agenda, Faults(), store, sandbox)
    assert WorkspaceApi(world, sandbox.url, print).operations == DATABRICKS_OPERATIONS
    agenda.close()


# --- files


def test_files_of_a_volume(workspace: Workspace) -> None:
    files, path = workspace.sdk.files, f"{VOLUME}/folder/a b.txt"
    content = os.urandom(100_000)
    files.upload(path, io.BytesIO(content))
    with pytest.raises(AlreadyExists):
        files.upload(path, io.BytesIO(b""))
    with pytest.raises(AlreadyExists):
        files.upload(path, io.BytesIO(b""), overwrite=False)
    assert files.download(path).contents.read() == content
    assert files.get_metadata(path).content_length == 100_000
    files.create_directory(f"{VOLUME}/folder/inner/most")
    files.create_directory(f"{VOLUME}/folder/inner/most")
    (file, folder) = files.list_directory_contents(f"{VOLUME}/folder")
    assert (file.path, file.file_size, file.is_directory) == (path, 100_000, False)
    assert (folder.name, folder.is_directory) == ("inner", True)
    files.get_directory_metadata(f"{VOLUME}/folder")
    one = files.list_directory_contents(f"{VOLUME}/folder", page_size=1)
    assert len(list(one)) == 2, "the SDK takes every page"
    with pytest.raises(BadRequest, match="not empty"):
        files.delete_directory(f"{VOLUME}/folder")
    files.delete(path)
    for folder in ("inner/most", "inner", "."):
        files.delete_directory(f"{VOLUME}/folder/{folder}".removesuffix("/."))
    for call in (
        *(files.download, files.get_metadata, files.delete, files.delete_directory),
        *(files.get_directory_metadata, lambda at: list(files.list_directory_contents(at))),
    ):
        with pytest.raises(NotFound):
            call(path)
    for outside in ("/Volumes/a/b", f"{VOLUME}/../../../../x"):
        with pytest.raises(DatabricksError):
            files.upload(outside, io.BytesIO(b""))


def test_files_of_dbfs(workspace: Workspace) -> None:
    dbfs = workspace.sdk.dbfs
    content = os.urandom(2_500_000)
    dbfs.upload("/tests/big", io.BytesIO(content))  # in blocks of 1 MB
    assert dbfs.download("/tests/big").read() == content
    dbfs.put("dbfs:/tests/small", contents=base64.b64encode(b"small").decode())
    assert dbfs.get_status("/tests/small").file_size == 5
    assert [one.path for one in dbfs.list("/tests")] == ["/tests/big", "/tests/small"]
    with pytest.raises(ResourceAlreadyExists):
        dbfs.put("/tests/small", contents="")
    with pytest.raises(BadRequest) as fault:
        dbfs.put("/tests/bigger", contents=base64.b64encode(content).decode())
    assert fault.value.error_code == "MAX_BLOCK_SIZE_EXCEEDED"
    with pytest.raises(DatabricksError, match="not empty"):
        workspace.call("POST", "2.0/dbfs/delete", body={"path": "/tests"})
    dbfs.mkdirs("/tests/folder")
    dbfs.move("/tests/small", "/tests/folder/small")
    dbfs.delete("/tests", recursive=True)
    dbfs.delete("/tests")
    with pytest.raises(ResourceDoesNotExist):
        dbfs.get_status("/tests")
    with pytest.raises(ResourceDoesNotExist):
        dbfs.read("/tests/big")


def test_files_of_the_workspace(workspace: Workspace) -> None:
    files, folder = workspace.sdk.workspace, "/Workspace/Shared/tests"
    with pytest.raises(ResourceDoesNotExist, match="parent folder"):
        files.upload(f"{folder}/a.bin", b"", format=ImportFormat.AUTO)
    files.mkdirs(folder)
    files.upload(f"{folder}/a.bin", b"\0one", format=ImportFormat.AUTO)  # a form
    content = base64.b64encode(b"two").decode()
    files.import_(f"{folder}/b.txt", content=content, format=ImportFormat.RAW)  # JSON
    assert files.download(f"{folder}/a.bin").read() == b"\0one"
    assert base64.b64decode(files.export(f"{folder}/b.txt").content) == b"two"
    assert [one.path for one in files.list("/Shared/tests")] == [
        "/Shared/tests/a.bin",
        "/Shared/tests/b.txt",
    ]
    assert files.get_status(f"{folder}/a.bin").size == 4
    with pytest.raises(ResourceAlreadyExists):
        files.upload(f"{folder}/a.bin", b"", format=ImportFormat.AUTO)
    files.upload(f"{folder}/a.bin", b"new", format=ImportFormat.AUTO, overwrite=True)
    with pytest.raises(DatabricksError) as fault:
        files.upload(f"{folder}/c", b"0" * (10 * 1024**2 + 1), format=ImportFormat.AUTO)
    assert fault.value.error_code == "MAX_NOTEBOOK_SIZE_EXCEEDED"
    with pytest.raises(DatabricksError, match="AUTO or RAW"):
        files.upload(f"{folder}/n.py", b"print(1)")
    with pytest.raises(DatabricksError, match="not empty"):
        files.delete(folder)
    files.delete(folder, recursive=True)
    with pytest.raises(ResourceDoesNotExist):
        files.get_status(folder)
