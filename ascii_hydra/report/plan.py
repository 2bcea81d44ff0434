"""What would run: every step, where, with how much computing, what it would cost, and the exact
request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from ascii_hydra.config.choices import PlanFormat
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.engines.estimate import PlannedRun, plan_estimates
from ascii_hydra.engines.local_request import LocalRequest
from ascii_hydra.engines.planned import describe
from ascii_hydra.engines.step_run import planned_run
from ascii_hydra.report.plan_costs import show_costs, total_words
from ascii_hydra.report.progress import nearby, wide_console

if TYPE_CHECKING:
    from ascii_hydra.engines.databricks.databricks_request import DatabricksRequest
    from ascii_hydra.engines.emr.emr_request import EmrRequest

_WIDTH = 110
_UNFOLDED = 1000


def show_plan(
    settings: Settings,
    planned: PlannedRun | None = None,
    console: Console | None = None,
    *,
    short: bool = False,
) -> None:
    """Print the plan of a run; nothing is started, and nothing is read but conf/, the pipeline's
    input where it is on this machine, and the durations of earlier runs.

    Args:
        settings: the run's; `plan.format` and `plan.requests` decide how it is told.
        planned: what `plan_estimates` says of it, if that is known already.
        console: where it is printed.
        short: one line alone, for a row of a sweep; with `plan.format=json`, the document in it.
    """
    console = console or wide_console()
    planned = plan_estimates(settings) if planned is None else planned
    config = settings.config
    if config.plan.format is PlanFormat.json:
        from ascii_hydra.report.plan_json import plan_json

        text = json.dumps(plan_json(settings, planned), indent=None if short else 2)
        console.out(text, highlight=False)
        return
    named = f"Plan of pipeline {config.pipeline.name}, configuration {settings.digest}"
    if short:
        costs = f"{named}: {total_words(planned)}."
        console.print(costs, markup=False, highlight=False, soft_wrap=True)
        return
    console.print(f"{named}. Nothing is started.", highlight=False)
    _show_steps(settings, planned, console)
    show_costs(settings, planned, console)
    if not config.plan.requests:
        return
    clusters: dict[str, str] = {}
    for one in planned.steps:
        console.print(f"\nRequest of {one.step}:", highlight=False)
        shown = _shown(settings.steps[one.step], one.asked, clusters)
        console.print(shown, markup=False, highlight=False, soft_wrap=True)


def _show_steps(settings: Settings, planned: PlannedRun, console: Console) -> None:
    whole = _steps(settings, planned)
    unfolded = Measurement.get(console, console.options.update(max_width=_UNFOLDED), whole)
    if unfolded.maximum <= console.width:
        console.print(whole)
        return
    # A path that is folded cannot be copied.
    console.print(_steps(settings, planned, outputs=False))
    for one in planned.steps:
        output = nearby(planned_run(settings, settings.steps[one.step]).output)
        console.print(f"{one.step}: {output}", markup=False, highlight=False, soft_wrap=True)


def _steps(settings: Settings, planned: PlannedRun, *, outputs: bool = True) -> Table:
    table = Table(box=None, pad_edge=False)
    headings = ["step", "engine", "cluster", "computing", "executors", "partitions", "output"]
    for heading in headings if outputs else headings[:-1]:
        table.add_column(heading, overflow="fold", no_wrap=heading in {"step", "engine"})
    for one in planned.steps:
        step = settings.steps[one.step]
        names = " x ".join(step.config.partitions)
        count = "?" if one.partitions is None else str(one.partitions)
        cells = [
            step.name,
            step.engine.name.value,
            step.cluster.size.value,
            describe(one.asked),
            f"{vcpus:g} vCPU" if (vcpus := one.estimate.executor_vcpus) else "?",
            f"{count} ({names})" if names else "-",
            escape(nearby(planned_run(settings, step).output)),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _shown(
    step: StepSettings,
    asked: LocalRequest | EmrRequest | DatabricksRequest,
    firsts: dict[str, str],
) -> str:
    """A request as text. `firsts` keeps which step is the first to ask for what steps share."""
    if isinstance(asked, LocalRequest):
        conf = [w for k, v in asked.spark_conf.items() for w in ("--spark-conf", f"{k}={v}")]
        return shlex.join(["python", asked.script, *asked.arguments, *conf])
    from ascii_hydra.engines.emr.emr_request import EmrRequest

    data = asked.as_json()
    if isinstance(asked, EmrRequest) and asked.shared and asked.run_job_flow is not None:
        first = firsts.setdefault(json.dumps(data["RunJobFlow"], sort_keys=True), step.name)
        if first != step.name:
            data["RunJobFlow"] = f"that of {first}, whose cluster it shares"
    for number, pool in enumerate(data.get("instance-pools/create", [])):
        first = firsts.setdefault(json.dumps(pool, sort_keys=True), step.name)
        if first != step.name:
            name = pool["instance_pool_name"]
            data["instance-pools/create"][number] = f"{name}: that of {first}, which it shares"
    return compact_json(data)


def compact_json(value: Any, indent: int = 0) -> str:
    """JSON in which what fits into a line stands in one, and lists of words fill their lines."""
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _WIDTH or not value or not isinstance(value, (Mapping, list, tuple)):
        return line
    inner = " " * (indent + 2)
    if isinstance(value, Mapping):
        parts = [
            f"{json.dumps(key)}: {compact_json(one, indent + 2)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + " " * indent + "}"
    parts = [compact_json(one, indent + 2) for one in value]
    if any(isinstance(one, (Mapping, list, tuple)) for one in value):
        lines = [inner + part for part in parts]
    else:
        lines = [inner + part for part in _filled(parts, _WIDTH - len(inner))]
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"


def _filled(words: Iterable[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= width and not word.startswith('"--'):
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
