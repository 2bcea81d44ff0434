"""Which overrides the launchpad takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from ascii_hydra.assets.command_line import record_overrides, recorded_overrides
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.config.launchpad_rule import launchpad_problem, refused_overrides
from ascii_hydra.config.schema import SCHEMAS, Config


def is_refused(override: str) -> bool:
    return refused_overrides([override], (), conf_folder()) == (override,)


@pytest.mark.parametrize(
    "override",
    [
        "cluster.workers=6",
        "cluster.spot_share=0.5",
        "cluster.max_workers=null",
        "++engine.timeout_minutes=30",
        "engine.idle_timeout_minutes=5",
        "cluster=medium",
        "launch=ci",
        "endpoint=rehearsal",
        "+experiment=compare_clusters",
        "launch.reuse_cluster=run",
        "rehearsal.speed=600",
        "pipeline.steps.step_2.engine=emr",
        "pipeline.steps.step_1.expected_minutes=60",
        "pipeline.steps.step_1.parameters.rows.full=5",
        "pipeline.steps.nodes.parameters.private_suffixes=true",
        "cluster.worker_instance_types=[m5.xlarge, m5a.xlarge]",
        "cluster.worker_node_type=i3.xlarge",
        "cluster.filters.families=[m5d]",
    ],
)
def test_how_much_computing_may_be_chosen(override: str) -> None:
    assert not is_refused(override)


@pytest.mark.parametrize(
    "override",
    [
        # code and files
        "pipeline.steps.step_1.script=/tmp/x.py",
        "pipeline.steps.step_1={script: /tmp/x.py}",
        "pipeline.steps={step_1: {script: /tmp/x.py}}",
        "+pipeline.steps.more.script=/tmp/x.py",
        "pipeline.script_root=/tmp",
        "pipeline.steps.step_1.py_files=[/etc/hosts]",
        "pipeline.steps.step_1.libraries=['evil==1']",
        "engine.libraries=['evil==1']",
        "+engine.spark_conf={spark.jars: s3://evil/a.jar}",
        "+engine.spark_conf.spark=x",
        "engine.bootstrap_actions=[{name: a, script: s3://evil/a.sh}]",
        "engine.init_scripts=[s3://evil/a.sh]",
        "engine.configurations=[{classification: a}]",
        "+pipeline.steps.step_1.emr_job_config.Instances.TerminationProtected=true",
        "+pipeline.steps.step_1.databricks_cluster_config={num_workers: 1}",
        # places and identities
        "mode.bucket=evil",
        "mode.input_root=/etc",
        "mode.output_root=s3a://evil/out",
        "pipeline.output=s3a://evil/out",
        "endpoint.url=http://evil.example",
        "engine.staging_root=s3://evil/staging",
        "engine.region=eu-west-1",
        "engine.cluster_id=j-ABC",
        "engine.job_flow_role=Admin",
        "engine.instance_profile=arn:aws:iam::1:instance-profile/admin",
        "engine.master=spark://evil.example:7077",
        "cluster.pool_id=p",
        "cluster.data_security_mode=auto",
        "prices.folder=/tmp",
        "launch.resume=/tmp",
        # out of conf/
        "hydra.searchpath=[file:///tmp]",
        "hydra/job_logging=none",
        "hydra=x",
        "launch=../../tmp/evil",
        "launch=/tmp/evil",
        "+experiment=../local/x",
        "+experiment=not_there",
        "mode@engine=full",
        # what only looks like a number
        "engine.timeout_minutes=${oc.env:HOME}",
        "cluster.workers={a: 1}",
        "cluster=${oc.env:HOME}",
        "cluster.worker_node_type=${oc.env:HOME}",
        "pipeline.steps.step_1.parameters.input=/etc",
        "pipeline.steps.step_1.parameters.rows={full: /etc}",
        "pipeline.steps.step_1.parameters.rows=${oc.env:HOME}",
        # limits
        "launch.budget_usd=1000000",
        "~launch.budget_usd",
        "action=plan",
    ],
)
def test_what_runs_and_where_may_not(override: str) -> None:
    assert is_refused(override)
    assert refused_overrides([override], {override}, conf_folder()) == ()


def test_a_misspelt_key_is_left_to_the_sentence_that_says_which_was_meant() -> None:
    assert not is_refused("engine.timout_minutes=3")
    assert not is_refused("engin.timeout_minutes=3")
    assert is_refused("+engine.timout_minutes=3")
    assert is_refused("experimnt=x")


def _text_keys(schema: type, at: str) -> Iterator[str]:
    """Every key of the schema that holds text, whatever it is for."""
    for field in dataclasses.fields(schema):
        hint: Any = get_type_hints(schema)[field.name]
        key = f"{at}{field.name}"
        inner = [one for one in get_args(hint) if one is not type(None)] or [hint]
        if get_origin(hint) is Mapping and dataclasses.is_dataclass(inner[1]):
            yield from _text_keys(inner[1], f"{key}.any.")
        elif len(inner) == 1 and isinstance(inner[0], type) and dataclasses.is_dataclass(inner[0]):
            if get_origin(hint) is not tuple:
                yield from _text_keys(inner[0], f"{key}.")
        elif str in inner and field.metadata.get("launchpad") is not True:
            yield key


def test_no_text_of_the_schema_is_allowed_that_is_not_marked() -> None:
    """What is added to the schema later is refused until somebody allows it."""
    keys = list(_text_keys(Config, ""))
    for name, schema in SCHEMAS.items():
        if "/" in name:
            keys += _text_keys(schema, f"{name.partition('/')[0]}.")
    assert {"mode.bucket", "engine.staging_root", "pipeline.steps.any.script"} <= set(keys)
    assert [one for one in keys if not is_refused(f"{one}=x")] == []


def test_all_that_is_refused_is_said_at_once() -> None:
    overrides = ["mode.bucket=evil", "cluster.workers=2", "launch.owner=me", "mode.bucket=evil"]
    refused = refused_overrides(overrides, (), conf_folder())
    said = str(launchpad_problem(refused))
    assert said.startswith("mode.bucket=evil, launch.owner=me: cannot be chosen in the launchpad:")


def test_what_was_typed_is_kept_for_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert recorded_overrides() == frozenset()
    record_overrides(tmp_path, ["mode.bucket=mine", 'a="line\nbreak"', "mode.bucket=mine"])
    record_overrides(tmp_path, ["mode.bucket=mine"])
    assert recorded_overrides() == {"mode.bucket=mine", 'a="line\nbreak"'}
    (file,) = tmp_path.glob("*.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize("broken", ['"mode.buck', "{}", "7", '"mode.bucket=\\ud8', "\x00\xff"])
def test_a_line_that_was_not_written_to_its_end_allows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    record_overrides(tmp_path, ["mode.bucket=mine"])
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("a", encoding="latin-1") as lines:
        lines.write(broken)
    assert recorded_overrides() == {"mode.bucket=mine"}
    # The next one has a line of its own.
    record_overrides(tmp_path, ["mode.bucket=other"])
    assert recorded_overrides() == {"mode.bucket=mine", "mode.bucket=other"}


@pytest.mark.parametrize(
    "override",
    [
        "+pipeline.steps.step_1.parameters.api_token=0123",
        "+pipeline.steps.step_1.parameters={password: 0123}",
        "mode.bucket=${oc.env:MY_SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    record_overrides(tmp_path, ["mode.bucket=mine", override])
    (file,) = tmp_path.glob("*.jsonl")
    assert file.read_text() == '"mode.bucket=mine"\n'
