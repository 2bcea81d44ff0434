"""What a run is expected to cost, from its configuration and the runs before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ascii_hydra.catalogue.prices import price_list
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.config.settle import Settings
from ascii_hydra.costs.bill import bill
from ascii_hydra.costs.ledger import Sample
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.estimate import PlannedRun, estimated, plan_estimates
from ascii_hydra.engines.planned import planned_usage
from ascii_hydra.engines.request import request
from tests.conftest import PROJECT
from tests.request_asking import run_of, settled

MINUTES = ("pipeline.steps.step_1.expected_minutes=30", "pipeline.steps.step_2.expected_minutes=12")
RUN = Sample(
    at="2026-11-20T10:00:00+00:00",
    endpoint="cloud",
    pipeline="two_steps",
    step="step_1",
    partition=None,
    mode="full",
    engine="emr",
    cluster="small",
    vcpus=8.0,
    startup_s=240.0,
    run_s=600.0,
    usd=0.2,
    estimated_usd=None,
    run_id="r",
)


def planned(engine: str, *overrides: str, history: tuple[Sample, ...] = ()) -> PlannedRun:
    return plan_estimates(settled(engine, *overrides), history)


def test_an_estimate_is_the_bill_of_the_planned_usage() -> None:
    run = run_of("emr")
    asked = request(run)
    history = [RUN, replace(RUN, run_s=500.0), replace(RUN, run_s=900.0)]
    made = estimated(run, asked, history)
    prices = price_list(PricesConfig(), "us-east-1")

    def cost(run_s: float) -> float | None:
        return bill([planned_usage(asked, 240.0, run_s)], prices).usd

    assert made.usd == cost(600.0)
    assert (made.low_usd, made.high_usd) == (cost(500.0), cost(900.0))
    assert (made.vcpus, made.memory_gib) == (8.0, 32.0)
    assert made.usd_per_hour == pytest.approx((cost(4200.0) or 0) - (cost(600.0) or 0))


def test_without_a_duration_there_is_its_start_up_and_what_an_hour_costs() -> None:
    run = run_of("emr")
    made = estimated(run, request(run), [])
    assert (made.usd, made.low_usd, made.high_usd) == (None, None, None)
    assert made.expected.startup_source == "assumed, as AWS's aws-emr-advisor does"
    assert made.usd_per_hour is not None
    # All of it is start-up: 210 s.
    assert made.bill.usd == pytest.approx(made.usd_per_hour * 210 / 3600)


def test_this_machine_costs_nothing_however_long_it_takes() -> None:
    run = run_of("pyspark", "mode=small_dev_sample_local")
    made = estimated(run, request(run), [])
    assert (made.usd, made.usd_per_hour, made.vcpus, made.memory_gib) == (0.0, 0.0, 2, 1.0)
    assert planned("pyspark", "mode=small_dev_sample_local").usd == 0.0


def test_the_total_is_known_when_everything_is() -> None:
    whole = planned("emr", *MINUTES)
    assert whole.usd == pytest.approx(sum(one.usd or 0.0 for one in whole.steps))
    assert (whole.lacking, whole.spread_usd) == ((), None)
    assert whole.duration_s == 42 * 60 + 2 * 210
    half = planned("emr", MINUTES[0])
    assert half.usd is None
    assert half.lacking == ("the duration of step_2",)
    assert half.duration_s is None
    # the start-up of step_2 is known
    assert half.known_usd == pytest.approx(
        (half.steps[0].usd or 0) + half.steps[1].estimate.bill.known_usd
    )


def test_the_spread_of_the_total_is_that_of_its_steps() -> None:
    history = (RUN, replace(RUN, run_s=900.0))
    whole = planned("emr", MINUTES[1], history=history)
    assert whole.spread_usd is not None
    low, high = whole.spread_usd
    first, second = whole.steps
    assert first.estimate.low_usd is not None
    assert low == pytest.approx(first.estimate.low_usd + (second.usd or 0))
    assert low < (whole.usd or 0) < high


def test_a_shared_cluster_starts_up_once() -> None:
    own, shared = planned("emr", *MINUTES), planned("emr", *MINUTES, "launch.reuse_cluster=run")
    assert all(one.estimate.expected.startup_s == 0 for one in shared.steps)
    started = own.steps[0].estimate.bill.startup_s / 3600 * (own.steps[0].hour.usd or 0)
    assert shared.shared.usd == pytest.approx(started)
    assert (own.usd or 0) - (shared.usd or 0) == pytest.approx(started)
    assert shared.duration_s == 42 * 60 + 210


def test_steps_of_several_engines_are_each_their_own() -> None:
    mixed = planned("emr", *MINUTES, "pipeline.steps.step_2.engine=databricks")
    emr, databricks = planned("emr", *MINUTES), planned("databricks", *MINUTES)
    assert mixed.steps[0].usd == emr.steps[0].usd
    assert mixed.steps[1].usd == databricks.steps[1].usd
    assert mixed.steps[1].estimate.expected.startup_s == 270


def test_what_is_metered_elsewhere_has_no_total() -> None:
    whole = planned("databricks", *MINUTES, "engine.serverless=true")
    assert (whole.usd, whole.known_usd) == (None, 0.0)
    assert whole.lacking == (
        "a price (serverless compute: its DBU are metered, and not known before) of step_1, step_2",
    )


def test_a_rehearsal_knows_its_own_times() -> None:
    words = ("endpoint=rehearsal", "mode=small_dev_sample_s3", "rehearsal.step_minutes=90")
    for engine, startup_s in (("emr", 225.0), ("databricks", 225.0)):
        takes = planned(engine, *words).steps[0].estimate.expected
        assert (takes.run_s, takes.source) == (5400.0, "rehearsal.step_minutes")
        assert takes.startup_s == startup_s
        assert takes.startup_source == "rehearsal.provisioning_seconds and bootstrap_seconds"
    # the cloud's own runs say nothing of it
    unknown = planned("emr", *words[:2], history=(RUN,)).steps[0].estimate.expected
    assert unknown.run_s is None


def test_photon_is_another_engine_as_far_as_durations_go() -> None:
    run = replace(RUN, engine="databricks")
    plain = planned("databricks", history=(run,)).steps[0].estimate.expected
    photon = planned("databricks", "cluster.photon=true", history=(run,)).steps[0]
    assert (plain.run_s, photon.estimate.expected.run_s) == (600.0, None)


# --- partitions -----------------------------------------------------------------------------------

WEBGRAPH = ("pipeline=webgraph", "pipeline.steps.edges.expected_minutes=60")


def partitioned(*overrides: str) -> Settings:
    return settled("pyspark", "mode=small_dev_sample_local", *WEBGRAPH, *overrides)


def test_partitions_of_an_input_on_this_machine_are_counted() -> None:
    counts = {one.step: one.partitions for one in plan_estimates(partitioned(), []).steps}
    crawls, queries = counts["edges"], counts["nodes"]
    assert crawls is not None
    assert queries is not None
    assert crawls > 1
    assert counts["graph"] == counts["graph_aggr"] == crawls * queries
    some = partitioned("pipeline.partitions=[SAMPLE-2024-10,night_sky]")
    assert [one.partitions for one in plan_estimates(some, []).steps] == [1, 1, 1, 1]


def test_partitions_of_an_input_in_a_cloud_are_not_known_before() -> None:
    whole = planned("emr", *WEBGRAPH)
    edges = next(one for one in whole.steps if one.step == "edges")
    assert (edges.partitions, edges.usd) == (None, None)
    assert edges.estimate.usd is not None
    assert "the number of partitions of nodes, edges, graph, graph_aggr" in whole.lacking
    assert whole.known_usd >= edges.estimate.usd


def test_somebody_who_may_ask_the_cloud_counts_them() -> None:
    sample = PROJECT / "samples"

    def opened(uri: str) -> object:
        return next(sample.rglob(uri.rpartition("/")[2])).open("rb")

    settings = settled("emr", *WEBGRAPH)
    edges = next(
        one
        for one in plan_estimates(settings, [], opened).steps  # type: ignore[arg-type]
        if one.step == "edges"
    )
    assert edges.partitions is not None
    assert edges.usd == pytest.approx(edges.partitions * (edges.estimate.usd or 0))
    assert edges.duration_s == edges.partitions * 3810


def test_an_input_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        plan_estimates(partitioned("pipeline.input=/nowhere"), [])


def test_the_request_is_the_one_that_is_submitted() -> None:
    one = planned("emr").steps[0]
    assert isinstance(one.asked, EmrRequest)
    assert one.asked == request(run_of("emr"))
