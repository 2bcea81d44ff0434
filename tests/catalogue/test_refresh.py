"""`action=refresh_prices`: what is asked, kept and refused, against the rehearsal cloud and against
answers in AWS's and Databricks' shapes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from ascii_hydra.aws.client import Place
from ascii_hydra.catalogue import aws_prices, databricks_prices
from ascii_hydra.catalogue.databricks_prices import STATEMENT
from ascii_hydra.catalogue.price_tables import (
    PACKAGED,
    Figure,
    Kind,
    Source,
    Table,
    sources_of,
    table_of,
    written,
)
from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.catalogue.refresh import refreshed
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import PricesConfig, RehearsalConfig
from ascii_hydra.config.settle import Settings
from ascii_hydra.rehearsal.started import started
from tests.conftest import CommandLine
from tests.rehearsal_cloud import RehearsalCloud
from tests.request_asking import settled as composed_and_settled

HERE = "us-east-1"
REAL = Source("aws-price-list-2026-01-01", "2026-01-01", exact=True, what="AWS Price List API")


def today() -> str:
    return datetime.now(UTC).date().isoformat()


@pytest.fixture(scope="module")
def _cloud() -> Iterator[RehearsalCloud]:
    with started(RehearsalConfig()) as url:
        yield RehearsalCloud(url)


@pytest.fixture
def cloud(_cloud: RehearsalCloud) -> RehearsalCloud:
    _cloud.behave()
    return _cloud


def settled(engine: str, *overrides: str) -> Settings:
    return composed_and_settled(engine, "action=refresh_prices", *overrides)


def asked(url: str, folder: Path, *overrides: str, engine: str = "emr") -> Settings:
    words = ("endpoint=rehearsal", f"endpoint.url={url}", f"prices.folder={folder}", *overrides)
    return settled(engine, *words)


def said(settings: Settings) -> str:
    lines: list[str] = []
    refreshed(settings, lines.append)
    return "\n".join(lines)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def values(table: Table, kind: Kind) -> dict[str, float]:
    return {item: figure.value for (of, item), figure in table.items() if of is kind}


# --- the rehearsal ------------------------------------------------------------------------------


def test_prices_of_emr(cloud: RehearsalCloud, tmp_path: Path) -> None:
    begun = today()
    told = said(asked(cloud.url, tmp_path))
    assert told.splitlines() == [
        "EC2 on demand in us-east-1: 601 prices; none has changed by more than 5 %.",
        "EC2 spot in us-east-1: 590 prices, 590 of them new; none has changed by more than 5 %.",
        "EMR's fee in us-east-1: 81 prices; none has changed by more than 5 %.",
        "EBS in us-east-1: 3 prices; none has changed by more than 5 %.",
        f"Kept in {tmp_path}.",
    ]
    table, packaged = table_of(tmp_path, HERE), table_of(PACKAGED, HERE)
    for kind in (Kind.ec2_on_demand, Kind.emr_fee, Kind.ebs):
        assert values(table, kind) == values(packaged, kind)
    assert values(table, Kind.dbu) == {}
    # The median of three zones, the middle of which has the usual price.
    spot = price_list(PricesConfig(folder=str(tmp_path)), HERE).ec2("m5d.xlarge", Market.spot)
    assert spot is not None
    assert spot.value == pytest.approx(0.226 * 0.47, rel=1e-4)
    assert begun <= spot.date <= today()
    assert spot.estimated
    assert "the rehearsal's stand-in for EC2's spot price history" in spot.source


def test_a_second_run_changes_nothing(cloud: RehearsalCloud, tmp_path: Path) -> None:
    said(asked(cloud.url, tmp_path))
    before = content(tmp_path)
    said(asked(cloud.url, tmp_path))
    assert content(tmp_path) == before


def test_prices_of_databricks(cloud: RehearsalCloud, tmp_path: Path) -> None:
    settings = asked(cloud.url, tmp_path, "prices.warehouse_id=rehearsal", engine="databricks")
    begun = today()
    told = said(settings)
    assert "a DBU in us-east-1: 14 prices; none" in told
    assert "EMR's fee" not in told
    packaged = values(table_of(PACKAGED, HERE), Kind.dbu)
    assert values(table_of(tmp_path, HERE), Kind.dbu) == packaged
    dbu = price_list(PricesConfig(folder=str(tmp_path)), HERE).dbu("JOBS_SERVERLESS_COMPUTE")
    assert dbu is not None
    assert dbu.value == 0.35
    assert begun <= dbu.date <= today()


@pytest.mark.parametrize(
    ("warehouse", "words"),
    [
        ("null", "prices.warehouse_id: is not set; Databricks tells its prices by a query"),
        ("other", "SQL warehouse other does not exist"),
    ],
)
def test_without_a_warehouse_the_other_prices_are_had(
    cloud: RehearsalCloud, tmp_path: Path, warehouse: str, words: str
) -> None:
    one = f"prices.warehouse_id={warehouse}"
    told = said(asked(cloud.url, tmp_path, one, engine="databricks"))
    assert "EC2 on demand in us-east-1: 601 prices" in told
    assert f"Not had, so that what was known stays: a DBU in us-east-1: {words}" in told
    assert values(table_of(tmp_path, HERE), Kind.dbu) == {}
    assert price_list(PricesConfig(folder=str(tmp_path)), HERE).dbu("JOBS_COMPUTE") is not None


def test_what_fails_keeps_its_old_values(cloud: RehearsalCloud, tmp_path: Path) -> None:
    said(asked(cloud.url, tmp_path))
    spot = values(table_of(tmp_path, HERE), Kind.ec2_spot)
    ebs = tmp_path / "prices_us_east_1.csv"
    ebs.write_text(ebs.read_text().replace("ebs,gp3,0.08,", "ebs,gp3,0.1,"))
    fault = {"target": "DescribeSpotPriceHistory", "effect": "refused", "times": 9}
    cloud.behave({**fault, "code": "UnauthorizedOperation", "message": "You are not authorized."})
    told = said(asked(cloud.url, tmp_path))
    assert "EBS in us-east-1: 3 prices; 1 changed by more than 5 %: gp3 0.1 -> 0.08." in told
    assert "what was known stays: EC2 spot in us-east-1: An error occurred" in told
    assert "You are not authorized" in told
    table = table_of(tmp_path, HERE)
    assert values(table, Kind.ec2_spot) == spot
    assert table[Kind.ebs, "gp3"].value == 0.08


def test_nothing_had_at_all(cloud: RehearsalCloud, tmp_path: Path) -> None:
    said(asked(cloud.url, tmp_path))
    before = content(tmp_path)
    cloud.behave(
        *(
            {"target": one, "effect": "refused", "times": 99, "message": "Not for you."}
            for one in ("GetProducts", "DescribeSpotPriceHistory")
        )
    )
    with pytest.raises(ConfigError, match=r"Not for you\.") as fault:
        said(asked(cloud.url, tmp_path))
    told = str(fault.value)
    for kind in ("EC2 on demand", "EC2 spot", "EMR's fee", "EBS"):
        assert f"{kind} in us-east-1" in told
    assert content(tmp_path) == before


def test_prices_of_a_rehearsal_and_real_ones_are_kept_apart(
    cloud: RehearsalCloud, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"prices\.folder=prices: the prices of a rehearsal"):
        said(asked(cloud.url, Path("prices")))
    with pytest.raises(ConfigError, match="the prices of a rehearsal would count"):
        said(asked(cloud.url, Path("elsewhere/../prices")))
    written(tmp_path, {HERE: {(Kind.ebs, "gp3"): Figure(0.08, REAL)}})
    with pytest.raises(ConfigError, match="would count in plans and bills of the cloud"):
        said(asked(cloud.url, tmp_path))
    assert set(sources_of(tmp_path)) == {REAL.name}
    said(asked(cloud.url, tmp_path / "rehearsed"))
    with pytest.raises(ConfigError, match="has the prices of a rehearsal: delete it"):
        said(settled("emr", f"prices.folder={tmp_path / 'rehearsed'}"))


def test_a_folder_that_cannot_be_written(cloud: RehearsalCloud, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"prices\.folder: .*file/in cannot be written: "):
        said(asked(cloud.url, tmp_path / "file" / "in"))


def test_a_run_without_a_cloud(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no step of this run is in a cloud"):
        said(settled("pyspark", "mode=small_dev_sample_local", f"prices.folder={tmp_path}"))


# --- answers that nobody expects ----------------------------------------------------------------


def offer(item: str, usd: str, unit: str = "Hrs", name: str = "instanceType") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}, "description": "", "appliesTo": []}
    offers = {"SKU.JRTCKXETXF": {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension}}}
    product = {"productFamily": "any", "attributes": {name: item}, "sku": "SKU"}
    return json.dumps({"product": product, "terms": {"OnDemand": offers}, "version": "1"})


ON_DEMAND = [
    offer("m5.xlarge", "0.2000000000"),
    offer("m5.xlarge", "0.0000000000"),  # a reservation's
    offer("m5.2xlarge", "-0.384"),
    offer("m5.4xlarge", "768"),
    offer("m5.8xlarge", "one dollar"),
    offer("c5.xlarge", "0.17"),
    offer("c5.xlarge", "0.21"),
    offer("r5.xlarge", "0.7"),
    offer("r5.2xlarge", "0.6"),
    offer("r5.4xlarge", "1.008", unit="Quantity"),
    offer("zz9.xlarge", "1.0"),
]
FEES = [offer("m5.xlarge", "0.05"), offer("m5.2xlarge", "0.40")]
VOLUMES = [
    offer("gp3", "0.08", "GB-Mo", "volumeApiName"),
    offer("io1", "0.125", "GB-Mo", "volumeApiName"),
]


@contextmanager
def answering(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[str]:
    """An HTTP server: `answer` gets the path and the body, and returns a status and a reply."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                asked = json.loads(body or b"{}")
            except ValueError:  # EC2's
                asked = {}
            status, told = answer(self.path, asked)
            reply = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self) -> None:
            self.do_POST()

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


