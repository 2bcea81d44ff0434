"""The asset that compares what the others have cost, out of a real Dagster history."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from ascii_hydra.assets.cost_comparison import NAME, comparison, cost_comparison
from ascii_hydra.assets.definitions import build_definitions, default_choice
from ascii_hydra.assets.launchpad import SparkPipesClient
from ascii_hydra.config.schema import PipelineConfig, StepConfig
from ascii_hydra.costs.bill import Bill
from ascii_hydra.engines.costing import BILL_KEY
from tests.comparison.made_up_sweep import a_bill
from tests.conftest import PROJECT

PIPELINE = PipelineConfig(
    name="demo",
    input="in",
    output="out",
    steps={"first": StepConfig(script="a.py"), "second": StepConfig(script="b.py")},
)
KEYS = {name: dg.AssetKey(["demo", name]) for name in PIPELINE.steps}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def made(
    instance: dg.DagsterInstance,
    step: str,
    bill: Bill | None,
    *,
    engine: str = "emr",
    cluster: str = "small",
    mode: str = "full",
    partition: str | None = None,
    endpoint: str = "cloud",
) -> None:
    """Put a materialisation into the history, as a run of the step does."""
    metadata = {
        "ascii_hydra/endpoint": endpoint,
        "ascii_hydra/engine": engine,
        "ascii_hydra/cluster": cluster,
        "ascii_hydra/mode": mode,
        **({} if bill is None else {BILL_KEY: dg.MetadataValue.json(bill.as_json())}),
    }
    instance.report_runless_asset_event(
        dg.AssetMaterialization(KEYS[step], metadata=metadata, partition=partition)
    )


def taking(usd: float, hours: float, **more: object) -> Bill:
    whole = a_bill(usd, **more)  # type: ignore[arg-type]
    return Bill(
        whole.lines, whole.unpriced, run_s=hours * 3600 - 600, startup_s=600.0, instance_hours=usd
    )


def reported(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the asset says, run as Dagster runs it."""
    asset = cost_comparison(PIPELINE)
    assert asset is not None
    steps = [dg.AssetSpec(key) for key in KEYS.values()]
    result = dg.materialize([*steps, asset], selection=[asset], instance=instance)
    (event,) = result.asset_materializations_for_node(f"demo__{NAME}")
    return {name: value.value for name, value in event.metadata.items()}


def test_the_matrix(instance: dg.DagsterInstance) -> None:
    for step in KEYS:
        made(instance, step, taking(99.0, 99))  # older
        made(instance, step, taking(5.0, 4))
        made(instance, step, taking(9.0, 2, estimated=True), cluster="large")
        made(instance, step, taking(12.0, 3), engine="databricks")
    made(instance, "first", taking(0.1, 0.5), engine="databricks", cluster="large")
    made(instance, "first", None, cluster="large")  # of a version without bills
    found = {
        (one.combination.engine, one.combination.cluster): one for one in comparison(instance, KEYS)
    }
    small = found["emr", "small"]
    assert small.bill.usd == pytest.approx(10.0)
    assert small.duration_s == pytest.approx(8 * 3600)
    incomplete = found["databricks", "large"]
    assert incomplete.lacking == (("second", None),)
    assert incomplete.standing is None

    told = reported(instance)
    rows = str(told["comparison"]).splitlines()
    assert rows[2].startswith("| full | emr | small | $10.00 | 8 h | 20 min | cheapest | 2 |")
    assert "| ~$18.00 | 4 h | 20 min | ~$2.00 per hour |" in rows[3]
    assert "dominated" in rows[4]
    assert rows[5].startswith("| full | databricks | large | incomplete: $0.10 so far |")
    assert rows[5].endswith("| not compared | lacking second |")
    # Plotted over time.
    assert told["cost_usd emr small, full"] == pytest.approx(10.0)
    assert told["duration_s emr large, full"] == pytest.approx(4 * 3600)
    assert type(told["cost_usd emr small, full"]) is float
    assert "cost_usd databricks large, full" not in told
    # No word of a key is wider than the UI's column.
    assert max(len(word) for key in told for word in key.split()) < 30
    picture = str(told["chart full"])
    assert picture.startswith("![cost and time](data:image/png;base64,")
    data = picture.partition("base64,")[2].removesuffix(")")
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_partitions_are_added_up_and_one_that_is_lacking_is_named(
    instance: dg.DagsterInstance,
) -> None:
    for key in ("a", "b"):
        made(instance, "first", taking(1.0, 1), partition=key)
        made(instance, "second", taking(2.0, 1), partition=key)
        made(instance, "first", taking(0.2, 1), partition=key, cluster="large")
    made(instance, "second", taking(0.2, 1), partition="a", cluster="large")
    whole, part = comparison(instance, KEYS)
    assert (whole.combination.cluster, whole.bill.usd) == ("small", pytest.approx(6.0))
    assert part.lacking == (("second", "b"),)
    assert "lacking second [b]" in str(reported(instance)["comparison"])


