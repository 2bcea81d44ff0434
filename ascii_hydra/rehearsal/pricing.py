"""The Pricing API of the rehearsal: the package's own prices, in AWS's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ascii_hydra.aws.model import model_problems
from ascii_hydra.catalogue.instances import instance_types
from ascii_hydra.catalogue.price_tables import HOME_REGION, PACKAGED, Kind, table_of
from ascii_hydra.rehearsal.emr_errors import ApiError

_PAGE = 100
_REGIONAL = {"regionCode": HOME_REGION, "locationType": "AWS Region"}
_EC2 = {
    **_REGIONAL,
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


def products(operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """GetProducts, of instances on demand, of EMR's fee on them and of EBS volumes. Raises
    ApiError."""
    if operation != "GetProducts":
        raise ApiError(
            "UnknownOperationException", f"The rehearsal cloud has no operation {operation}."
        )
    problems = model_problems("pricing", operation, params)
    token = params.get("NextToken", "0")
    if problems or not token.isdecimal():
        raise ApiError("InvalidParameterException", "; ".join(problems) or "NextToken is invalid.")
    service = params["ServiceCode"]
    found = [
        product
        for product in _products()
        if product["serviceCode"] == service
        and all(_matches(product["product"], one) for one in params.get("Filters", ()))
    ]
    start, size = int(token), params.get("MaxResults", _PAGE)
    page = [json.dumps(product) for product in found[start : start + size]]
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {"FormatVersion": "aws_v1", "PriceList": page, **more}


def _products() -> Iterator[dict[str, Any]]:
    types = instance_types()
    for (kind, item), figure in table_of(PACKAGED, HOME_REGION).items():
        if kind is Kind.ebs:
            volume = {**_REGIONAL, "volumeApiName": item, "usagetype": f"EBS:VolumeUsage.{item}"}
            yield _product("AmazonEC2", "Storage", item, volume, figure.value, "GB-Mo")
        if kind not in (Kind.ec2_on_demand, Kind.emr_fee) or item not in types:
            continue
        one = types[item]
        told = {
            "instanceType": item,
            "vcpu": str(one.vcpus),
            "memory": f"{one.memory_gib:g} GiB",
        }
        if kind is Kind.ec2_on_demand:
            told |= {**_EC2, "usagetype": f"BoxUsage:{item}"}
            yield _product("AmazonEC2", "Compute Instance", item, told, figure.value, "Hrs")
        else:
            family = "Elastic Map Reduce Instance"
            told |= {**_REGIONAL, "softwareType": "EMR", "usagetype": f"BoxUsage:{item}"}
            yield _product("ElasticMapReduce", family, item, told, figure.value, "Hrs")


def _product(
    service: str, family: str, item: str, attributes: Mapping[str, str], usd: float, unit: str
) -> dict[str, Any]:
    sku = f"REHEARSAL{service.upper()}{item.replace('.', '').upper()}"
    price = {"unit": unit, "pricePerUnit": {"USD": f"{usd:.10f}"}, "description": "rehearsed"}
    return {
        "product": {
            "sku": sku,
            "productFamily": family,
            "attributes": {"servicecode": service, **attributes},
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {f"{sku}.JRTCKXETXF": {"priceDimensions": {f"{sku}.JRTCKXETXF.6YS": price}}}
        },
    }


def _matches(product: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    field = wanted["Field"]
    value = product[field] if field == "productFamily" else product["attributes"].get(field, "")
    return bool(value.lower() == wanted["Value"].lower())
