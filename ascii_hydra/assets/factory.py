# No postponed annotations here: Dagster reads those of an asset's function.
"""The asset factory: a Spark script and what it needs, as a Dagster asset.

`spark_asset` is what people call (docs/use_assets.md); a step of conf/pipeline/*.yaml calls the
same factory, so that both are one kind of asset.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ascii_hydra.assets.launchpad import SparkPipesClient, StepChoice
from ascii_hydra.assets.partitions import partition_key, partitions_definition
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import ClusterSize, PipelineConfig, StepConfig
from ascii_hydra.config.settle import Settings, located, settled_step
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun, output_folder
from ascii_hydra.step.choices import Engine

# The asset reports what its script reports; this says where and how it was made.
CONFIG_KEY = "ascii_hydra/config"


@dataclass(frozen=True)
class Upstream:
    """An asset that a step reads: its key, and its partition dimensions in their order."""

    key: dg.AssetKey
    partitions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name under which the script finds it: `self.inputs[name]`."""
        return self.key.path[-1]


def spark_asset(
    name: str,
    *,
    external_script_file: str,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    local_spark_config: Mapping[str, Any] | None = None,
    databricks_cluster_config: Mapping[str, Any] | None = None,
    emr_job_config: Mapping[str, Any] | None = None,
    libraries_config: Sequence[str] = (),
    deps: Sequence[dg.AssetsDefinition | dg.AssetKey | str] = (),
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    py_files: Sequence[str] = (),
    checks: Sequence[str] = (),
    engine: Engine | None = None,
    cluster: ClusterSize | None = None,
) -> dg.AssetsDefinition:
    """An asset that is made by running a Spark script.

    Args:
        name: the asset's name; the script's folder of output is named after it.
        external_script_file: the script; a relative path is taken from the project's folder.
        key_prefix: what comes before the name in the asset's key and in the output's path.
        group_name: the group that the UI shows it in.
        local_spark_config: Spark settings on this machine, over those of the configuration.
        databricks_cluster_config: merged deeply over what the cluster group gives on Databricks.
        emr_job_config: merged deeply over what the cluster group gives on EMR.
        libraries_config: PyPI requirements (`name==version`) that the script needs on a cluster.
        deps: upstream assets; the script finds their folders in `self.inputs` by their names.
        partitions_def: the partitions; the script gets `partition_key`, and the value of each
            dimension in `self.partition` (a single dimension is named `partition`).
        description: what the asset is.
        parameters: JSON values that the script gets as `self.parameters`.
        py_files: Python files that the executors import; relative as for the script.
        checks: names of the asset checks that the script reports. One that it does not report
            fails the step.
        engine: where this step runs, if not where the run says.
        cluster: how much computing it gets, if not what the run says.
    """
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or ())
    step = StepConfig(
        script=external_script_file,
        description=description or "",
        checks=tuple(checks),
        parameters=parameters or {},
        py_files=tuple(py_files),
        libraries=tuple(libraries_config),
        engine=engine,
        cluster=cluster,
        local_spark_config=local_spark_config or {},
        emr_job_config=emr_job_config or {},
        databricks_cluster_config=databricks_cluster_config or {},
    )
    return _asset(
        key=dg.AssetKey([*prefix, name]),
        step=step,
        script_root=located("."),
        group_name=group_name,
        upstreams=[_upstream(one) for one in deps],
        partitions_def=partitions_def,
        dimensions=() if partitions_def is None else _dimensions(partitions_def),
        pipeline=None,
        conf=conf_folder(),
    )


def pipeline_assets(option: str, pipeline: PipelineConfig, conf: Path) -> list[dg.AssetsDefinition]:
    """The assets of a pipeline in conf/, one a step, in a group of the pipeline's name.

    Args:
        option: the pipeline's name in the group `pipeline`.
        pipeline: what the default composition says of it.
        conf: the folder of the configuration.
    """
    keys = {name: dg.AssetKey([pipeline.name, name]) for name in pipeline.steps}
    return [
        _asset(
            key=keys[name],
            step=step,
            script_root=located(pipeline.script_root),
            group_name=pipeline.name,
            upstreams=[Upstream(keys[dep], pipeline.steps[dep].partitions) for dep in step.deps],
            partitions_def=partitions_definition(pipeline.name, step.partitions),
            dimensions=step.partitions,
            pipeline=option,
            conf=conf,
        )
        for name, step in pipeline.steps.items()
    ]


