"""The catalogue of instance types: that its figures can be true, and how types are chosen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby, pairwise
from typing import Any

import pytest

from ascii_hydra.aws.client import Place
from ascii_hydra.catalogue import InstanceType, instance_types, matching, size_rank
from ascii_hydra.catalogue.live import live_catalogue
from ascii_hydra.catalogue.matching import usd_per_hour
from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.config.choices import Architecture, CatalogueSource
from ascii_hydra.config.cluster_schema import InstanceFilters
from ascii_hydra.config.schema import Discounts, PricesConfig
from ascii_hydra.engines.emr.emr_request import EmrRequest
from ascii_hydra.engines.request import request
from ascii_hydra.engines.step_run import planned_run
from tests.emr_request.asking import filtered, settled

EVERY = instance_types()
LIST = price_list(PricesConfig(), "us-east-1")


def test_figures_can_be_true() -> None:
    assert len(EVERY) > 700
    for one in EVERY.values():
        assert one.vcpus > 0
        assert one.memory_gib > 0
        assert one.local_storage_gb >= 0
        assert size_rank(one.size) > 0


def test_a_family_grows_with_its_sizes() -> None:
    by_family = sorted(EVERY.values(), key=lambda one: (one.family, size_rank(one.size)))
    for family, members in groupby(by_family, key=lambda one: one.family):
        for smaller, larger in pairwise(members):
            assert smaller.vcpus <= larger.vcpus, family
            assert smaller.memory_gib <= larger.memory_gib, family
            assert smaller.architecture is larger.architecture


def test_sizes_are_in_order() -> None:
    order = "nano micro small medium large xlarge 2xlarge 3xlarge 9xlarge 12xlarge metal metal-48xl"
    ranks = [size_rank(one) for one in order.split()]
    assert ranks == sorted(set(ranks))
    for wrong in ("x", "huge", "xlarge2", "2large"):
        with pytest.raises(ValueError, match=wrong):
            size_rank(wrong)


def test_releases_offer_more_and_more() -> None:
    assert EVERY["m5d.xlarge"].offered_in("emr-7.0.0")
    assert not EVERY["m5d.large"].offered_in("emr-7.12.0")
    assert not EVERY["g7.2xlarge"].offered_in("emr-7.9.0")
    assert EVERY["g7.2xlarge"].offered_in("emr-7.12.0")
    assert EVERY["g7.2xlarge"].offered_in("emr-spark-8.0.0")
    assert EVERY["g7.2xlarge"].offered_in("emr-7.100.0")


def test_matching_is_by_price_with_an_estimated_fee_where_none_is_known() -> None:
    found = matching(InstanceFilters(vcpus=4, memory_gib=16), EVERY.values(), "emr-7.12.0", LIST)
    prices = [usd_per_hour(one.name, LIST) or 0 for one in found]
    assert prices == sorted(prices)
    assert all(prices)
    assert usd_per_hour("m6g.xlarge", LIST) == pytest.approx(1.25 * 0.154)
    assert usd_per_hour("m5d.xlarge", LIST) == pytest.approx(0.226 + 0.057)


def test_a_type_without_a_price_is_never_taken() -> None:
    filters = InstanceFilters(families=("c3",))
    assert EVERY["c3.xlarge"].offered_in("emr-7.12.0")
    assert matching(filters, EVERY.values(), "emr-7.12.0", LIST) == []


def test_a_discount_on_ec2_leaves_emrs_fee_as_it_is() -> None:
    """The fee is of the list price, whatever is paid for EC2."""
    half = price_list(PricesConfig(discounts=Discounts(ec2_pct=50)), "us-east-1")
    assert usd_per_hour("m5d.xlarge", half) == pytest.approx(0.113 + 0.057)
    assert usd_per_hour("m6g.xlarge", half) == pytest.approx(0.077 + 0.25 * 0.154)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (InstanceFilters(families=("m5d",), vcpus=8, vcpus_at_most=16), "m5d.2xlarge m5d.4xlarge"),
        (InstanceFilters(families=("m5d",), size_at_most="2xlarge"), "m5d.xlarge m5d.2xlarge"),
        (
            InstanceFilters(families=("r5d",), memory_gib=60, memory_gib_at_most=128),
            "r5d.2xlarge r5d.4xlarge",
        ),
        (
            InstanceFilters(families=("m5d", "m6gd"), storage_gb=200, size_at_most="xlarge"),
            "m6gd.xlarge",
        ),
        (
            InstanceFilters(
                families=("m5d", "m6gd"), architecture=Architecture.x86_64, size_at_most="xlarge"
            ),
            "m5d.xlarge",
        ),
    ],
)
def test_filters(filters: InstanceFilters, names: str) -> None:
    found = matching(filters, EVERY.values(), "emr-7.12.0", LIST)
    assert [one.name for one in found] == names.split()


# --- live ---------------------------------------------------------------------------------------


def product(name: str, price: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
    terms = {"OnDemand": {"sku.offer": {"priceDimensions": {"sku.offer.rate": dimension}}}}
    return json.dumps({"product": {"attributes": {"instanceType": name}}, "terms": terms})


def answer(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """AWS, as far as these tests ask it."""
    if operation == "ListSupportedInstanceTypes":
        assert asked["ReleaseLabel"] == "emr-7.12.0"
        types = [("m5d.xlarge", "X86_64"), ("zz9.xlarge", "AARCH64")]
        at = int(asked.get("Marker", 0))
        name, architecture = types[at]
        told = {"Type": name, "VCPU": 4, "MemoryGB": 15.25, "Architecture": architecture}
        more = {"Marker": str(at + 1)} if at + 1 < len(types) else {}
        return {"SupportedInstanceTypes": [{**told, "StorageGB": 150}], **more}
    fields = {one["Field"]: one["Value"] for one in asked["Filters"]}
    assert fields["regionCode"] == "eu-west-1"
    if asked["ServiceCode"] == "ElasticMapReduce":
        return {"PriceList": [product("m5d.xlarge", "0.0600000000")]}
    if "NextToken" in asked:
        return {"PriceList": [product("zz9.xlarge", "0.10"), product("other.xlarge", "1")]}
    return {"PriceList": [product("m5d.xlarge", "0.25")], "NextToken": "more"}


@contextmanager
def aws() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].split(".")[-1]
            reply = json.dumps(answer(operation, json.loads(body))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_live_types_and_prices_of_every_page() -> None:
    with aws() as url:
        place = Place("eu-west-1", url, rehearsal=True)
        found = live_catalogue(place, "emr-7.12.0", PricesConfig())
    assert set(found.instances) == {"m5d.xlarge", "zz9.xlarge"}
    assert found.instances["m5d.xlarge"].memory_gib == 16
    new: InstanceType = found.instances["zz9.xlarge"]
    assert (new.memory_gib, new.architecture) == (15.25, Architecture.arm64)
    assert new.offered_in("emr-7.12.0")
    known = found.prices.ec2("m5d.xlarge", Market.on_demand)
    assert known is not None
    assert (known.value, known.estimated) == (0.25, False)
    fees = [found.prices.emr_fee(name) for name in ("m5d.xlarge", "zz9.xlarge")]
    assert [fee and (fee.value, fee.estimated) for fee in fees] == [(0.06, False), (0.025, True)]
    # Not on today's list of the region.
    assert found.prices.ec2("m5d.2xlarge", Market.on_demand) is None


def test_a_launch_takes_live_types() -> None:
    with aws() as url:
        words = ("endpoint=rehearsal", f"endpoint.url={url}", "engine.region=eu-west-1")
        settings = filtered(
            settled(*words), source=CatalogueSource.live, architecture=Architecture.arm64
        )
        run = planned_run(settings, settings.steps["step_1"])
        made = request(run, live=True)
    assert isinstance(made, EmrRequest)
    assert made.run_job_flow is not None
    core = made.run_job_flow["Instances"]["InstanceFleets"][1]
    assert [one["InstanceType"] for one in core["InstanceTypeConfigs"]] == ["zz9.xlarge"]
