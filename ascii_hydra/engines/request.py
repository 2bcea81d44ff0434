"""`request()`, the first verb of every engine: from a step's run to what would be submitted.

Pure: it starts nothing, reads no credentials and imports neither Dagster nor Spark, so that
`action=plan` prints the very value that a launch submits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ascii_hydra.config.choices import CatalogueSource
from ascii_hydra.config.cluster_schema import DatabricksCluster, EmrCluster, PySparkCluster
from ascii_hydra.config.engine_schema import (
    DatabricksEngine,
    EmrEngine,
    EngineConfig,
    PySparkEngine,
)
from ascii_hydra.config.problems import Problem, UnknownEngineError
from ascii_hydra.config.settle import Settings
from ascii_hydra.engines.costing import costing_of
from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.planned import capacity, describe
from ascii_hydra.engines.promise import promise_lack
from ascii_hydra.engines.s3_spark import local_s3_conf, s3_place
from ascii_hydra.engines.step_run import StepRun, planned_run
from ascii_hydra.step.choices import Engine, ExecutionMode

if TYPE_CHECKING:
    from ascii_hydra.catalogue.live import LiveCatalogue
    from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
    from ascii_hydra.engines.emr.emr_request import EmrRequest


def request(run: StepRun, *, live: bool = False) -> LocalRequest | EmrRequest | DatabricksRequest:
    """What would be submitted for this run.

    Args:
        run: the step's run.
        live: where `cluster.filters.source=live`, AWS is asked for instance types and prices; the
            one thing here that is not pure.

    Raises:
        ConfigError: with everything for which there is no request.
        UnknownEngineError: its engine is another one.
    """
    engine, cluster = run.settings.engine, run.settings.cluster
    if isinstance(engine, PySparkEngine) and isinstance(cluster, PySparkCluster):
        return _local(run, engine, cluster)
    if isinstance(engine, EmrEngine) and isinstance(cluster, EmrCluster):
        from ascii_hydra.engines.emr.rendered import emr_request

        return emr_request(run, _live_catalogue(run, engine, cluster) if live else None)
    if isinstance(engine, DatabricksEngine) and isinstance(cluster, DatabricksCluster):
        from ascii_hydra.engines.databricks.rendered import databricks_request

        return databricks_request(run)
    raise UnknownEngineError(engine.name, "request", Engine)


def _live_catalogue(run: StepRun, engine: EmrEngine, cluster: EmrCluster) -> LiveCatalogue | None:
    if cluster.filters.source is not CatalogueSource.live:
        return None
    from ascii_hydra.aws.place import place_of
    from ascii_hydra.catalogue.live import live_catalogue

    place = replace(place_of(run.settings), region=engine.region)
    return live_catalogue(place, engine.release_label, run.settings.prices)


def run_problems(run: StepRun) -> list[Problem]:
    """Everything for which this run of a step would be refused, found without asking anybody.

    Raises:
        UnknownEngineError: its engine is another one.
    """
    if isinstance(run.settings.engine, EmrEngine):
        from ascii_hydra.engines.emr.emr_problems import emr_problems

        return list(emr_problems(run))
    if isinstance(run.settings.engine, DatabricksEngine):
        from ascii_hydra.engines.databricks.databricks_problems import databricks_problems

        return list(databricks_problems(run))
    if isinstance(run.settings.engine, PySparkEngine):
        return []
    raise UnknownEngineError(run.settings.engine.name, "check", Engine)


def request_problems(settings: Settings) -> Iterator[Problem]:
    """Everything for which a step of a run would be refused. What is of the run's own engine and
    cluster is said once; what is of a step's, with the step's name."""
    found: dict[Problem, None] = {}
    run = (settings.config.engine, settings.config.cluster)
    for name, step in settings.steps.items():
        at = "" if (step.engine, step.cluster) == run else f"pipeline.steps.{name}: "
        for one in run_problems(planned_run(settings, step)):
            found[
                one if one.where.startswith("pipeline.") else Problem(at + one.where, one.what)
            ] = None
    yield from found


def request_notices(settings: Settings) -> Iterator[str]:
    """What a user should know of what would be submitted, though nothing is wrong.

    Raises:
        ConfigError: for a step there is no request: look for `request_problems` first.
    """
    found: dict[str, None] = {}
    alike: dict[str, list[str]] = {}
    for step in settings.steps.values():
        run = planned_run(settings, step)
        if isinstance(step.engine, EmrEngine):
            from ascii_hydra.engines.emr.emr_problems import emr_notices

            found |= dict.fromkeys(emr_notices(run))
        elif isinstance(step.engine, DatabricksEngine):
            from ascii_hydra.engines.databricks.databricks_problems import databricks_notices

            found |= dict.fromkeys(databricks_notices(run))
        elif not isinstance(step.engine, PySparkEngine):
            raise UnknownEngineError(step.engine.name, "notice", Engine)
        for one in _capacity_notices(run):
            alike.setdefault(one, []).append(step.name)
    yield from found
    yield from (f"{', '.join(names)}: {one}" for one, names in alike.items())


def keeps_promise(settings: Settings) -> bool:
    """Whether the request of every step keeps what its size promises. What is not known of a
    request counts as the configuration says.

    Raises:
        ConfigError: for a step there is no request.
    """
    return all(
        step.cluster.keeps_promise and _lack(planned_run(settings, step)) is None
        for step in settings.steps.values()
    )


def _lack(run: StepRun) -> str | None:
    """What the workers of a run's request lack of the size's promise."""
    has = capacity(request(run))
    return None if has is None else promise_lack(has, run.settings.cluster.promise)


def _capacity_notices(run: StepRun) -> Iterator[str]:
    """Where a request is less than the configuration says, without the step's name."""
    cluster, asked = run.settings.cluster, request(run)
    has = capacity(asked)
    if has is None:
        return
    if has.executor_vcpus < has.vcpus:
        yield (
            f"Spark's executors get {has.executor_vcpus:g} of the {has.vcpus:g} vCPUs of the"
            f" workers{_reason(run.settings.engine)}."
        )
    lack = promise_lack(has, cluster.promise)
    if lack is not None and cluster.keeps_promise:
        yield (
            f"what is asked for ({describe(asked)}) does not keep the promise of"
            f" cluster={cluster.size} ({lack}): comparisons tell it as not equal."
        )


