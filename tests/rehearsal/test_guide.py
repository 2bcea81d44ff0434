"""docs/rehearsal.md tells every setting and fault, as they are."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from ascii_hydra.config.compose import composed
from ascii_hydra.config.faults import (
    DATABRICKS_EFFECTS,
    EFFECTS,
    OPERATION_EFFECTS,
    impossible_fault,
)
from ascii_hydra.config.schema import FaultRule, RehearsalConfig
from ascii_hydra.config.settle import settle
from tests.conftest import PROJECT

GUIDE = (PROJECT / "docs" / "rehearsal.md").read_text(encoding="utf-8")
BASE = ["engine=emr", "mode=small_dev_sample_s3", "endpoint=rehearsal"]


def rehearsal(*overrides: str) -> RehearsalConfig:
    return settle(composed([*BASE, *overrides]), [*BASE, *overrides]).config.rehearsal


def test_every_fault_is_told() -> None:
    told = set(
        re.findall(
            r"^\| (an operation|`\w+`|`databricks:\.\.\.`) \| `(\w+)` \|", GUIDE, re.MULTILINE
        )
    )
    expected = {("an operation", effect.value) for effect in OPERATION_EFFECTS}
    expected |= {(f"`{on}`", effect.value) for on, among in EFFECTS.items() for effect in among}
    expected |= {
        ("`databricks:...`", effect.value) for effect in DATABRICKS_EFFECTS - OPERATION_EFFECTS
    }
    assert told == expected


def test_every_setting_is_told_and_can_be_typed() -> None:
    told = re.findall(r"^\| `(rehearsal\.(\w+)=\S+)` \|", GUIDE, re.MULTILINE)
    assert {name for _, name in told} | {"faults"} == {one.name for one in fields(RehearsalConfig)}
    for override, name in told:
        assert getattr(rehearsal(override), name) == float(override.partition("=")[2])


def test_the_defaults_that_are_told() -> None:
    config = RehearsalConfig()
    assert (config.speed, config.provisioning_seconds, config.bootstrap_seconds) == (60, 210, 15)


@pytest.mark.parametrize("typed", re.findall(r'"(rehearsal\.faults=[^"]+)"', GUIDE))
def test_rules_can_be_typed_as_told(typed: str) -> None:
    (rule,) = rehearsal(typed).faults
    assert isinstance(rule, FaultRule)
    assert impossible_fault(rule) is None
