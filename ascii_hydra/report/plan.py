"""What would run: every step, where, with how much computing, and the exact request."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ascii_hydra.config.schema import (
    DatabricksCluster,
    EmrCluster,
    PySparkCluster,
    PySparkEngine,
)
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun, output_folder
from ascii_hydra.report.progress import nearby, wide_console


def planned_run(settings: Settings, step: StepSettings) -> StepRun:
    """The run of a step, its partition written as `<dimension>`: which ones there are is known
    only where the input can be read."""

    def base(name: str) -> str:
        theirs = settings.steps[name].config.partitions
        folder = f"{settings.config.pipeline.output}/{name}"
        return "/".join([output_folder(folder, {}), *(f"{one}=<{one}>" for one in theirs)])

    partition = {name: f"<{name}>" for name in step.config.partitions}
    return StepRun(
        settings=step,
        output=base(step.name),
        inputs={dep: base(dep) for dep in step.config.deps},
        partition=partition,
        partition_key="|".join(partition[one] for one in sorted(partition)) or None,
        digest=settings.digest,
    )


def show_plan(settings: Settings, console: Console | None = None) -> None:
    """Print the plan of a run; nothing is started and nothing but conf/ is read."""
    console = console or wide_console()
    config = settings.config
    console.print(
        f"Plan of pipeline {config.pipeline.name}, configuration {settings.digest}."
        " Nothing is started.",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "engine", "cluster", "computing", "partitions", "output"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"step", "engine"})
    for step in settings.steps.values():
        table.add_row(
            step.name,
            step.engine.name.value,
            step.cluster.size.value,
            computing(step),
            " x ".join(step.config.partitions) or "-",
            escape(nearby(planned_run(settings, step).output)),
        )
    console.print(table)
    for step in settings.steps.values():
        asked = request(planned_run(settings, step))
        console.print(f"\nRequest of {step.name}:", highlight=False)
        if asked is None:
            text = f"engine={step.engine.name.value} cannot render its request yet; it will be from"
            spec = {"engine": asdict(step.engine), "cluster": asdict(step.cluster)}
            console.print(f"{text}\n{json.dumps(spec, indent=2)}", markup=False, highlight=False)
        else:
            conf = [w for k, v in asked.spark_conf.items() for w in ("--spark-conf", f"{k}={v}")]
            words = ["python", asked.script, *asked.arguments, *conf]
            console.print(shlex.join(words), markup=False, highlight=False, soft_wrap=True)


def computing(step: StepSettings) -> str:
    """The computing that a step gets, in a few words."""
    cluster = step.cluster
    match cluster:
        case PySparkCluster():
            where = step.engine.master if isinstance(step.engine, PySparkEngine) else None
            cores = where or f"{cluster.cores} cores"
            return f"{cores}, {cluster.driver_memory_gib:g} GiB{'' if where else ' here'}"
        case EmrCluster():
            return (
                f"{cluster.workers} x {'/'.join(cluster.worker_instance_types)}"
                f" + {'/'.join(cluster.primary_instance_types)}"
            )
        case DatabricksCluster():
            return f"{cluster.workers} x {cluster.worker_node_type} + {cluster.driver_node_type}"
    return f"{cluster.workers} workers"
