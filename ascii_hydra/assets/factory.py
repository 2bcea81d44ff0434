# No postponed annotations here: Dagster reads those of an asset's function.
"""The asset factory: a Spark script and what it needs, as a Dagster asset.

`spark_asset` is what people call (docs/use_assets.md); a step of conf/pipeline/*.yaml calls the
same factory, so that both are one kind of asset.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ascii_hydra.assets.launchpad import SparkPipesClient, StepChoice
from ascii_hydra.assets.partitions import (
    dimensions_of,
    folder_of,
    own_partition,
    partitions_definition,
)
from ascii_hydra.config.choices import ClusterSize
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.explain import USER_ERRORS, explained
from ascii_hydra.config.partitions import partition_key
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import PipelineConfig, StepConfig
from ascii_hydra.config.settle import Settings, StepSettings, located, settled_step
from ascii_hydra.engines.credentials import credential_problems
from ascii_hydra.engines.estimate import estimated
from ascii_hydra.engines.request import request, run_problems
from ascii_hydra.engines.step_run import StepRun, output_folder
from ascii_hydra.step.choices import Engine

# The asset reports what its script reports; this says where and how it was made.
CONFIG_KEY = "ascii_hydra/config"
# The names of an asset's partition dimensions, in the order of its folders.
_DIMENSIONS = "ascii_hydra/dimensions"


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
    writes_output: bool = True,
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
        writes_output: a run that has written no file of its output folder fails; False for a script
            that has an effect elsewhere alone.
    """
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or ())
    step = StepConfig(
        script=external_script_file,
        description=description or "",
        checks=tuple(checks),
        parameters=parameters or {},
        py_files=tuple(py_files),
        libraries=tuple(libraries_config),
        writes_output=writes_output,
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
        deps=[dg.AssetDep.from_coercible(one) for one in deps],
        partitions_def=partitions_def,
        dimensions=() if partitions_def is None else dimensions_of(partitions_def),
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
            deps=[_dep(keys[dep], pipeline.steps[dep], step) for dep in step.deps],
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
    deps: Sequence[dg.AssetDep],
    partitions_def: dg.PartitionsDefinition[str] | None,
    dimensions: Sequence[str],
    pipeline: str | None,
    conf: Path,
) -> dg.AssetsDefinition:
    names = [one.asset_key.path[-1] for one in deps]
    if len(set(names)) < len(names):
        raise dg.DagsterInvalidDefinitionError(
            f"{key.to_user_string()}: two deps have the same name, by which the script finds them."
        )

    @dg.asset(
        key=key,
        group_name=group_name,
        description=step.description or None,
        deps=deps,
        partitions_def=partitions_def,
        check_specs=[dg.AssetCheckSpec(name=one, asset=key, blocking=True) for one in step.checks],
        kinds={"pyspark", "parquet"},
        code_version=_code_version(script_root, step),
        metadata={
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[
                    dg.LocalFileCodeReference(
                        file_path=str(script_root / step.script), line_number=1
                    )
                ]
            ),
            **({_DIMENSIONS: ",".join(dimensions)} if dimensions else {}),
        },
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: StepChoice,
        spark_pipes_client: SparkPipesClient,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        name = key.path[-1]
        try:
            settings = spark_pipes_client.settings(conf, pipeline, config.overrides)
            chosen = step if pipeline is None else settings.config.pipeline.steps[name]
            own = settled_step(
                settings,
                name,
                dataclasses.replace(
                    chosen,
                    engine=config.engine or chosen.engine,
                    cluster=config.cluster or chosen.cluster,
                ),
                script_root,
                conf,
                config.overrides,
            )
            partition = own_partition(context, dimensions)
            run = StepRun(
                settings=own,
                output=output_folder(_base(settings, pipeline, key), partition),
                inputs={
                    one.asset_key.path[-1]: _input(
                        context, one.asset_key, _base(settings, pipeline, one.asset_key)
                    )
                    for one in deps
                },
                partition=partition,
                partition_key=partition_key(partition),
                digest=settings.digest,
            )
            problems = [*run_problems(run), *credential_problems(own)]
            if problems:
                raise ConfigError(problems)
            asked = _costed(run, request(run, live=True))
        except USER_ERRORS as fault:
            raise dg.Failure(explained(fault, conf), allow_retries=False) from None
        client: Any = spark_pipes_client.pipes_client(own)
        made_with = _provenance(own, settings)
        for result in client.run(context=context, request=asked).get_results():
            if isinstance(result, dg.MaterializeResult):
                metadata = {**made_with, **(result.metadata or {})}
                yield result._replace(metadata=metadata)
            else:
                yield result

    return asset


