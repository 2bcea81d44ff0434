"""What a request would use: every instance of it, with its market and its disks."""

from __future__ import annotations

import pytest

from ascii_hydra.catalogue.prices import Market
from ascii_hydra.costs.bill import Part, bill
from ascii_hydra.costs.usage import Disk, Usage
from ascii_hydra.engines.planned import planned_usage
from ascii_hydra.engines.request import request
from tests.costs.fixed_prices import PRICES
from tests.request_asking import run_of

OD, SPOT = Market.on_demand, Market.spot
ROOT, OWN = ((("gp3", 15.0),), (("gp3", 180.0),))


def usage_of(
    engine: str, *overrides: str, startup_s: float = 200.0, run_s: float = 3600.0
) -> Usage:
    return planned_usage(request(run_of(engine, *overrides)), startup_s, run_s)


def told(usage: Usage) -> list[tuple[object, ...]]:
    return [
        (
            one.role,
            one.instance_type,
            one.market,
            one.count,
            tuple((disk.volume_type, float(disk.gib)) for disk in one.disks),
        )
        for one in usage.instances
    ]


def test_emr_on_demand() -> None:
    usage = usage_of("emr", "cluster=large")
    assert told(usage) == [
        ("primary", "m5d.xlarge", OD, 1, ROOT),
        ("core", "m5d.4xlarge", OD, 8, ROOT),
    ]
    assert {(one.rented_s, one.charged_s, one.worked_s) for one in usage.instances} == {
        (3800.0, 3800.0, 3600.0)
    }
    assert (usage.region, usage.sku, usage.assumed, usage.not_counted) == (
        "us-east-1",
        None,
        (),
        (),
    )


@pytest.mark.parametrize("collection", ["fleets", "groups"])
def test_emr_with_spot_and_volumes(collection: str) -> None:
    usage = usage_of(
        "emr",
        "cluster=large",
        "cluster.spot_share=0.5",
        "cluster.worker_instance_types=[m5.4xlarge]",
        "cluster.ebs.root_size_gib=20",
        f"cluster.instance_collection={collection}",
    )
    disks = (("gp3", 620.0),)
    assert told(usage) == [
        ("primary", "m5d.xlarge", OD, 1, (("gp3", 20.0),)),
        ("core", "m5.4xlarge", OD, 4, disks),
        ("task", "m5.4xlarge", SPOT, 4, disks),
    ]


def test_emr_volumes_of_another_type_are_apart() -> None:
    usage = usage_of(
        "emr", "cluster.ebs.volumes=2", "cluster.ebs.size_gib=500", "cluster.ebs.volume_type=st1"
    )
    assert usage.instances[0].disks == (Disk("gp3", 15), Disk("st1", 1000))


def test_emr_counts_capacity_in_units_of_the_first_alternative() -> None:
    primary = {"InstanceType": "m5d.xlarge"}
    workers = [
        {"InstanceType": "m5d.2xlarge", "WeightedCapacity": 2},
        {"InstanceType": "m5d.xlarge", "WeightedCapacity": 1},
    ]
    fleets = [
        {
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [primary],
        },
        {
            "InstanceFleetType": "CORE",
            "TargetOnDemandCapacity": 7,
            "TargetSpotCapacity": 4,
            "InstanceTypeConfigs": workers,
        },
    ]
    run = run_of("emr", emr_job_config={"Instances": {"InstanceFleets": fleets}})
    usage = planned_usage(request(run), 200.0, 3600.0)
    assert [one[:4] for one in told(usage)] == [
        ("primary", "m5d.xlarge", OD, 1),
        ("core", "m5d.2xlarge", OD, 4),
        ("core", "m5d.2xlarge", SPOT, 2),
    ]
    assert usage.assumed == ("m5d.2xlarge for the core fleet, where EMR may choose m5d.xlarge",)


def test_emr_that_may_grow_is_counted_as_it_starts() -> None:
    usage = usage_of("emr", "cluster=large", "cluster.max_workers=16")
    assert [one[:4] for one in told(usage)] == [
        ("primary", "m5d.xlarge", OD, 1),
        ("core", "m5d.4xlarge", OD, 7),
        ("task", "m5d.4xlarge", OD, 1),
    ]
    assert usage.assumed == ("8 workers, where managed scaling may grow to 16",)


def test_a_shared_cluster_is_a_share_and_has_no_minute() -> None:
    shared = usage_of("emr", "launch.reuse_cluster=run", startup_s=0.0, run_s=10.0)
    own = usage_of("emr", startup_s=0.0, run_s=10.0)
    assert all(one.share for one in shared.instances)
    assert bill([own], PRICES).known_usd == pytest.approx(6 * bill([shared], PRICES).known_usd)


def test_databricks_on_demand() -> None:
    usage = usage_of("databricks", "cluster=large")
    assert told(usage) == [
        ("driver", "m5d.xlarge", OD, 1, OWN),
        ("worker", "m5d.4xlarge", OD, 8, OWN),
    ]
    # Instances are paid while the cluster starts, DBU are not.
    assert {(one.rented_s, one.charged_s, one.worked_s) for one in usage.instances} == {
        (3800.0, 3600.0, 3600.0)
    }
    assert (usage.sku, usage.photon) == ("JOBS_COMPUTE", False)
    assert usage.assumed == ("180 GiB of gp3 that Databricks attaches to every instance",)