def test_other_modes_are_compared_apart_and_this_machine_with_nothing(
    instance: dg.DagsterInstance,
) -> None:
    for step in KEYS:
        made(instance, step, taking(5.0, 4))
        made(instance, step, taking(1.0, 1), mode="small_dev_sample_s3")
        made(instance, step, Bill(run_s=60.0), engine="pyspark")
        made(instance, step, taking(1.0, 1, unpriced=["serverless DBU"]), engine="databricks")
    found = {
        (one.combination.mode, one.combination.engine): one for one in comparison(instance, KEYS)
    }
    standings = {key: one.standing is not None for key, one in found.items()}
    assert standings == {
        ("full", "emr"): True,
        ("small_dev_sample_s3", "emr"): True,
        ("full", "pyspark"): False,
        ("full", "databricks"): False,
    }
    # Nor is what was only rehearsed.
    for step in KEYS:
        made(instance, step, taking(0.01, 0.1), endpoint="rehearsal", cluster="large")
    told = reported(instance)
    wanted = {"chart full", "chart full, rehearsed", "cost_usd emr large, full, rehearsed"}
    assert wanted <= set(told)
    text = str(told["comparison"])
    alone = "not compared | 2 |"
    assert f"| full, rehearsed | emr | large | $0.02 | 12 min | 20 min | {alone}" in text
    assert not [word for word in ("cheapest", "dominated") if word in text]
    assert "> $2.00" in text
    assert "no price for serverless DBU" in text


def test_rehearsals_and_runs_that_hardly_differ_are_not_told_apart(
    instance: dg.DagsterInstance,
) -> None:
    for step in KEYS:
        made(instance, step, taking(5.0, 4))
        made(instance, step, taking(5.2, 3), cluster="large")
        made(instance, step, taking(0.1, 0.2), endpoint="rehearsal")
        made(instance, step, taking(9.0, 9.0), endpoint="rehearsal", cluster="large")
    assert [one.standing and one.standing.place.value for one in comparison(instance, KEYS)] == [
        "not told apart"
    ] * 4
    text = str(reported(instance)["comparison"])
    assert text.count("| not told apart |") == 4
    assert not [word for word in ("| cheapest", "| dominated", "$/h") if word in text]
    assert "differ by less than 10 %" in text


def test_what_failed_attempts_took_counts(instance: dg.DagsterInstance) -> None:
    for step in KEYS:
        made(instance, step, replace(taking(5.0, 4), tried_s=3600.0))
        made(instance, step, taking(6.0, 4.5), cluster="large")
    found = {one.combination.cluster: one for one in comparison(instance, KEYS)}
    assert found["small"].duration_s == pytest.approx(10 * 3600)
    assert found["large"].standing is not None
    assert found["large"].standing.on_front


def test_without_any_history(instance: dg.DagsterInstance) -> None:
    assert reported(instance) == {
        "comparison": "Nothing to compare yet: no materialisation of the pipeline's assets has a"
        " bill."
    }


def test_it_is_an_asset_of_every_pipeline_and_in_none_of_its_jobs() -> None:
    conf = PROJECT / "conf"
    client = SparkPipesClient(**default_choice(conf))
    definitions = build_definitions(conf, ["two_steps"], client)
    key = dg.AssetKey(["two_steps", NAME])
    asset = definitions.resolve_assets_def(key)
    assert asset.group_names_by_key[key] == "two_steps"
    assert asset.specs_by_key[key].kinds == {"report"}
    assert {dep.asset_key.path[-1] for dep in asset.specs_by_key[key].deps} == {"step_1", "step_2"}
    own = definitions.resolve_job_def(f"two_steps_{NAME}")
    assert own.asset_layer.selected_asset_keys == {key}
    whole = definitions.resolve_job_def("two_steps")
    assert key not in whole.asset_layer.selected_asset_keys
    named = PipelineConfig(name="x", input="i", output="o", steps={NAME: StepConfig(script="a.py")})
    assert cost_comparison(named) is None
