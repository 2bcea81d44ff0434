"""`request()`, the first verb of every engine: from a step's run to what would be submitted.

Pure: it starts nothing, reads no credentials and imports neither Dagster nor Spark, so that
`action=plan` prints the very value that a launch submits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ascii_hydra.config.schema import PySparkCluster, PySparkEngine
from ascii_hydra.engines.local_request import LocalRequest, local_conf
from ascii_hydra.engines.step_run import StepRun
from ascii_hydra.step.choices import ExecutionMode


def request(run: StepRun) -> LocalRequest | None:
    """What would be submitted for this run, or None for an engine that cannot render it yet."""
    engine, cluster = run.settings.engine, run.settings.cluster
    if isinstance(engine, PySparkEngine) and isinstance(cluster, PySparkCluster):
        return _local(run, engine, cluster)
    return None


def _local(run: StepRun, engine: PySparkEngine, cluster: PySparkCluster) -> LocalRequest:
    settings = run.settings
    memory_mib = int(cluster.driver_memory_gib * 1024)
    conf = local_conf(engine.master or f"local[{cluster.cores}]", cores=cluster.cores)
    if engine.master is not None and engine.master.startswith("spark://"):
        conf["spark.executor.memory"] = f"{memory_mib}m"
    conf.update(engine.spark_conf)
    conf.update(_as_strings(settings.config.local_spark_config))
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
    )


def _as_strings(conf: Mapping[str, Any]) -> dict[str, str]:
    """Spark's own spelling of YAML values: true, not True."""
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in conf.items()
    }
