"""What these tests share: a step's request, from overrides as people type them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ascii_hydra.config.compose import composed
from ascii_hydra.config.schema import EmrCluster, InstanceFilters, StepConfig
from ascii_hydra.config.settle import Settings, StepSettings, settle
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.request import request, request_problems
from ascii_hydra.engines.step_run import StepRun, planned_run

ALWAYS = ("engine=emr", "mode=full", "action=plan", "launch.owner=someone")


@cache
def settled(*overrides: str) -> Settings:
    words = (*ALWAYS, *overrides)
    return settle(composed(words), words)


def run_of(*overrides: str, step: str = "step_1", **config: Any) -> StepRun:
    """A step's run. `config`: fields of its StepConfig that are not typed."""
    settings = settled(*overrides)
    own = settings.steps[step]
    own = replace(own, config=replace(own.config, **config))
    return planned_run(settings, own)


def asked(run: StepRun) -> EmrRequest:
    made = request(run)
    assert isinstance(made, EmrRequest)
    return made


def flow_of(*overrides: str, **config: Any) -> dict[str, Any]:
    flow = asked(run_of(*overrides, **config)).run_job_flow
    assert flow is not None
    return dict(flow)


def words_of(request: EmrRequest) -> list[str]:
    found: list[str] = request.step_config["HadoopJarStep"]["Args"]
    return found


def after(words: list[str], flag: str) -> list[str]:
    """The words that follow a flag, each time that it stands there."""
    return [words[at + 1] for at, word in enumerate(words) if word == flag]


def told(*overrides: str, **config: Any) -> str:
    """All problems, as a person reads them."""
    return problems_of(changed(settled(*overrides), config))


def problems_of(settings: Settings) -> str:
    return "\n".join(map(str, request_problems(settings)))


def changed(settings: Settings, config: dict[str, Any]) -> Settings:
    def step(one: StepSettings) -> StepSettings:
        made: StepConfig = replace(one.config, **config) if one.name == "step_1" else one.config
        return replace(one, config=made)

    return replace(settings, steps={name: step(one) for name, one in settings.steps.items()})


def filtered(settings: Settings, **filters: Any) -> Settings:
    """The settings with `cluster.filters`."""

    def cluster(one: StepSettings) -> EmrCluster:
        assert isinstance(one.cluster, EmrCluster)
        return replace(one.cluster, filters=InstanceFilters(**filters))

    steps = {name: replace(one, cluster=cluster(one)) for name, one in settings.steps.items()}
    whole = replace(settings.config, cluster=next(iter(steps.values())).cluster)
    return replace(settings, steps=steps, config=whole)
