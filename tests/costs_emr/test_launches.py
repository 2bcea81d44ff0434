"""Costs of whole launches: in what the command line writes and says, and in Dagster's history."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ascii_hydra.assets.definitions import build_definitions
from ascii_hydra.assets.launchpad import SparkPipesClient
from ascii_hydra.config.compose import conf_folder
from ascii_hydra.costs.bill import Part
from ascii_hydra.costs.ledger import samples
from ascii_hydra.engines.step_costs import SHARED_KEY, bill_in
from ascii_hydra.engines.still_running_events import STILL_RUNNING_KEY
from ascii_hydra.outcome import Outcome
from ascii_hydra.step.choices import Engine, ExecutionMode
from tests.still_running_history import still_running

STEP = """
from ascii_hydra.step import SparkStep

class Light(SparkStep):
    def execute_business_logic(self, context, execution_mode, partition_key, spark, engine):
        if self.inputs:
            spark.read.parquet(*self.inputs.values()).write.mode("overwrite").parquet(self.output)
        else:
            spark.range(1000).write.mode("overwrite").parquet(self.output)
        context.report_asset_materialization(metadata={})

if __name__ == "__main__":
    Light.run()
"""


def launched(folder: Path, *overrides: str) -> tuple[subprocess.CompletedProcess[str], Outcome]:
    script = folder / "light.py"
    script.write_text(STEP, encoding="utf-8")
    home = folder / "home"
    home.mkdir(exist_ok=True)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "ascii_hydra", "engine=emr", "endpoint=rehearsal"),
            *("mode=small_dev_sample_s3", f"hydra.run.dir={folder / 'out'}"),
            f"pipeline.steps.step_1.script={script}",
            f"pipeline.steps.step_2.script={script}",
            *("rehearsal.step_minutes=60", "rehearsal.speed=5000"),
            *overrides,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        check=False,
        timeout=120,
    )
    return ran, Outcome.read(folder / "out" / "result.json")


def test_a_run_has_bills(tmp_path):
    ran, outcome = launched(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # Small: a primary and two workers, m5d.xlarge at $0.226, EMR $0.057, 15 GiB of gp3.
    hours = 1 + (210 + 15) / 3600
    each = 3 * hours * (0.226 + 0.057 + 15 / 720 * 0.08)
    assert [one.cost_usd for one in outcome.steps] == pytest.approx([each, each], rel=1e-3)
    assert outcome.cost_usd == pytest.approx(2 * each, rel=1e-3)
    assert outcome.shared is None
    first, second = outcome.steps
    assert (first.vcpus, first.memory_gib) == (8.0, 32.0)
    assert second.input_gb is not None
    assert second.input_gb > 0
    # rehearsal.step_minutes is what is expected.
    assert first.estimated_usd == pytest.approx(each, rel=1e-3)
    assert "step_1: cost $0.91 (estimated $0.91)" in ran.stdout
    assert "cost $1.81: compute $1.36, platform $0.34" in ran.stdout
    told = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert told["steps"][0]["bill"]["startup_idle_usd"] > 0
    kept = samples(tmp_path / "home")
    assert [(one.step, one.engine, one.cluster) for one in kept] == [
        ("step_1", "emr", "small"),
        ("step_2", "emr", "small"),
    ]
    assert kept[0].run_s == pytest.approx(3600, rel=1e-3)


def test_what_steps_share_is_told_beside_them(tmp_path):
    ran, outcome = launched(tmp_path, "launch.reuse_cluster=run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert outcome.shared is not None
    hour = 3 * (0.226 + 0.057 + 15 / 720 * 0.08)
    assert [one.cost_usd for one in outcome.steps] == pytest.approx([hour, hour], rel=1e-3)
    assert outcome.shared.usd > hour * 225 / 3600  # it idled between the steps, too
    assert outcome.cost_usd == pytest.approx(
        sum(one.cost_usd for one in outcome.steps) + outcome.shared.usd
    )
    assert "of it for what the steps shared, besides them" in ran.stdout


def test_a_budget_ends_a_launch(tmp_path):
    """Two starts of a cluster are within it, and a third one, after a failure, is not."""
    limit = 0.12
    ran, outcome = launched(
        tmp_path,
        f"launch.budget_usd={limit}",
        *("rehearsal.step_minutes=null", "rehearsal.speed=300"),
        "rehearsal.faults=[{target:cluster,effect:start_failure}]",
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    first, second = outcome.steps
    assert first.ending.value == "succeeded"
    assert first.bill.wasted_usd == pytest.approx(3 * 210 / 3600 * 0.2847, rel=0.01)
    assert second.error is not None
    assert second.error.startswith("launch.budget_usd=0.12: step_2 was stopped, $0.1")
    assert outcome.cost_usd == pytest.approx(limit, rel=0.15)
    # It is not ended at the very moment, and that is said.
    told = outcome.over_budget
    assert told is not None
    assert told.startswith(f"launch.budget_usd={limit} was passed: $0.1")
    assert told.endswith("because what was stopped is paid for until it has ended.")
    assert told in ran.stdout
    assert "of it wasted" in ran.stdout


def test_local_steps_cost_nothing_and_are_remembered(tmp_path):
    ran, outcome = launched(tmp_path, "engine=pyspark", "mode=small_dev_sample_local")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert outcome.cost_usd == 0.0
    kept = samples(tmp_path / "home")
    assert [one.engine for one in kept] == ["pyspark", "pyspark"]
    assert all(one.run_s > 0 and one.usd == 0.0 for one in kept)
    assert outcome.steps[1].input_gb > 0


def test_a_run_of_the_ui_has_what_its_steps_shared_in_its_history(tmp_path, cloud):
    """Nobody watches it: the resource itself ends the cluster."""
    script = tmp_path / "light.py"
    script.write_text(STEP, encoding="utf-8")
    cloud.behave(step_minutes=30, speed=3000.0)
    client = SparkPipesClient(
        engine=Engine.emr,
        mode=ExecutionMode.small_dev_sample_s3,
        overrides=[
            *("endpoint=rehearsal", f"endpoint.url={cloud.url}", "launch.reuse_cluster=run"),
            *(f"pipeline.steps.{one}.script={script}" for one in ("step_1", "step_2")),
        ],
    )
    definitions = build_definitions(conf_folder(), ["two_steps"], client)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("two_steps").execute_in_process(
            instance=instance, raise_on_error=False
        )
        events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    assert result.success
    told = [one.dagster_event.engine_event_data.metadata for one in events if one.dagster_event]
    (shared,) = [one for one in told if SHARED_KEY in one]
    assert shared["cost/shared_usd"].value > 3 * (0.226 + 0.057) * 225 / 3600
    found = bill_in(shared, SHARED_KEY)
    assert found is not None
    assert found.usd == shared["cost/shared_usd"].value
    bills = [bill_in(one) for one in told if "cost/usd" in one]
    assert [one.of(Part.startup_idle) for one in bills if one] == [0.0, 0.0]


def test_a_run_of_the_ui_has_the_shared_cluster_that_it_may_not_terminate_in_its_history(
    tmp_path, cloud
):
    """In red, with the command; and what the steps shared has no price until the cluster ends."""
    script = tmp_path / "light.py"
    script.write_text(STEP, encoding="utf-8")
    refused = {"target": "TerminateJobFlows", "effect": "refused", "times": 9_999}
    cloud.behave(refused, step_minutes=10, speed=500)
    client = SparkPipesClient(
        engine=Engine.emr,
        mode=ExecutionMode.small_dev_sample_s3,
        overrides=[
            *("endpoint=rehearsal", f"endpoint.url={cloud.url}", "launch.reuse_cluster=run"),
            "engine.idle_timeout_minutes=10080",
            *(f"pipeline.steps.{one}.script={script}" for one in ("step_1", "step_2")),
        ],
    )
    definitions = build_definitions(conf_folder(), ["two_steps"], client)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("two_steps").execute_in_process(
            instance=instance, raise_on_error=False
        )
        (cluster_id,) = cloud.alive()
        cloud.behave()
        cloud.emr.terminate_job_flows(JobFlowIds=[cluster_id])
        (left,) = still_running(instance, result.run_id)
        events = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    assert result.success
    assert left.resource == f"cluster {cluster_id}"
    assert left.command == (
        f"aws emr terminate-clusters --cluster-ids {cluster_id} --region us-east-1"
        f" --endpoint-url {cloud.url}"
    )
    told = [
        (one.level, one.message, one.dagster_event.engine_event_data.metadata)
        for one in events
        if one.dagster_event
    ]
    ((level, message, metadata),) = [one for one in told if STILL_RUNNING_KEY in one[2]]
    assert level == logging.ERROR
    assert message == f"shared by the steps: {left.sentence}"
    assert metadata["still_running/end_with"].value == left.command
    (shared,) = [one[2] for one in told if SHARED_KEY in one[2]]
    assert "cost/shared_usd" not in shared
    found = bill_in(shared, SHARED_KEY)
    assert found is not None
    assert found.unpriced == (left.unpriced,)
