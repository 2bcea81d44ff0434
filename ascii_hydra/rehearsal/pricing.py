"""The Pricing API of the rehearsal: the package's own catalogue, in AWS's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ascii_hydra.aws.model import model_problems
from ascii_hydra.catalogue.instances import InstanceType, instance_types
from ascii_hydra.rehearsal.emr_errors import ApiError

_REGION = "us-east-1"  # the catalogue's
_PAGE = 100
_EC2 = {
    "regionCode": _REGION,
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
_EMR = {"regionCode": _REGION, "softwareType": "EMR"}


def products(operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """GetProducts, of on-demand instances and of EMR's fee on them. Raises ApiError."""
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
        for product in _products(service)
        if all(_matches(product, one) for one in params.get("Filters", ()))
    ]
    start, size = int(token), params.get("MaxResults", _PAGE)
    page = [json.dumps(product) for product in found[start : start + size]]
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {"FormatVersion": "aws_v1", "PriceList": page, **more}


def _products(service: str) -> Iterator[dict[str, Any]]:
    for one in instance_types().values():
        if service == "AmazonEC2" and one.on_demand_usd_per_hour is not None:
            yield _product(service, one, _EC2, one.on_demand_usd_per_hour, "Hrs")
        elif service == "ElasticMapReduce" and one.emr_fee_usd_per_hour is not None:
            yield _product(service, one, _EMR, one.emr_fee_usd_per_hour, "Hours")


def _product(
    service: str, one: InstanceType, attributes: Mapping[str, str], usd: float, unit: str
) -> dict[str, Any]:
    sku = f"REHEARSAL{service.upper()}{one.name.replace('.', '').upper()}"
    price = {"unit": unit, "pricePerUnit": {"USD": f"{usd:.10f}"}, "description": "rehearsed"}
    return {
        "product": {
            "sku": sku,
            "productFamily": "Compute Instance" if service == "AmazonEC2" else service,
            "attributes": {
                **attributes,
                "servicecode": service,
                "instanceType": one.name,
                "vcpu": str(one.vcpus),
                "memory": f"{one.memory_gib:g} GiB",
            },
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {f"{sku}.JRTCKXETXF": {"priceDimensions": {f"{sku}.JRTCKXETXF.6YS": price}}}
        },
    }


def _matches(product: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    value = product["product"]["attributes"].get(wanted["Field"], "")
    return bool(value.lower() == wanted["Value"].lower())
