"""Bills of runs on the rehearsal workspace are those that one computes by hand."""

from __future__ import annotations

import pytest

from ascii_hydra.costs.bill import Part
from tests.costs_databricks.conftest import ALL_PURPOSE, JOBS, OWN_GIB, usd
from tests.databricks.conftest import fault

# Of the rehearsal: until a cluster is up, and after the script's end, in seconds.
START_S, END_S = 210.0, 5.0
HOUR_S = 3600.0
AN_HOUR = {"step_minutes": 60, "speed": 20_000}
SPOT_AWS = {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1, "zone_id": "auto"}
NODE = "m5d.xlarge"


def times(billed):
    """How long instances are paid for, and for how long of it DBU are."""
    assert billed.run_s == pytest.approx(HOUR_S, rel=1e-3)
    rented_s = billed.setup_s + billed.run_s + END_S
    charged_s = billed.setup_s - START_S + billed.run_s
    return {"rented_s": rented_s, "charged_s": charged_s}


@pytest.mark.parametrize(
    ("cluster", "nodes"),
    [
        pytest.param(
            {"num_workers": 0, "is_single_node": True, "kind": "CLASSIC_PREVIEW"},
            [{"kind": NODE}],
            id="single_node",
        ),
        pytest.param({"num_workers": 2}, [{"kind": NODE, "count": 3}], id="fixed"),
        pytest.param(
            {"num_workers": 2, "node_type_id": "m5d.2xlarge", "driver_node_type_id": NODE},
            [{"kind": NODE}, {"kind": "m5d.2xlarge", "count": 2}],
            id="another_driver",
        ),
        pytest.param(
            {"num_workers": 3, "aws_attributes": {**SPOT_AWS, "first_on_demand": 2}},
            [{"kind": NODE, "count": 2}, {"kind": NODE, "count": 2, "spot": True}],
            id="spot_workers_driver_on_demand",
        ),
        pytest.param(
            {"num_workers": 1, "runtime_engine": "PHOTON"},
            [{"kind": NODE, "count": 2, "photon": True}],
            id="photon",
        ),
        pytest.param(
            {
                "node_type_id": "m5.xlarge",
                "aws_attributes": {
                    "availability": "ON_DEMAND",
                    "ebs_volume_type": "GENERAL_PURPOSE_SSD",
                    "ebs_volume_count": 2,
                    "ebs_volume_size": 250,
                },
            },
            [{"kind": "m5.xlarge", "count": 2, "gib": OWN_GIB + 500}],
            id="ebs",
        ),
    ],
)
def test_a_cluster_of_its_own(till, cloud, cluster, nodes):
    cloud.behave(**AN_HOUR)
    billed = till.run(till.on("own", **cluster))
    assert billed.green
    expected = sum(usd(**one, **times(billed)) for one in nodes)
    assert billed.bill.usd == pytest.approx(expected, rel=1e-3)
    assert billed.metadata["cost/usd"] == pytest.approx(expected, rel=1e-3)
    assert sum(billed.bill.of(part) for part in Part) == pytest.approx(billed.bill.usd)
    assert billed.bill.run_s == pytest.approx(HOUR_S, rel=1e-3)
    assert billed.bill.startup_s == pytest.approx(billed.setup_s, rel=1e-3)
    assert billed.bill.wasted_usd == 0


def test_what_is_before_and_after_the_step_is_start_up_and_idle(till, cloud):
    cloud.behave(**AN_HOUR)
    billed = till.run(till.on("parts"))
    hours = 2 * HOUR_S / 3600
    assert billed.bill.of(Part.compute) == pytest.approx(hours * 0.226, rel=1e-3)
    assert billed.bill.of(Part.platform) == pytest.approx(hours * 0.69 * JOBS, rel=1e-3)
    assert billed.bill.of(Part.storage) == pytest.approx(hours * OWN_GIB * 0.08 / 720, rel=1e-3)
    assert billed.metadata["cost/dbu"] == pytest.approx(
        2 * 0.69 * times(billed)["charged_s"] / 3600, rel=1e-3
    )