def _asset(
    *,
    key: dg.AssetKey,
    step: StepConfig,
    script_root: Path,
    group_name: str | None,
    upstreams: Sequence[Upstream],
    partitions_def: dg.PartitionsDefinition[str] | None,
    dimensions: Sequence[str],
    pipeline: str | None,
    conf: Path,
) -> dg.AssetsDefinition:
    @dg.asset(
        key=key,
        group_name=group_name,
        description=step.description or None,
        deps=[_dep(one, dimensions) for one in upstreams],
        partitions_def=partitions_def,
        check_specs=[dg.AssetCheckSpec(name=one, asset=key) for one in step.checks],
        kinds={"pyspark", "parquet"},
        code_version=_code_version(script_root, step),
        metadata={
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[
                    dg.LocalFileCodeReference(
                        file_path=str(script_root / step.script), line_number=1
                    )
                ]
            )
        },
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: StepChoice,
        spark_pipes_client: SparkPipesClient,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        name = key.path[-1]
        try:
            settings = spark_pipes_client.settings(
                conf=conf, pipeline=pipeline, step=name, choice=config
            )
            if pipeline is None:
                own = settled_step(settings, name, step, script_root, conf)
                base = "/".join([settings.config.mode.output_root, *key.path])
            else:
                own = settings.steps[name]
                base = f"{settings.config.pipeline.output}/{name}"
        except ConfigError as fault:
            raise dg.Failure(str(fault), allow_retries=False) from None
        partition = _partition(context, dimensions)
        run = StepRun(
            settings=own,
            output=output_folder(base, partition),
            inputs=dict(_inputs(upstreams, settings, pipeline, partition)),
            partition=partition,
            partition_key=partition_key(partition),
        )
        asked = request(run)
        if asked is None:
            raise dg.Failure(
                f"engine={own.engine.name.value} cannot be launched yet.", allow_retries=False
            )
        client = spark_pipes_client.pipes_client(own.engine.name)
        made_with = _provenance(own.engine.name, own.cluster.size, settings)
        for result in client.run(context=context, request=asked).get_results():
            if isinstance(result, dg.MaterializeResult):
                metadata = {**made_with, **(result.metadata or {})}
                yield result._replace(metadata=metadata)
            else:
                yield result

    return asset


def _dep(upstream: Upstream, dimensions: Sequence[str]) -> dg.AssetDep:
    # Dagster infers how one dimension of two is mapped; a dimension that is not ours is read whole.
    foreign = bool(dimensions) and not set(upstream.partitions) <= set(dimensions)
    return dg.AssetDep(
        upstream.key, partition_mapping=dg.AllPartitionMapping() if foreign else None
    )


def _upstream(dep: dg.AssetsDefinition | dg.AssetKey | str) -> Upstream:
    if isinstance(dep, dg.AssetsDefinition):
        names = () if dep.partitions_def is None else _dimensions(dep.partitions_def)
        return Upstream(dep.key, names)
    return Upstream(dep if isinstance(dep, dg.AssetKey) else dg.AssetKey.from_user_string(dep))


def _dimensions(definition: dg.PartitionsDefinition[str]) -> tuple[str, ...]:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return tuple(one.name for one in definition.partitions_defs)
    return ("partition",)


def _partition(context: dg.AssetExecutionContext, dimensions: Sequence[str]) -> dict[str, str]:
    """The value of each dimension of the partition that this run makes."""
    if not context.has_partition_key:
        return {}
    key = context.partition_key
    if isinstance(key, dg.MultiPartitionKey):
        return {name: key.keys_by_dimension[name] for name in dimensions}
    return {dimensions[0]: key}


def _inputs(
    upstreams: Sequence[Upstream],
    settings: Settings,
    pipeline: str | None,
    partition: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    for one in upstreams:
        base = (
            "/".join([settings.config.mode.output_root, *one.key.path])
            if pipeline is None
            else f"{settings.config.pipeline.output}/{one.name}"
        )
        known = all(name in partition for name in one.partitions)
        own = {name: partition[name] for name in one.partitions} if known else {}
        yield one.name, output_folder(base, own)


def _code_version(script_root: Path, step: StepConfig) -> str:
    """A hash of the code that makes the asset, so that the UI knows when it has changed."""
    digest = hashlib.sha256()
    for path in (step.script, *step.py_files):
        if (script_root / path).is_file():
            digest.update((script_root / path).read_bytes())
    return digest.hexdigest()[:12]


def _provenance(
    engine: Engine, cluster: ClusterSize, settings: Settings
) -> dict[str, dg.MetadataValue[Any]]:
    return {
        "ascii_hydra/engine": dg.MetadataValue.text(engine.value),
        "ascii_hydra/mode": dg.MetadataValue.text(settings.config.mode.name.value),
        "ascii_hydra/cluster": dg.MetadataValue.text(cluster.value),
        "ascii_hydra/config_digest": dg.MetadataValue.text(settings.digest),
        CONFIG_KEY: dg.MetadataValue.md(f"```yaml\n{settings.yaml}```"),
    }
