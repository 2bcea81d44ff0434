"""What Dagster's history is told of a step's costs, try after try."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import dagster as dg
import pytest

from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.config.schema import PricesConfig
from ascii_hydra.costs.bill import Bill
from ascii_hydra.costs.estimate import Estimate, Expected
from ascii_hydra.costs.ledger import samples
from ascii_hydra.costs.usage import InstanceUse, Usage
from ascii_hydra.engines.costing import Costing
from ascii_hydra.engines.step_costs import StepCosts, bill_in, told_costs
from ascii_hydra.step.choices import Engine

COSTING = Costing(price_list(PricesConfig(), "us-east-1"), None, "aws", "tests", "full", "small")
HOUR = InstanceUse("core", "m5.xlarge", Market.on_demand, 1, 3600.0, 3600.0, 3600.0)
HOUR_USD = 0.192 + 0.048
USED = Usage(Engine.emr, "us-east-1", (HOUR,), run_s=3600.0)
WASTED = replace(USED, wasted=True)


def tried(instance, tries, costing=COSTING):
    """An asset whose tries use what is given for each; all but the last fail.
    Returns its run's last bill, with its metadata."""

    @dg.asset(name="tried", retry_policy=dg.RetryPolicy(max_retries=len(tries) - 1))
    def made(context):
        said.append([])
        costs = StepCosts(context, costing, "tried", Engine.emr, said[-1].append)
        for usage in tries[context.retry_number]:
            costs.add(usage)
        costs.told()
        costs.told()
        if context.retry_number < len(tries) - 1:
            raise dg.Failure("again")

    said: list[list[str]] = []
    result = dg.materialize([made], instance=instance, raise_on_error=False)
    assert result.success
    told = told_costs(instance, result.run_id, "tried")
    assert told is not None
    assert [len(one) for one in said] == [1] * len(tries)
    return bill_in(told), told, said


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_earlier_tries_are_wasted_and_counted_once(instance):
    found, told, _ = tried(instance, [[WASTED], [WASTED], [USED]])
    assert found.usd == pytest.approx(3 * HOUR_USD)
    assert found.wasted_usd == pytest.approx(2 * HOUR_USD)
    assert told["cost/usd"].value == found.usd
    assert (found.run_s, found.tried_s) == (3600.0, 2 * 3600.0)


def test_usage_that_cannot_be_priced_is_named_and_fails_nothing(instance):
    odd = replace(USED, instances=(replace(HOUR, rented_s=None),))
    found, told, _ = tried(instance, [[WASTED], [odd]])
    assert found.usd is None
    (clause,) = found.unpriced
    assert clause.startswith("all of it, whose bill could not be made (TypeError: ")
    assert found.known_usd == pytest.approx(HOUR_USD)  # of the try before
    assert "cost/usd" not in told


def test_earlier_tries_that_cannot_be_read_are_named(instance, monkeypatch):
    real = dg.DagsterInstance.all_logs
    locked = iter([sqlite3.OperationalError("database is locked")])

    def all_logs(self, *args, **kwargs):
        for fault in locked:
            raise fault
        return real(self, *args, **kwargs)

    monkeypatch.setattr(dg.DagsterInstance, "all_logs", all_logs)
    found, _, _ = tried(instance, [[WASTED], [USED]])
    assert found.known_usd == pytest.approx(HOUR_USD)
    (clause,) = found.unpriced
    assert "earlier tries" in clause
    assert "database is locked" in clause


def test_the_estimate_stands_beside_the_bill(instance):
    takes = Expected(3600.0, None, None, 0.0, "told")
    estimate = Estimate(takes, Bill(), None, None, 0.5, 8.0, 8.0, 32.0)
    costing = replace(COSTING, estimate=replace(estimate, bill=found_bill(instance)))
    _, told, said = tried(instance, [[USED, USED]], costing)
    assert told["cost/estimated_usd"].value == pytest.approx(HOUR_USD)
    assert told["cost/estimate_error_pct"].value == pytest.approx(-50.0)
    assert said == [["cost $0.48 (estimated $0.24)"]]
    assert told["cost/vcpus"].value == 8.0


def found_bill(instance) -> Bill:
    return tried(instance, [[USED]])[0]


def test_only_what_made_the_asset_is_remembered(tmp_path):
    untold = Usage(Engine.emr, "us-east-1", not_counted=("a step of which EMR does not tell",))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        tried(instance, [[WASTED], [USED]])
        tried(instance, [[untold]])  # nobody knows how long it took
    (kept,) = samples(tmp_path)
    assert (kept.step, kept.engine, kept.run_s) == ("tried", "emr", 3600.0)
    assert kept.usd == pytest.approx(2 * HOUR_USD)