def _reason(engine: EngineConfig) -> str:
    if isinstance(engine, EmrEngine) and engine.maximize_resource_allocation:
        return ", because engine.maximize_resource_allocation=true gives the driver a whole worker"
    if isinstance(engine, EmrEngine) and engine.step_concurrency > 1:
        return f", because engine.step_concurrency={engine.step_concurrency} divides every worker"
    return ", because of Spark's settings or of workers that are not alike"


def _local(run: StepRun, engine: PySparkEngine, cluster: PySparkCluster) -> LocalRequest:
    settings = run.settings
    memory_mib = int(cluster.driver_memory_gib * 1024)
    conf = local_conf(engine.master or f"local[{cluster.cores}]", cores=cluster.cores)
    if engine.master is not None and engine.master.startswith("spark://"):
        conf["spark.executor.memory"] = f"{memory_mib}m"
    conf.update(engine.spark_conf)
    conf.update(_as_strings(settings.config.local_spark_config))
    place = s3_place(run)
    if place is not None:
        conf = local_s3_conf(place, conf)
    return LocalRequest(
        step=settings.name,
        output=run.output,
        script=str(settings.script),
        arguments=(
            *run.arguments(),
            *(w for p in settings.py_files for w in ("--py-file", str(p))),
        ),
        spark_conf=conf,
        driver_memory_mib=memory_mib,
        # The quick compiler alone is much faster on a sample and much slower on real data.
        small_data=settings.mode.name is not ExecutionMode.full,
        reuse_jvm=engine.reuse_jvm,
        class_sharing=engine.class_sharing,
        timeout_s=engine.timeout_minutes * 60,
        stop_grace_s=engine.stop_grace_seconds,
        place=place,
        costing=costing_of(settings, None, rents=False),
        writes_output=settings.config.writes_output,
    )


def _as_strings(conf: Mapping[str, Any]) -> dict[str, str]:
    """Spark's own spelling of YAML values: true, not True."""
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in conf.items()
    }
