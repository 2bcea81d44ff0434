"""What these tests share: a step's request for EMR, from overrides as people type them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ascii_hydra.config.cluster_schema import EmrCluster, InstanceFilters
from ascii_hydra.config.settle import Settings, StepSettings
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import StepRun
from tests import request_asking

settled = partial(request_asking.settled, "emr")
run_of = partial(request_asking.run_of, "emr")
told = partial(request_asking.told, "emr")


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


def filtered(settings: Settings, **filters: Any) -> Settings:
    """The settings with `cluster.filters`."""

    def cluster(one: StepSettings) -> EmrCluster:
        assert isinstance(one.cluster, EmrCluster)
        return replace(one.cluster, filters=InstanceFilters(**filters))

    steps = {name: replace(one, cluster=cluster(one)) for name, one in settings.steps.items()}
    whole = replace(settings.config, cluster=next(iter(steps.values())).cluster)
    return replace(settings, steps=steps, config=whole)
