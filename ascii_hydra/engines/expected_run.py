"""How long a run of a step is expected to start up and to execute: what the configuration says of
it, and which of the runs before it are like it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.problems import UnknownEngineError
from ascii_hydra.costs.estimate import Expected
from ascii_hydra.costs.expected import Assumed, Wanted, expected
from ascii_hydra.costs.ledger import Sample
from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.step_run import StepRun
from ascii_hydra.step.choices import Engine

_CLOUDS = (Engine.emr, Engine.databricks)
_MINUTE_S = 60.0
_NO_STARTUP = Assumed(0.0, "", fixed=True)
# "provisioning", Spark alone: AWS's aws-emr-advisor (github.com/aws-samples/aws-emr-advisor).
_EMR_STARTUP = Assumed(210.0, "assumed, as AWS's aws-emr-advisor does")
# "This process usually takes 4-5 minutes" (Databricks' technical blog, "Optimizing Databricks
# cluster startup").
_DATABRICKS_STARTUP = Assumed(270.0, 'assumed: "4-5 minutes", as Databricks\' technical blog says')


def expected_run(
    run: StepRun,
    asked: EmrRequest | DatabricksRequest | None,
    history: Iterable[Sample],
    *,
    vcpus: float,
    photon: bool = False,
) -> Expected:
    """How long a run is expected to take. On a cluster that steps share it has no start-up.

    Args:
        run: the step's run.
        asked: what is asked of a cloud; None on this machine.
        history: earlier runs of any steps.
        vcpus: of all executors; 0 if not known.
        photon: Databricks' Photon executes it.
    """
    startup = _NO_STARTUP
    if asked is not None and shared_flow(asked) is None:
        startup = _startup(run, asked)
    told = _told(run, in_a_cloud=asked is not None)
    return expected(history, _wanted(run, vcpus, photon=photon), startup, told)


def expected_startup(
    run: StepRun, asked: EmrRequest | DatabricksRequest, history: Iterable[Sample]
) -> Expected:
    """How long the cluster that is asked for is expected to start up, whomever it serves; nothing
    is said of the execution."""
    return expected(history, _wanted(run, 0.0, photon=False), _startup(run, asked))


def shared_flow(asked: EmrRequest | DatabricksRequest) -> Mapping[str, Any] | None:
    """The cluster that is one for all steps of the launch, or None. (Databricks' pools are no
    clusters: every step starts one of its own.)"""
    if isinstance(asked, EmrRequest):
        return asked.run_job_flow if asked.shared else None
    if isinstance(asked, DatabricksRequest):
        return None
    raise UnknownEngineError(asked, "shared cluster", _CLOUDS)


def _wanted(run: StepRun, vcpus: float, *, photon: bool) -> Wanted:
    settings = run.settings
    return Wanted(
        endpoint=settings.endpoint.name.value,
        pipeline=settings.pipeline,
        step=settings.name,
        mode=settings.mode.name.value,
        engine=settings.engine.name.value,
        cluster=settings.cluster.size.value,
        vcpus=vcpus,
        photon=photon,
    )


def _told(run: StepRun, *, in_a_cloud: bool) -> Assumed | None:
    settings = run.settings
    rehearsed = settings.rehearsal.step_minutes
    if in_a_cloud and settings.endpoint.name is Endpoint.rehearsal and rehearsed is not None:
        return Assumed(rehearsed * _MINUTE_S, "rehearsal.step_minutes")
    minutes = settings.config.expected_minutes
    if minutes is None:
        return None
    return Assumed(minutes * _MINUTE_S, f"pipeline.steps.{settings.name}.expected_minutes")


def _startup(run: StepRun, asked: EmrRequest | DatabricksRequest) -> Assumed:
    rehearsal = run.settings.endpoint.name is Endpoint.rehearsal
    config = run.settings.rehearsal
    if isinstance(asked, EmrRequest):
        if asked.run_job_flow is None:
            return _NO_STARTUP
        if not rehearsal:
            return _EMR_STARTUP
        waited, each = "provisioning_seconds", len(asked.run_job_flow.get("BootstrapActions", ()))
    elif isinstance(asked, DatabricksRequest):
        cluster: Mapping[str, Any] | None = asked.task.get("new_cluster")
        if cluster is None:
            return _NO_STARTUP
        if not rehearsal:
            return _DATABRICKS_STARTUP
        pooled = "instance_pool_id" in cluster and not asked.pools
        waited = "pool_seconds" if pooled else "provisioning_seconds"
        # The step's wheel is installed on the cluster, after its init scripts.
        each = len(cluster.get("init_scripts", ())) + 1
    else:
        raise UnknownEngineError(asked, "start-up to be expected", _CLOUDS)
    seconds = getattr(config, waited) + config.bootstrap_seconds * each
    return Assumed(seconds, f"rehearsal.{waited} and bootstrap_seconds", fixed=True)