def answer(_path: str, asked: Any) -> tuple[int, Any]:
    """AWS, with garbage among its prices."""
    if "ServiceCode" not in asked:  # EC2 would answer in XML
        return 200, {}
    if asked["ServiceCode"] == "ElasticMapReduce":
        return 200, {"PriceList": FEES}
    storage = any(one["Value"] == "Storage" for one in asked["Filters"])
    return 200, {"PriceList": VOLUMES if storage else ON_DEMAND}


def test_prices_that_cannot_be_true_are_refused_and_named(tmp_path: Path) -> None:
    with answering(answer) as url:
        told = said(asked(url, tmp_path))
    for line in (
        "m5.2xlarge is refused, what was known stays: -0.384 cannot be USD per hour.",
        "m5.4xlarge is refused, what was known stays: 768 is 1e+03 times what it was.",
        "m5.8xlarge is refused, what was known stays: 'one dollar' is no number.",
        "c5.xlarge is refused, what was known stays: it is listed at 0.17 and at 0.21.",
        "r5.xlarge is refused, what was known stays: 0.6 of r5.2xlarge is below 0.7 of r5.xlarge.",
        "r5.2xlarge is refused, what was known stays: 0.6 of r5.2xlarge is below 0.7 of r5.xlarge.",
    ):
        assert f"EC2 on demand in us-east-1: {line}" in told
    fee = "m5.2xlarge is refused, what was known stays: 0.4 is not below EC2's own price, 0.384."
    assert f"EMR's fee in us-east-1: {fee}" in told
    assert "what was known stays: EC2 spot in us-east-1: Unable to parse response" in told
    table = table_of(tmp_path, HERE)
    assert values(table, Kind.ec2_on_demand) == {"m5.xlarge": 0.2}
    assert values(table, Kind.emr_fee) == {"m5.xlarge": 0.05}
    assert values(table, Kind.ebs) == {"gp3": 0.08}
    prices = price_list(PricesConfig(folder=str(tmp_path)), HERE)
    usd = [prices.ec2(name, Market.on_demand) for name in ("m5.xlarge", "m5.2xlarge", "c5.xlarge")]
    assert [one and one.value for one in usd] == [0.2, 0.384, 0.17]


