"""The rules of Databricks that its types do not have. Its words, where they are known.

Limits: the SDK's docstrings of jobs/runs/submit, ClusterSpec and instance-pools/create, and
Databricks' reference of spark_python_task. Messages are ours unless they name a field alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.engines.databricks.cluster_spec import TAG_KEY_LENGTH, TAG_VALUE_LENGTH
from ascii_hydra.rehearsal.databricks_errors import WorkspaceError, invalid
from ascii_hydra.rehearsal.databricks_runtimes import environment_problem, version_problem

_MOST_TOKEN = 64
_MOST_PARAMETER_BYTES = 10_000
_MOST_NAME = 4096
_MOST_POOL_NAME = 100
_MOST_TAGS = 45
_MOST_EBS = 10
_MOST_BID = 10_000
_AUTO_TERMINATION = (10, 10_000)
_FILE = re.compile(r"(/Volumes/[^/]+/[^/]+/[^/]+/|/Workspace/|dbfs:/|s3://[^/]+/).+")
_TAG = re.compile(r"[\w +\-=.:/@]*")
_NEEDLESS = ("node_type_id", "driver_node_type_id")
_OF_POOL = ("availability", "zone_id", "spot_bid_price_percent", "first_on_demand")


def node_types() -> dict[str, InstanceType]:
    """The instance types that Databricks offers, by their names."""
    return {name: one for name, one in instance_types().items() if one.databricks_listed}


def workers(spec: Mapping[str, Any]) -> int:
    """With how many workers a cluster begins."""
    if "autoscale" in spec:
        return int(spec["autoscale"].get("min_workers") or 0)
    return int(spec.get("num_workers") or 0)


def check_submit(
    body: Mapping[str, Any],
    pool: Callable[[str], object],
    cluster: Callable[[str], object],
) -> None:
    """Raises WorkspaceError for the first rule that a run breaks.

    Args:
        body: of jobs/runs/submit.
        pool, cluster: those that are there, by their ids; raise WorkspaceError.
    """
    for problem in _run_problems(body):
        raise invalid(problem)
    (task,) = body["tasks"]
    for problem in _task_problems(task, body):
        raise invalid(problem)
    if "existing_cluster_id" in task:
        cluster(task["existing_cluster_id"])
    if "new_cluster" in task:
        check_cluster(task["new_cluster"], pool, of_job=True)


def check_cluster(spec: Mapping[str, Any], pool: Callable[[str], object], *, of_job: bool) -> None:
    """Raises WorkspaceError for the first rule that a cluster breaks."""
    for problem in _cluster_problems(spec, of_job=of_job):
        raise invalid(problem)
    for key in ("instance_pool_id", "driver_instance_pool_id"):
        if key in spec:
            try:
                pool(spec[key])
            except WorkspaceError as why:
                raise invalid(why.message) from None


def check_pool(body: Mapping[str, Any]) -> None:
    """Raises WorkspaceError for the first rule that a pool breaks."""
    name = body["instance_pool_name"]
    if not 1 <= len(name) <= _MOST_POOL_NAME:
        raise invalid(f"instance_pool_name must have 1 to {_MOST_POOL_NAME} characters")
    for problem in (
        *_type_problems(body["node_type_id"], "node_type_id"),
        *_tag_problems(body.get("custom_tags", {})),
    ):
        raise invalid(problem)
    disk = body.get("disk_spec", {})
    kind = node_types()[body["node_type_id"]]
    if (
        not kind.local_storage_gb
        and not disk.get("disk_count")
        and not body.get("enable_elastic_disk")
    ):
        raise invalid(_no_disk(body["node_type_id"], "disk_spec.disk_count"))
    for version in body.get("preloaded_spark_versions", ()):
        if (wrong := version_problem(version)) is not None:
            raise invalid(wrong)
    least, most = body.get("min_idle_instances", 0), body.get("max_capacity")
    if least < 0 or (most is not None and most < max(least, 1)):
        raise invalid("min_idle_instances must be at least 0, and at most max_capacity")


def _run_problems(body: Mapping[str, Any]) -> Iterator[str]:
    tasks = body.get("tasks") or []
    if len(tasks) != 1:
        yield f"The rehearsal runs exactly one task; there are {len(tasks)}."
    if len(body.get("idempotency_token", "")) > _MOST_TOKEN:
        yield f"idempotency_token must have at most {_MOST_TOKEN} characters"
    if len(body.get("run_name", "").encode()) > _MOST_NAME:
        yield f"run_name must have at most {_MOST_NAME} bytes"
    if body.get("timeout_seconds", 0) < 0:
        yield "timeout_seconds must be at least 0"
    keys = [one["environment_key"] for one in body.get("environments", ())]
    if len(set(keys)) != len(keys):
        yield "environments must have different keys"


def _task_problems(task: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    kinds = [key for key in task if key.endswith("_task")]
    if kinds != ["spark_python_task"]:
        asked = ", ".join(kinds) or "none"
        yield f"The rehearsal runs spark_python_task alone; the task has {asked}."
        return
    if not re.fullmatch(r"[\w-]{1,100}", task["task_key"]):
        yield "task_key must have 1 to 100 characters: letters, digits, - and _"
    compute = [k for k in ("new_cluster", "existing_cluster_id", "job_cluster_key") if k in task]
    serverless = "environment_key" in task
    if "job_cluster_key" in task:
        yield "Shared job clusters are not supported in submit runs: job_cluster_key"
    elif serverless and compute:
        yield f"A task with an environment_key is serverless: {compute[0]} cannot be set"
    elif len(compute) + serverless != 1:
        yield "Exactly one of new_cluster, existing_cluster_id and environment_key must be set"
    if serverless:
        yield from _serverless_problems(task, body)
    yield from _script_problems(task["spark_python_task"], serverless=serverless)
    for one in task.get("libraries", ()):
        if len(one) != 1:
            yield f"A library must have exactly one kind: {json.dumps(one)}"
        elif "egg" in one:
            yield "Libraries of the type egg are not supported by this version of the runtime"
        elif not {"whl", "pypi"} & set(one):
            yield f"The rehearsal installs whl and pypi alone: {json.dumps(one)}"
        elif "whl" in one and not _FILE.fullmatch(one["whl"]):
            yield f"Library path is not valid: {one['whl']}"


def _serverless_problems(task: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    if task.get("libraries"):
        yield (
            "Libraries field is not supported for serverless task, please specify libraries in"
            " environment."
        )
    found = {one["environment_key"]: one for one in body.get("environments", ())}
    chosen = found.get(task["environment_key"])
    if chosen is None:
        yield f"The environment_key {task['environment_key']} is not one of environments"
        return
    spec = chosen.get("spec") or {}
    version = spec.get("environment_version") or spec.get("client")
    if version is None:
        yield f"environments[{task['environment_key']}].spec.environment_version must be set"
    elif (wrong := environment_problem(version)) is not None:
        yield wrong
    for one in spec.get("dependencies", ()):
        if one.startswith(("s3:", "dbfs:")):
            yield f"Dependency {one} is not on a path of /Workspace or /Volumes"


def _script_problems(script: Mapping[str, Any], *, serverless: bool) -> Iterator[str]:
    file = script["python_file"]
    if not _FILE.fullmatch(file):
        yield (
            f"Invalid python file reference: {file}. Python files must be of the scheme dbfs:/ or"
            " s3:/, or absolute paths of /Workspace or /Volumes."
        )
    elif serverless and not file.startswith("/"):
        yield f"On serverless compute, python_file must be of /Workspace or /Volumes: {file}"
    if script.get("source") == "GIT":
        yield "The rehearsal has no source GIT"
    size = len(json.dumps(script.get("parameters", [])).encode())
    if size > _MOST_PARAMETER_BYTES:
        yield (
            f"The parameters have {size} bytes as JSON, which exceeds the limit of"
            f" {_MOST_PARAMETER_BYTES}"
        )


def _cluster_problems(spec: Mapping[str, Any], *, of_job: bool) -> Iterator[str]:
    if "spark_version" not in spec:
        yield "Missing required field: settings.cluster_spec.new_cluster.spark_version"
        return
    if (wrong := version_problem(spec["spark_version"])) is not None:
        yield wrong
    if of_job and spec.get("autotermination_minutes"):
        yield "autotermination_minutes cannot be set for a job cluster"
    low, high = _AUTO_TERMINATION
    minutes = spec.get("autotermination_minutes", 0)
    if minutes and not low <= minutes <= high:
        yield f"autotermination_minutes must be 0, or {low} to {high}"
    yield from _size_problems(spec)
    yield from _tag_problems(spec.get("custom_tags", {}))
    yield from _instance_problems(spec, spec.get("aws_attributes", {}))


def _instance_problems(spec: Mapping[str, Any], aws: Mapping[str, Any]) -> Iterator[str]:
    if "instance_pool_id" in spec:
        for key in _NEEDLESS:
            if key in spec:
                yield f"The field '{key}' cannot be supplied when an instance pool ID is provided."
        for key in _OF_POOL:
            if key in aws:
                yield (
                    f"The field 'aws_attributes.{key}' cannot be supplied when an instance pool ID"
                    " is provided."
                )
        if any(key.startswith("ebs_") for key in aws) or spec.get("enable_elastic_disk"):
            yield "Disks cannot be supplied when an instance pool ID is provided."
    elif "driver_instance_pool_id" in spec:
        yield "driver_instance_pool_id needs an instance_pool_id"
    elif "node_type_id" not in spec:
        yield "Missing required field: settings.cluster_spec.new_cluster.node_type_id"
    else:
        yield from _node_problems(spec, aws)


def _size_problems(spec: Mapping[str, Any]) -> Iterator[str]:
    if "autoscale" in spec and "num_workers" in spec:
        yield "Only one of num_workers and autoscale can be set"
    elif "autoscale" in spec:
        low = spec["autoscale"].get("min_workers", 0)
        high = spec["autoscale"].get("max_workers")
        if high is None or not 0 <= low <= high or high == 0:
            yield "autoscale needs 0 <= min_workers <= max_workers, and max_workers > 0"
    elif "num_workers" not in spec and not spec.get("is_single_node"):
        yield "Missing required field: size: num_workers or autoscale"
    elif spec.get("num_workers", 0) < 0:
        yield "num_workers must be at least 0"
    elif spec.get("num_workers") == 0 and not _is_single_node(spec):
        yield (
            "A cluster without workers needs is_single_node=true with kind=CLASSIC_PREVIEW, or"
            " spark.databricks.cluster.profile=singleNode with spark.master=local[*] and the tag"
            " ResourceClass=SingleNode"
        )
    if spec.get("is_single_node") and spec.get("kind") != "CLASSIC_PREVIEW":
        yield "is_single_node can only be used with kind = CLASSIC_PREVIEW"


def _is_single_node(spec: Mapping[str, Any]) -> bool:
    conf = spec.get("spark_conf", {})
    return bool(spec.get("is_single_node")) or (
        conf.get("spark.databricks.cluster.profile") == "singleNode"
        and conf.get("spark.master", "").startswith("local[")
        and spec.get("custom_tags", {}).get("ResourceClass") == "SingleNode"
    )


def _node_problems(spec: Mapping[str, Any], aws: Mapping[str, Any]) -> Iterator[str]:
    keys = [key for key in _NEEDLESS if key in spec]
    for key in keys:
        yield from _type_problems(spec[key], key)
    kinds = [node_types()[spec[key]] for key in keys if spec[key] in node_types()]
    if len({one.architecture for one in kinds}) > 1:
        yield "The driver's and the workers' node types have different processors"
    volumes = aws.get("ebs_volume_count", 0)
    for one in kinds:
        if not one.local_storage_gb and not volumes:
            yield _no_disk(one.name, "aws_attributes.ebs_volume_count")
    if not 0 <= volumes <= _MOST_EBS:
        yield f"aws_attributes.ebs_volume_count must be 0 to {_MOST_EBS}"
    if volumes and "ebs_volume_type" not in aws:
        yield "aws_attributes.ebs_volume_type must be set with ebs_volume_count"
    if volumes and "ebs_volume_size" not in aws:
        yield "aws_attributes.ebs_volume_size must be set with ebs_volume_count"
    if aws.get("first_on_demand", 0) < 0:
        yield "aws_attributes.first_on_demand must be at least 0"
    if not 1 <= aws.get("spot_bid_price_percent", 100) <= _MOST_BID:
        yield f"aws_attributes.spot_bid_price_percent must be 1 to {_MOST_BID}"


def _type_problems(name: str, key: str) -> Iterator[str]:
    if name not in node_types():
        yield f"Node type {name} is not supported ({key})."


def _no_disk(name: str, key: str) -> str:
    return f"Node type {name} has no local disk: at least one EBS volume must be set ({key})."


def _tag_problems(tags: Mapping[str, str]) -> Iterator[str]:
    if len(tags) > _MOST_TAGS:
        yield f"There are {len(tags)} custom tags; at most {_MOST_TAGS} are allowed"
    for key, value in tags.items():
        if not 1 <= len(key) <= TAG_KEY_LENGTH or len(value) > TAG_VALUE_LENGTH:
            yield (
                f"The tag {key!r} has a key of over {TAG_KEY_LENGTH} or a value of over"
                f" {TAG_VALUE_LENGTH} characters"
            )
        if key.lower().startswith("aws:") or not (_TAG.fullmatch(key) and _TAG.fullmatch(value)):
            yield f"The tag {key}={value} has characters that AWS does not allow"