def test_spot_that_fell_back_to_on_demand_is_told_by_the_nodes(till, cloud):
    cloud.behave(fault("cluster", "no_capacity", code="SPOT"), **AN_HOUR)
    billed = till.run(till.on("fallback", num_workers=2, aws_attributes=SPOT_AWS))
    assert billed.bill.usd == pytest.approx(usd(NODE, count=3, **times(billed)), rel=1e-3)
    assert not any("spot" in one.what for one in billed.bill.lines)
    assert not any("spot" in one for one in billed.bill.assumed)


def test_a_cluster_that_grew(till, cloud):
    """The rehearsal's asks for all workers after a minute, and has them when they have started."""
    cloud.behave(**AN_HOUR)
    request = till.on("grew", num_workers=None, autoscale={"min_workers": 1, "max_workers": 3})
    billed = till.run(request)
    later = {"rented_s": HOUR_S - 60 + END_S, "charged_s": HOUR_S - 60 - START_S}
    expected = usd(NODE, count=2, **times(billed)) + usd(NODE, count=2, **later)
    assert billed.bill.usd == pytest.approx(expected, rel=1e-3)


def test_an_existing_cluster_counts_while_the_step_executes(till, cloud, host):
    cloud.behave(step_minutes=60)  # at the usual speed: nobody waits for 10 hours of idle time
    billed = till.run(till.request("guest", task={"existing_cluster_id": host}))
    expected = usd(NODE, count=2, rented_s=HOUR_S, charged_s=HOUR_S, dbu_usd=ALL_PURPOSE)
    assert billed.bill.usd == pytest.approx(expected, rel=1e-3)
    assert billed.bill.of(Part.startup_idle) == 0
    assert not any("started for this run" in one for one in billed.bill.assumed)


def test_serverless_dbu_are_named_and_not_zero(till, cloud):
    cloud.behave(**AN_HOUR)
    billed = till.run(till.request("serverless", task={"environment_key": "step"}))
    assert billed.green
    assert billed.bill.usd is None
    assert "cost/usd" not in billed.metadata
    assert "system.billing.usage" in str(billed.metadata["cost/unpriced"])
    assert billed.bill.run_s == pytest.approx(HOUR_S, rel=1e-3)


def test_a_run_that_failed_first_is_wasted(till, cloud):
    """The first cluster fails when its instances have started; the second makes the asset."""
    cloud.behave(fault("cluster", "start_failure"), **AN_HOUR)
    billed = till.run(till.on("again"))
    assert billed.green
    assert cloud.result("tests/again ") == ["SUCCESS", "FAILED"]
    second_usd = usd(NODE, count=2, **times(billed))
    first_usd = usd(NODE, count=2, rented_s=START_S + END_S, charged_s=0)
    assert billed.bill.wasted_usd == pytest.approx(first_usd, rel=1e-3)
    assert billed.bill.usd == pytest.approx(first_usd + second_usd, rel=1e-3)
    assert billed.metadata["cost/wasted_usd"] == billed.bill.wasted_usd
    assert billed.bill.startup_s == pytest.approx(billed.setup_s, rel=1e-3)


def test_a_failed_step_has_a_bill(till, cloud):
    cloud.behave(**AN_HOUR)
    billed = till.run(till.on("failed", source="raise SystemExit('no')"))
    assert not billed.green
    assert billed.bill.usd == pytest.approx(usd(NODE, count=2, **times(billed)), rel=1e-3)
    assert billed.bill.wasted_usd == pytest.approx(billed.bill.usd)
    assert billed.metadata["cost/usd"] == billed.bill.usd


@pytest.mark.parametrize("hours", [0.38, 0.23, 5.71, 0.11])
def test_the_papers_runs_on_databricks(till, cloud, hours):
    """8 workers on spot but one, and the driver, for as long as the paper's five runs took; two of
    them took 0.38 h."""
    cloud.behave(speed=20_000, step_minutes=hours * 60)
    request = till.on(
        "paper",
        num_workers=8,
        node_type_id="m5d.2xlarge",
        driver_node_type_id=NODE,
        aws_attributes={**SPOT_AWS, "first_on_demand": 2},
    )
    billed = till.run(request)
    rented_s = billed.setup_s + hours * 3600 + END_S
    each = {"rented_s": rented_s, "charged_s": billed.setup_s - START_S + hours * 3600}
    expected = (
        usd(NODE, **each)
        + usd("m5d.2xlarge", **each)
        + usd("m5d.2xlarge", count=7, spot=True, **each)
    )
    assert billed.bill.usd == pytest.approx(expected, rel=0.01)