def test_only_garbage_is_nothing_had(tmp_path: Path) -> None:
    def garbage(_path: str, _asked: Any) -> tuple[int, Any]:
        return 200, {"PriceList": ['{"product": {}}']}

    with answering(garbage) as url, pytest.raises(ConfigError) as fault:
        said(asked(url, tmp_path))
    assert "a product of AmazonEC2 is not as AWS documents it (KeyError: 'attributes')" in str(
        fault.value
    )
    assert list(tmp_path.iterdir()) == []


def test_spot_is_the_median_of_the_zones_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies are checked against botocore's service model."""
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    ec2 = boto3.client("ec2", region_name=HERE, **keys)
    now = datetime.now(UTC)

    def change(zone: str, usd: str, hours: float) -> dict[str, Any]:
        return {
            "AvailabilityZone": f"{HERE}{zone}",
            "InstanceType": "m5.xlarge",
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": usd,
            "Timestamp": now - timedelta(hours=hours),
        }

    pages = (
        [change("a", "0.09", 5), change("a", "0.08", 1), change("b", "0.07", 30)],
        [change("c", "0.06", 2), change("c", "0.01", -1), change("b", "0.99", 31)],
    )
    with Stubber(ec2) as stub:
        for number, page in enumerate(pages):
            more = {"NextToken": "more"} if number == 0 else {}
            stub.add_response("describe_spot_price_history", {"SpotPriceHistory": page, **more})
        monkeypatch.setattr(aws_prices, "aws_client", lambda _service, _place: ec2)
        told = aws_prices.aws_prices(Kind.ec2_spot, Place(HERE), HERE)
        stub.assert_no_pending_responses()
    assert told.values == {"m5.xlarge": 0.07}