def test_databricks_keeps_the_driver_and_the_first_on_demand() -> None:
    usage = usage_of(
        "databricks",
        *("cluster=large", "cluster.spot_share=0.75", "cluster.max_workers=12"),
        *("cluster.photon=true", "cluster.ebs.volumes=2", "cluster.ebs.size_gib=100"),
    )
    disks = (("gp3", 380.0),)
    assert told(usage) == [
        ("driver", "m5d.xlarge", OD, 1, disks),
        ("worker", "m5d.4xlarge", OD, 2, disks),
        ("worker", "m5d.4xlarge", SPOT, 6, disks),
    ]
    assert usage.photon
    assert usage.assumed[1:] == ("8 workers, where autoscaling may grow to 12",)


def test_databricks_pools_of_a_launch_say_what_their_instances_are() -> None:
    usage = usage_of(
        "databricks",
        *("launch.reuse_cluster=run", "cluster=medium", "cluster.spot_share=0.5"),
        *("cluster.worker_node_type=m5.2xlarge",),
    )
    disks = (("gp3", 480.0),)
    # A pool is on spot or it is not: all workers are from one.
    assert told(usage) == [
        ("driver", "m5d.xlarge", OD, 1, disks),
        ("worker", "m5.2xlarge", SPOT, 4, disks),
    ]
    assert usage.assumed[-1] == "instances of the launch's pools do not wait for the next step"


def test_databricks_single_node() -> None:
    config = {"kind": "CLASSIC_PREVIEW", "is_single_node": True}
    run = run_of("databricks", databricks_cluster_config=config)
    usage = planned_usage(request(run), 200.0, 3600.0)
    assert told(usage) == [("driver", "m5d.xlarge", OD, 1, OWN)]


@pytest.mark.parametrize(
    ("engine", "override", "sku", "named"),
    [
        ("emr", "engine.cluster_id=j-ABC123", None, "existing cluster j-ABC123"),
        (
            "databricks",
            "engine.cluster_id=0123-012345-abc",
            "ALL_PURPOSE_COMPUTE",
            "existing cluster 0123-012345-abc",
        ),
        ("databricks", "engine.serverless=true", "JOBS_SERVERLESS_COMPUTE", "serverless compute"),
        ("databricks", "cluster.pool_id=a-pool", "JOBS_COMPUTE", "existing pool a-pool"),
    ],
)
def test_what_is_not_known_is_named_and_not_free(
    engine: str, override: str, sku: str | None, named: str
) -> None:
    usage = usage_of(engine, override)
    assert usage.instances == ()
    assert usage.sku == sku
    [clause] = usage.not_counted
    assert clause.startswith(f"{named}: ")
    assert bill([usage], PRICES).usd is None


# The twelve rows of the cost table of arXiv 2408.11635: hours, and by hand, to the cent, what EC2,
# the platform, EBS and all would cost on a large cluster (1 m5d.xlarge and 8 m5d.4xlarge). An hour
# on EMR: 0.226 + 8 x 0.904 = 7.458; 0.057 + 8 x 0.226 = 1.865; 9 x 15 GiB x 0.08 / 720 = 0.015.
# An hour on Databricks: 7.458; (0.69 + 8 x 2.74) x 0.15 = 3.3915; 9 x 180 GiB x 0.08 / 720 = 0.18.
PAPER = [
    ("emr", 0.35, (2.61, 0.65, 0.01, 3.27)),
    ("emr", 9.99, (74.51, 18.63, 0.15, 93.29)),
    ("databricks", 0.38, (2.83, 1.29, 0.07, 4.19)),
    ("emr", 0.27, (2.01, 0.50, 0.00, 2.52)),
    ("databricks", 0.23, (1.72, 0.78, 0.04, 2.54)),
    ("databricks", 5.71, (42.59, 19.37, 1.03, 62.98)),
    ("databricks", 0.38, (2.83, 1.29, 0.07, 4.19)),
    ("databricks", 0.11, (0.82, 0.37, 0.02, 1.21)),
    ("emr", 0.43, (3.21, 0.80, 0.01, 4.02)),
    ("emr", 10.49, (78.23, 19.56, 0.16, 97.96)),
    ("emr", 0.94, (7.01, 1.75, 0.01, 8.78)),
    ("emr", 0.23, (1.72, 0.43, 0.00, 2.15)),
]


@pytest.mark.parametrize(("engine", "hours", "by_hand"), PAPER)
def test_durations_of_the_paper(
    engine: str, hours: float, by_hand: tuple[float, float, float, float]
) -> None:
    usage = usage_of(engine, "cluster=large", startup_s=0.0, run_s=hours * 3600)
    made = bill([usage], PRICES)
    assert made.usd is not None
    parts = (Part.compute, Part.platform, Part.storage)
    assert (*(round(made.of(part), 2) for part in parts), round(made.usd, 2)) == by_hand
    assert made.of(Part.startup_idle) == 0