def _costed(run: StepRun, asked: Any) -> Any:
    """The request, with what it is expected to cost."""
    costing = dataclasses.replace(asked.costing, estimate=estimated(run, asked))
    return dataclasses.replace(asked, costing=costing)


def _dep(key: dg.AssetKey, upstream: StepConfig, step: StepConfig) -> dg.AssetDep:
    # Dagster finds how one dimension of two is read. Of several that are not ours, all are read.
    foreign = bool(step.partitions) and not set(upstream.partitions) <= set(step.partitions)
    shared = bool(set(upstream.partitions) & set(step.partitions))
    mapping = dg.AllPartitionMapping() if foreign and not shared else None
    return dg.AssetDep(key, partition_mapping=mapping)


def _base(settings: Settings, pipeline: str | None, key: dg.AssetKey) -> str:
    """The folder of an asset, above those of its partitions."""
    if pipeline is None:
        return "/".join([settings.config.mode.output_root, *key.path])
    return f"{settings.config.pipeline.output}/{key.path[-1]}"


def _input(context: dg.AssetExecutionContext, upstream: dg.AssetKey, base: str) -> str:
    """The folder that a run reads of an upstream asset: the whole, or the partitions that Dagster
    maps to the run's own."""
    layer = context.job_def.asset_layer
    node = layer.get(upstream) if layer.has(upstream) else None
    definition = None if node is None else node.partitions_def
    if node is None or definition is None:
        return base
    names = {known: name for name, known in context.assets_def.keys_by_input_name.items()}
    read = context.asset_partition_keys_for_input(names[upstream])
    every = definition.get_partition_keys(dynamic_partitions_store=context.instance)
    if set(read) == set(every) and context.assets_def.partitions_def is None:
        return base
    named = node.metadata.get(_DIMENSIONS)
    dimensions = str(named).split(",") if named else dimensions_of(definition)
    in_order = [one for one in every if one in set(read)]
    return folder_of(base, dimensions, in_order, upstream.to_user_string())


def _code_version(script_root: Path, step: StepConfig) -> str:
    """A hash of the code that makes the asset, so that the UI knows when it has changed."""
    digest = hashlib.sha256()
    for path in (step.script, *step.py_files):
        if (script_root / path).is_file():
            digest.update((script_root / path).read_bytes())
    return digest.hexdigest()[:12]


def _provenance(own: StepSettings, settings: Settings) -> dict[str, dg.MetadataValue[Any]]:
    return {
        # Whose cloud it was: what a rehearsal cost is no bill of a real one.
        "ascii_hydra/endpoint": dg.MetadataValue.text(own.endpoint.name.value),
        "ascii_hydra/engine": dg.MetadataValue.text(own.engine.name.value),
        "ascii_hydra/mode": dg.MetadataValue.text(own.mode.name.value),
        "ascii_hydra/cluster": dg.MetadataValue.text(own.cluster.size.value),
        "ascii_hydra/config_digest": dg.MetadataValue.text(settings.digest),
        CONFIG_KEY: dg.MetadataValue.md(f"```yaml\n{settings.yaml}```"),
        "ascii_hydra/step": dg.MetadataValue.md(f"```yaml\n{own.yaml}```"),
    }
