"""What Databricks would refuse, or do otherwise than was meant: found before it is asked.

Limits are those of Databricks' documentation of the Jobs API and of the SDK's docstrings, read
2026-11-20.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ascii_hydra.config.cluster_schema import DatabricksCluster
from ascii_hydra.config.engine_schema import DatabricksEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.databricks.cluster_config import OUR_TAGS
from ascii_hydra.engines.databricks.cluster_problems import cluster_problems, named_type_problems
from ascii_hydra.engines.databricks.cluster_spec import (
    TAG_KEY_LENGTH,
    TAG_VALUE_LENGTH,
    shares_pools,
)
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.databricks.rendered import databricks_request, has_own_cluster
from ascii_hydra.engines.databricks.runtimes import (
    environment_notice,
    environment_problem,
    runtime_notice,
    runtime_problem,
)
from ascii_hydra.engines.databricks.staging import Staging, staging_of, staging_problem
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.step_run import StepRun

# The parameters of a task as JSON. Pipes' bootstrap is added at a launch: two arguments that name a
# folder, compressed.
PARAMETER_BYTES, PIPES_BYTES = 10_000, 1_024
# What the workspace's own files may have, by its API.
WORKSPACE_FILE_BYTES = 10 * 1024 * 1024
MOST_TAGS = 45
_TAGGABLE = re.compile(r"[\w .:/=+\-@]*")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_CLUSTER_ID = re.compile(r"\d{4}-\d{6}-[a-z0-9]{6,}")
_POLICY_ID = re.compile(r"[A-Za-z0-9-]+")
_INSTANCE_PROFILE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+")


def databricks_problems(run: StepRun) -> Iterator[Problem]:
    """Everything wrong with a step on Databricks, by its full configuration key. Asks nobody."""
    engine, cluster = run.settings.engine, run.settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    found = [*_engine_problems(engine), *_tag_problems("engine.tags", engine.tags)]
    if has_own_cluster(engine):
        found += cluster_problems(run.settings)
    found += _argument_problems(run)
    try:
        asked = databricks_request(run)
    except ConfigError as fault:
        found += fault.problems
    else:
        found += _request_problems(run, engine, asked)
    yield from dict.fromkeys(found)


def databricks_notices(run: StepRun) -> Iterator[str]:
    """What a user should know of a step on Databricks though nothing is wrong."""
    settings = run.settings
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, DatabricksEngine)
    assert isinstance(cluster, DatabricksCluster)
    if engine.serverless:
        notice = environment_notice(engine.environment_version)
    else:
        notice = runtime_notice(engine.spark_version)
    if notice is not None:
        yield notice
    if not has_own_cluster(engine):
        yield from _foreign_notices(run, engine)
    elif cluster.pool_id is not None:
        yield (
            f"cluster.pool_id={cluster.pool_id}: its instance types count, not cluster's; whether"
            f" they keep the promise of cluster={cluster.size} is not known."
        )
    elif shares_pools(settings) and cluster.spot_share:
        yield (
            f"cluster.spot_share={cluster.spot_share:g} with launch.reuse_cluster=run: the pool is"
            " asked for spot alone, so a step may wait for spot, or fail without it, where a"
            " cluster of its own would fall back to on demand."
        )
    if settings.mode.region not in (None, engine.region):
        yield (
            f"mode.region={settings.mode.region} is not engine.region={engine.region}: reading"
            " across regions is slower and is billed."
        )


def _foreign_notices(run: StepRun, engine: DatabricksEngine) -> Iterator[str]:
    """Of compute that is not made for the step."""
    if engine.serverless:
        what, where = "engine.serverless=true", "on serverless compute"
        yield f"{what}: the step gets what it needs, and cluster has no effect."
    else:
        what, where = f"engine.cluster_id={engine.cluster_id}", "on an existing cluster"
        yield (
            f"{what}: its own specification counts, not cluster; its runtime is taken to be"
            f" engine.spark_version={engine.spark_version}."
        )
    if run.settings.config.databricks_cluster_config:
        at = f"pipeline.steps.{run.settings.name}.databricks_cluster_config"
        yield f"{at} has no effect {where}."
    if engine.spark_conf:
        yield (
            f"engine.spark_conf is set in the step's session {where}, where settings that are"
            " fixed from its start have no effect."
        )
    if engine.tags and engine.serverless:
        yield f"engine.tags have no effect {where}; usage is told apart by engine.budget_policy_id."
    for key in ("instance_profile", "policy_id", "init_scripts"):
        if getattr(engine, key):
            yield f"engine.{key} has no effect {where}."


# --- the configuration --------------------------------------------------------------------------


def _engine_problems(engine: DatabricksEngine) -> Iterator[Problem]:
    if not engine.region:
        yield Problem("engine.region", "is required: that of the workspace, us-east-1, ...")
    elif not _REGION.fullmatch(engine.region):
        yield Problem(f"engine.region={engine.region}", "is no region; write us-east-1, ...")
    problem = (
        environment_problem(engine.environment_version)
        if engine.serverless
        else runtime_problem(engine.spark_version)
    )
    if problem is not None:
        yield problem
    yield from _staging_problems(engine)
    if engine.cluster_id is not None:
        if engine.serverless:
            yield Problem(
                "engine.serverless", "and engine.cluster_id exclude each other; set one to null."
            )
        if not _CLUSTER_ID.fullmatch(engine.cluster_id):
            yield Problem(
                f"engine.cluster_id={engine.cluster_id}",
                "write 0123-456789-abcdefgh, as Databricks shows it.",
            )
    profile = engine.instance_profile
    if profile is not None and not _INSTANCE_PROFILE.fullmatch(profile):
        yield Problem(
            f"engine.instance_profile={profile}",
            "write arn:aws:iam::<account>:instance-profile/<name>.",
        )
    for key in ("policy_id", "budget_policy_id"):
        value = getattr(engine, key)
        if value is not None and not _POLICY_ID.fullmatch(value):
            yield Problem(f"engine.{key}={value}", "write the id as Databricks shows it.")
    if engine.budget_policy_id is not None and not engine.serverless:
        yield Problem(
            "engine.budget_policy_id",
            "is for serverless compute (engine.serverless=true); clusters have engine.policy_id and"
            " engine.tags.",
        )
    for number, script in enumerate(engine.init_scripts):
        if staging_of(script) in (None, Staging.dbfs):
            yield Problem(
                f"engine.init_scripts[{number}]={script}",
                "write /Volumes/..., /Workspace/... or s3://...: Databricks runs none from DBFS.",
            )


def _staging_problems(engine: DatabricksEngine) -> Iterator[Problem]:
    problem = staging_problem(engine.staging_root)
    if problem is not None:
        yield problem
    elif engine.serverless and staging_of(engine.staging_root) in (Staging.s3, Staging.dbfs):
        yield Problem(
            f"engine.staging_root={engine.staging_root}",
            "is out of reach of serverless compute: name a folder of a volume (/Volumes/...) or of"
            " the workspace (/Workspace/...).",
        )


def _tag_problems(where: str, tags: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in tags.items():
        at = f"{where}.{key}"
        if key.startswith(OUR_TAGS):
            yield Problem(at, "is a tag of ascii_hydra's own.")
        if key.lower().startswith("aws:"):
            yield Problem(at, "tags that begin with aws: are AWS's own.")
        if key == "Name":
            yield Problem(at, "is Databricks' own: without it, a cluster is not ended.")
        if not key or len(key) > TAG_KEY_LENGTH or len(str(value)) > TAG_VALUE_LENGTH:
            key_has = f"a tag's key has 1 to {TAG_KEY_LENGTH} characters"
            yield Problem(at, f"{key_has} and its value {TAG_VALUE_LENGTH} at most.")
        if not _TAGGABLE.fullmatch(key) or not _TAGGABLE.fullmatch(str(value)):
            yield Problem(at, "tags have letters, digits, spaces and .:/=+-@_ alone.")


def _argument_problems(run: StepRun) -> Iterator[Problem]:
    """Arguments that Databricks would replace. JSON parameters never are: see StepRun.arguments."""
    engine = run.settings.engine
    assert isinstance(engine, DatabricksEngine)
    words = list(run.arguments())
    if not has_own_cluster(engine):  # a cluster's own settings may name secrets so
        words += [f"{key}={value}" for key, value in engine.spark_conf.items()]
    for word in words:
        if "{{" in word:
            yield Problem(
                f"pipeline.steps.{run.settings.name}",
                f"{word} holds {{{{, which Databricks reads as the name of a value: write it"
                " without.",
            )


# --- the request --------------------------------------------------------------------------------


def _request_problems(
    run: StepRun, engine: DatabricksEngine, asked: DatabricksRequest
) -> Iterator[Problem]:
    from ascii_hydra.databricks.model import model_problems

    at = f"pipeline.steps.{run.settings.name}"
    size = len(json.dumps(asked.task["spark_python_task"]["parameters"]).encode())
    if size > PARAMETER_BYTES - PIPES_BYTES:
        yield Problem(
            at,
            f"its arguments have {size:,} bytes as JSON; Databricks takes {PARAMETER_BYTES:,}, of"
            f" which {PIPES_BYTES:,} are kept for Dagster Pipes. Put large parameters into a file"
            " that the script reads.",
        )
    yield from _upload_problems(at, engine, asked.uploads)
    theirs = run.settings.config.databricks_cluster_config
    inside = "tasks[0].new_cluster."
    for line in model_problems("jobs.JobsAPI.submit", asked.submit):
        field, _, what = line.removeprefix(inside).partition(": ")
        of_theirs = line.startswith(inside) and re.split(r"[.\[]", field)[0] in theirs
        where = f"{at}.databricks_cluster_config.{field}" if of_theirs else "engine=databricks"
        yield Problem(where, f"{what}." if of_theirs else f"{line}.")
    for pool in asked.pools.values():
        for line in model_problems("compute.InstancePoolsAPI.create", pool):
            yield Problem("engine=databricks", f"{line}.")
    cluster = asked.task.get("new_cluster")
    if cluster is not None:
        yield from _new_cluster_problems(f"{at}.databricks_cluster_config", engine, cluster, theirs)


def _upload_problems(
    at: str, engine: DatabricksEngine, uploads: Sequence[Upload]
) -> Iterator[Problem]:
    if staging_of(engine.staging_root) is not Staging.workspace:
        return
    for one in uploads:
        size = one.path.stat().st_size if one.path is not None else len(one.content or b"")
        if size > WORKSPACE_FILE_BYTES:
            yield Problem(
                at,
                f"{one.uri.rpartition('/')[2]} has {size:,} bytes; a file of the workspace has"
                f" {WORKSPACE_FILE_BYTES:,} at most. Name a volume in engine.staging_root.",
            )


def _new_cluster_problems(
    where: str, engine: DatabricksEngine, cluster: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterator[Problem]:
    tags = cluster.get("custom_tags")
    if isinstance(tags, Mapping) and len(tags) > MOST_TAGS:
        key = f"{where}.custom_tags" if "custom_tags" in theirs else "engine.tags"
        yield Problem(key, f"{len(tags)} tags; Databricks takes {MOST_TAGS}, ours among them.")
    if isinstance(theirs.get("custom_tags"), Mapping):
        others = {key: one for key, one in theirs["custom_tags"].items() if one is not None}
        yield from _tag_problems(f"{where}.custom_tags", others)
    for key in ("node_type_id", "driver_node_type_id"):
        if key in theirs:
            yield from named_type_problems(f"{where}.{key}", theirs[key], engine)
    if "num_workers" in cluster and "autoscale" in cluster:
        yield Problem(where, "num_workers and autoscale exclude each other; name one.")
    pooled = "instance_pool_id" in cluster
    for key in ("node_type_id", "driver_node_type_id", "enable_elastic_disk"):
        if pooled and key in cluster:
            yield Problem(
                f"{where}.{key}",
                "is not for a cluster whose instances come from a pool: it is the pool's.",
            )
