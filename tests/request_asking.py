"""A step's request and its problems, from overrides as people type them.

A folder of tests binds `engine`, so that its tests name what they change and nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import Settings, StepSettings, settle
from ascii_hydra.engines.request import request_notices, request_problems
from ascii_hydra.engines.step_run import StepRun, planned_run

_ALWAYS = ("mode=full", "action=plan", "launch.owner=someone")


@cache
def settled(engine: str, *overrides: str) -> Settings:
    words = (f"engine={engine}", *_ALWAYS, *overrides)
    return settle(composed(words), words)


def run_of(engine: str, *overrides: str, step: str = "step_1", **config: Any) -> StepRun:
    """A step's run. `config`: fields of its StepConfig that are not typed."""
    settings = settled(engine, *overrides)
    own = settings.steps[step]
    return planned_run(settings, replace(own, config=replace(own.config, **config)))


def told(engine: str, *overrides: str, **config: Any) -> str:
    """All problems, as a person reads them."""
    return problems_of(_changed(settled(engine, *overrides), config))


def noticed(engine: str, *overrides: str, **config: Any) -> list[str]:
    return list(request_notices(_changed(settled(engine, *overrides), config)))


def problems_of(settings: Settings) -> str:
    return "\n".join(map(str, request_problems(settings)))


def _changed(settings: Settings, config: dict[str, Any]) -> Settings:
    def step(one: StepSettings) -> StepSettings:
        made = replace(one.config, **config) if one.name == "step_1" else one.config
        return replace(one, config=made)

    return replace(settings, steps={name: step(one) for name, one in settings.steps.items()})
