"""From a step's run to everything that EMR is asked for. Pure: no network, no credentials; read
are files of this machine alone."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ascii_hydra.aws.place import place_of
from ascii_hydra.catalogue import InstanceType, instance_types
from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.choices import Endpoint, ReuseCluster
from ascii_hydra.config.cluster_schema import EmrCluster
from ascii_hydra.config.engine_schema import EmrEngine
from ascii_hydra.config.problems import ConfigError, Problem
from ascii_hydra.engines.costing import costing_of
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.emr.instances import (
    architecture_of,
    rendered_instances,
    scaling_policy,
    worker_types,
)
from ascii_hydra.engines.emr.job_config import (
    job_config_problems,
    merged,
    merged_configurations,
)
from ascii_hydra.engines.emr.lifetime import LIFETIME_ACTION, LIFETIME_NAME, MAX_LIFETIME
from ascii_hydra.engines.emr.sizing import sizing
from ascii_hydra.engines.emr.submit_words import argument_problems, submit_words
from ascii_hydra.engines.libraries import archive_upload, step_libraries
from ascii_hydra.engines.payload import (
    RUNTIME_NAME,
    Upload,
    content_upload,
    file_upload,
    safe_name,
    step_runtime,
)
from ascii_hydra.engines.step_run import StepRun

if TYPE_CHECKING:
    from ascii_hydra.catalogue.live import LiveCatalogue

# The tag without which the policy of the newer EMR_DefaultRole_V2 lets EMR start nothing (AWS,
# "Service role for Amazon EMR").
_POLICY_TAG = {"for-use-with-amazon-emr-managed-policies": "true"}
# EMR takes names of 256 characters; the rest is for what a placeholder becomes.
_NAME_LENGTH, _RESERVED_LENGTH = 256, 48
_TAG_LENGTH = 256
_UNTAGGABLE = re.compile(r"[^\w .:/=+\-@]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Payload:
    """What is uploaded for a step, by what it is for."""

    script: Upload
    python: tuple[Upload, ...]
    libraries: Upload | None
    lifetime: Upload

    def uploads(self, *, cluster: bool) -> tuple[Upload, ...]:
        """All; `cluster`: with what a new cluster needs."""
        kept = [self.script, *self.python]
        kept += [self.libraries] if self.libraries is not None else []
        kept += [self.lifetime] if cluster else []
        return tuple(kept)


def emr_request(run: StepRun, live: LiveCatalogue | None = None) -> EmrRequest:
    """What is asked of EMR for a run of a step.

    Args:
        run: the step's run, with an EMR engine and cluster.
        live: by which `cluster.filters` choose types; what is known here if None.

    Raises:
        ConfigError: with everything for which there is no request.
    """
    settings = run.settings
    engine, cluster = settings.engine, settings.cluster
    assert isinstance(engine, EmrEngine)
    assert isinstance(cluster, EmrCluster)
    known = instance_types(engine.region) if live is None else live.instances
    problems = [*_job_config_problems(run), *argument_problems(run)]
    workers: tuple[str, ...] = ()
    payload: Payload | None = None
    try:
        prices = live.prices if live else price_list(settings.prices, engine.region)
        workers = worker_types(cluster, engine.release_label, known, prices)
    except ConfigError as fault:
        problems += fault.problems
    try:
        payload = _payload(run, engine, workers, known)
    except ConfigError as fault:
        problems += fault.problems
    if problems or payload is None:
        raise ConfigError(problems)
    shared = engine.cluster_id is None and settings.launch.reuse_cluster is ReuseCluster.run
    own = engine.cluster_id is None and not shared
    step = _step_config(run, engine, payload, own=own)
    flow: dict[str, Any] | None = None
    if engine.cluster_id is None:
        flow = _run_job_flow(run, engine, cluster, workers, known, payload, shared=shared)
        flow = merged(flow, settings.config.emr_job_config)
        if _is_well_formed(flow, settings.config.emr_job_config):
            ours = sizing(flow, engine.spark_conf, known).configurations
            flow["Configurations"] = merged_configurations(ours, flow["Configurations"] or ())
        flow["Steps"] = [step] if own else []
    root = engine.staging_root.rstrip("/")
    return EmrRequest(
        step=settings.name,
        output=run.output,
        # S3 is reached through EMR's region too: a bucket elsewhere is found by redirection.
        place=replace(place_of(settings), region=engine.region),
        release_label=engine.release_label,
        cluster_id=engine.cluster_id,
        shared=shared,
        run_job_flow=flow,
        step_config=step,
        uploads=payload.uploads(cluster=flow is not None),
        messages_uri=f"{root}/pipes/<run>/<token>",
        timeout_s=engine.timeout_minutes * 60,
        start_timeout_s=engine.start_timeout_minutes * 60,
        poll_s=engine.poll_seconds,
        log_wait_s=engine.log_wait_seconds,
        costing=costing_of(settings, engine.region),
        writes_output=settings.config.writes_output,
    )


def _job_config_problems(run: StepRun) -> list[Problem]:
    theirs = run.settings.config.emr_job_config
    if not theirs:
        return []
    from ascii_hydra.aws.model import model_problems, service_model

    shape = service_model("emr").operation_model("RunJobFlow").input_shape
    assert shape is not None
    where = f"pipeline.steps.{run.settings.name}.emr_job_config"
    found = list(job_config_problems(where, theirs, list(shape.members)))
    if not found:  # what has no shape cannot be merged; all else is told of the whole
        told = (one.partition(": ") for one in model_problems("emr", "RunJobFlow", theirs))
        shapeless = ("is not a list", "is not a mapping")
        found = [
            Problem(f"{where}.{at}", f"{what}.") for at, _, what in told if what.endswith(shapeless)
        ]
    return found


def _is_well_formed(flow: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """The arguments are of the shape that AWS's model says. Ours are; what is wrong with a user's
    is told of the request."""
    if not {"Instances", "Configurations", "ManagedScalingPolicy"} & set(theirs):
        return True
    from ascii_hydra.aws.model import model_problems

    return not any(model_problems("emr", "RunJobFlow", flow))


# --- the payload --------------------------------------------------------------------------------


def _payload(
    run: StepRun,
    engine: EmrEngine,
    workers: tuple[str, ...],
    known: Mapping[str, InstanceType],
) -> Payload:
    settings, root = run.settings, engine.staging_root
    problems = [
        Problem(
            f"pipeline.steps.{settings.name}.py_files",
            f"{path.name}: a Python module's name has letters without accents, digits and _ alone.",
        )
        for path in settings.py_files
        if safe_name(path.name) != path.name
    ]
    libraries: Upload | None = None
    try:
        # A rehearsal runs on this machine, with this Python.
        rehearsal = settings.endpoint.name is Endpoint.rehearsal
        architecture = None if rehearsal else architecture_of(workers, known)
        wanted = step_libraries(settings, engine.python_version, architecture)
        libraries = None if wanted is None else archive_upload(root, wanted)
    except ConfigError as fault:
        problems += fault.problems
    made: list[Upload] = []
    for path in (settings.script, *settings.py_files):
        try:
            made.append(file_upload(root, path))
        except OSError as fault:
            problem = f"{path} cannot be read: {fault.strerror}."
            problems.append(Problem(f"pipeline.steps.{settings.name}", problem))
    if problems:
        raise ConfigError(problems)
    return Payload(
        script=made[0],
        python=(content_upload(root, RUNTIME_NAME, step_runtime()), *made[1:]),
        libraries=libraries,
        lifetime=content_upload(root, LIFETIME_NAME, MAX_LIFETIME.encode()),
    )


# --- the step -----------------------------------------------------------------------------------


def _step_config(run: StepRun, engine: EmrEngine, payload: Payload, *, own: bool) -> dict[str, Any]:
    settings = run.settings
    partition = f" {run.partition_key}" if run.partition_key is not None else ""
    name = _cut(f"{settings.pipeline}/{settings.name}{partition}", _NAME_LENGTH - _RESERVED_LENGTH)
    words = submit_words(
        run,
        engine,
        payload.script.uri,
        [one.uri for one in payload.python],
        None if payload.libraries is None else payload.libraries.uri,
    )
    return {
        # A retry takes a step over only if it was made from the same configuration.
        "Name": " ".join(filter(None, (name, "<token>", run.digest))),
        "ActionOnFailure": "TERMINATE_CLUSTER" if own else "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": words},
    }


# --- the cluster --------------------------------------------------------------------------------


def _run_job_flow(
    run: StepRun,
    engine: EmrEngine,
    cluster: EmrCluster,
    workers: tuple[str, ...],
    known: Mapping[str, InstanceType],
    payload: Payload,
    *,
    shared: bool,
) -> dict[str, Any]:
    settings = run.settings
    named, token = (
        (settings.pipeline, "<launch>")
        if shared
        else (f"{settings.pipeline}/{settings.name}", "<token>")
    )
    spark_8 = engine.release_label.startswith("emr-spark-")
    lifetime_s = str(int(engine.max_lifetime_minutes * 60))
    flow: dict[str, Any] = {
        "Name": f"{_cut(f'ascii_hydra {named}', _NAME_LENGTH - _RESERVED_LENGTH)} {token}",
        "ReleaseLabel": engine.release_label,
        # The Spark line of EMR has few applications; Hadoop is none of them there.
        "Applications": [{"Name": one} for one in (["Spark"] if spark_8 else ["Hadoop", "Spark"])],
        "LogUri": f"{engine.staging_root.rstrip('/')}/logs/",
        "ServiceRole": engine.service_role,
        "JobFlowRole": engine.job_flow_role,
        "Instances": rendered_instances(engine, cluster, workers, known, kept_alive=shared),
        "StepConcurrencyLevel": engine.step_concurrency if shared else 1,
        "EbsRootVolumeSize": cluster.ebs.root_size_gib,
        "VisibleToAllUsers": True,
    }
    if engine.security_configuration is not None:
        flow["SecurityConfiguration"] = engine.security_configuration
    if (policy := scaling_policy(cluster)) is not None:
        flow["ManagedScalingPolicy"] = policy
    if shared:
        idle_s = int(engine.idle_timeout_minutes * 60)
        flow["AutoTerminationPolicy"] = {"IdleTimeout": idle_s}
    flow["BootstrapActions"] = [
        _bootstrap(LIFETIME_ACTION, payload.lifetime.uri, [lifetime_s]),
        *(
            _bootstrap(one.name, one.script, list(one.arguments))
            for one in engine.bootstrap_actions
        ),
    ]
    flow["Configurations"] = _configurations(engine)
    flow["Tags"] = _tags(run, engine, shared=shared)
    return flow


def _bootstrap(name: str, script: str, arguments: list[str]) -> dict[str, Any]:
    return {"Name": name, "ScriptBootstrapAction": {"Path": script, "Args": arguments}}


def _configurations(engine: EmrEngine) -> list[dict[str, Any]]:
    ours: list[dict[str, Any]] = []
    if engine.maximize_resource_allocation:
        properties = {"maximizeResourceAllocation": "true"}
        ours.append({"Classification": "spark", "Properties": properties})
    if engine.node_labels:
        # Off by default since EMR 6.0 (AWS, "Configure YARN node labels"). Not exclusive: executors
        # run on core nodes too.
        labels = {
            "yarn.node-labels.enabled": "true",
            "yarn.node-labels.am.default-node-label-expression": "CORE",
        }
        ours.append({"Classification": "yarn-site", "Properties": labels})
        label = {"spark.yarn.am.nodeLabelExpression": "CORE"}
        ours.append({"Classification": "spark-defaults", "Properties": label})
    theirs = [
        {"Classification": one.classification, "Properties": dict(one.properties)}
        for one in engine.configurations
    ]
    return merged_configurations(ours, theirs)


def _tags(run: StepRun, engine: EmrEngine, *, shared: bool) -> list[dict[str, str]]:
    settings = run.settings
    own = {} if shared else {"ascii_hydra/step": settings.name, "ascii_hydra/run": "<run>"}
    own |= {} if shared else {"ascii_hydra/token": "<token>"}
    tags = {
        "project": "ascii_hydra",
        "ascii_hydra/pipeline": settings.pipeline,
        **own,
        "ascii_hydra/launch": "<launch>",
        "ascii_hydra/config": run.digest,
        "ascii_hydra/owner": settings.launch.owner or _user(),
        "ascii_hydra/deadline": "<deadline>",
        **_POLICY_TAG,
    }
    kept = {
        key: value if value.startswith("<") else _UNTAGGABLE.sub("_", value)[:_TAG_LENGTH]
        for key, value in tags.items()
    }
    return [{"Key": key, "Value": value} for key, value in {**kept, **engine.tags}.items()]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _cut(text: str, length: int) -> str:
    plain = _UNPRINTABLE.sub("_", text)
    return plain if len(plain) <= length else f"{plain[: length - 3]}..."