# --- the query of Databricks --------------------------------------------------------------------


def statement(state: str, **more: Any) -> tuple[int, Any]:
    return 200, {"statement_id": "s-1", "status": {"state": state}, **more}


def test_a_warehouse_that_has_to_start_and_a_result_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(databricks_prices, "_PAUSE_S", 0.01)
    asked: list[str] = []

    def answer(path: str, body: Any) -> tuple[int, Any]:
        asked.append(path)
        if path == "/api/2.0/sql/statements":
            assert (body["warehouse_id"], body["statement"]) == ("w-1", STATEMENT)
            return statement("PENDING")
        if path.endswith("/result/chunks/1"):
            rows = [["ENTERPRISE_JOBS_COMPUTE", "0.20"], ["PREMIUM_SQL_COMPUTE", "0.22"]]
            return 200, {"chunk_index": 1, "data_array": rows}
        if asked.count(path) < 3:
            return statement("RUNNING")
        rows = [["PREMIUM_JOBS_COMPUTE", "0.15"], ["PREMIUM_ALL_PURPOSE_COMPUTE", "0.55"]]
        rows += [["PREMIUM_JOBS_SERVERLESS_COMPUTE_AP_TOKYO", "0.39"]]
        rows += [["ENTERPRISE_ALL_PURPOSE_COMPUTE", usd] for usd in ("0.65", "0.70")]
        result = {"chunk_index": 0, "next_chunk_index": 1, "data_array": rows}
        return statement("SUCCEEDED", result=result)

    with answering(answer) as url:
        told = _dbu(url, monkeypatch)
    assert told.values == {
        "premium/JOBS_COMPUTE": 0.15,
        "premium/ALL_PURPOSE_COMPUTE": 0.55,
        "premium/JOBS_SERVERLESS_COMPUTE": 0.39,
        "enterprise/JOBS_COMPUTE": 0.2,
    }
    assert told.refused == {
        "enterprise/ALL_PURPOSE_COMPUTE": "it is listed at 0.65 and at 0.70",
    }


def _dbu(url: str, monkeypatch: pytest.MonkeyPatch) -> aws_prices.Told:
    config = Config(host=url, token="any", auth_type="pat", retry_timeout_seconds=1)
    client = WorkspaceClient(config=config)
    monkeypatch.setattr(databricks_prices, "workspace_client", lambda _: client)
    workspace = databricks_prices.Workspace(url)
    return databricks_prices.dbu_prices(workspace, "w-1", "ap-northeast-1")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            (
                200,
                {
                    "statement_id": "s-1",
                    "status": {
                        "state": "FAILED",
                        "error": {
                            "error_code": "BAD_REQUEST",
                            "message": "[TABLE_OR_VIEW_NOT_FOUND] system.billing.list_prices",
                        },
                    },
                },
            ),
            r"ended as FAILED: \[TABLE_OR_VIEW_NOT_FOUND\] system.billing.list_prices",
        ),
        (statement("CANCELED"), "ended as CANCELED: Databricks does not say why"),
        (
            statement("SUCCEEDED", result={"chunk_index": 0, "data_array": [["A", None]]}),
            r"a row of the list prices is \['A', None\]",
        ),
    ],
)
def test_a_query_that_brings_nothing(
    monkeypatch: pytest.MonkeyPatch, reply: tuple[int, Any], words: str
) -> None:
    with (
        answering(lambda _path, _asked: reply) as url,
        pytest.raises(aws_prices.UnreadableError, match=words),
    ):
        _dbu(url, monkeypatch)


# --- the command line ---------------------------------------------------------------------------

LINE = ("action=refresh_prices", "engine=emr", "mode=small_dev_sample_s3")


def test_the_command_line(command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line(*LINE, "endpoint=rehearsal", f"prices.folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "EC2 on demand in us-east-1: 601 prices" in done.stderr
    assert f"Kept in {tmp_path}." in done.stderr
    assert len(table_of(tmp_path, HERE)) > 1000


def test_the_command_line_without_credentials(command_line: CommandLine, tmp_path: Path) -> None:
    nowhere = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    folder = tmp_path / "prices"
    done = command_line(*LINE, f"prices.folder={folder}", extra=nowhere)
    assert done.returncode == 1
    assert "there are no credentials for AWS" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not folder.exists()
