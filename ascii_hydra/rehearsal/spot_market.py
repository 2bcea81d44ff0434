"""EC2's DescribeSpotPriceHistory, whose prices moto does not know: the package's usual saving."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from ascii_hydra.aws.model import model_problems
from ascii_hydra.catalogue.price_tables import HOME_REGION, PACKAGED, Kind, table_of
from ascii_hydra.rehearsal.emr_errors import ApiError

OPERATION = "DescribeSpotPriceHistory"
_LINUX = "Linux/UNIX"
# Of the usual price, in three zones; the middle one is the usual.
_ZONES: Mapping[str, float] = {"a": 0.97, "b": 1.0, "c": 1.06}
# Each price changed an hour ago, from a tenth above.
_CHANGED, _EARLIER = timedelta(hours=1), 1.1
_LISTS = {"InstanceType": "InstanceTypes", "ProductDescription": "ProductDescriptions"}
_PLAIN = ("StartTime", "EndTime", "NextToken", "AvailabilityZone")
_PAGE = 1000
# Type, zone, USD an hour, and since when.
_Change = tuple[str, str, float, datetime]


def spot_prices(form: Mapping[str, str], region: str, now: datetime) -> str:
    """The reply's body. Raises ApiError.

    Args:
        form: the request's fields.
        region: of the request; elsewhere than at home there are no prices.
        now: until when there are prices.
    """
    params = _params(form)
    token = params.get("NextToken", "0")
    if problems := model_problems("ec2", OPERATION, params):
        raise ApiError("InvalidParameterValue", "; ".join(problems))
    if not token.isdecimal():
        raise ApiError("InvalidNextToken", "The token is not valid.")
    found = list(_changes(params, now)) if region == HOME_REGION else []
    start, size = int(token), params.get("MaxResults", _PAGE)
    more = str(start + size) if start + size < len(found) else ""
    items = "".join(_item(one) for one in found[start : start + size])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<{OPERATION}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>rehearsed</requestId><spotPriceHistorySet>{items}</spotPriceHistorySet>"
        f"<nextToken>{more}</nextToken></{OPERATION}Response>"
    )


def ec2_error(error: ApiError) -> str:
    """The body of a refusal, as EC2 has it."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Response><Errors><Error><Code>{escape(error.code)}</Code>"
        f"<Message>{escape(error.message)}</Message></Error></Errors>"
        "<RequestID>rehearsed</RequestID></Response>"
    )


def _params(form: Mapping[str, str]) -> dict[str, Any]:
    """The fields of EC2's query protocol, as boto3 names them."""
    params: dict[str, Any] = {}
    for name, value in form.items():
        listed = re.fullmatch(r"(\w+)\.\d+", name)
        if name in ("Action", "Version"):
            continue
        if listed is not None and listed[1] in _LISTS:
            params.setdefault(_LISTS[listed[1]], []).append(value)
        elif name == "MaxResults":
            params[name] = int(value)
        elif name in _PLAIN:
            params[name] = value
        else:
            raise ApiError("UnsupportedOperation", f"The rehearsal knows no {name} of {OPERATION}.")
    return params


def _changes(
    params: Mapping[str, Any], now: datetime
) -> Iterator[tuple[str, str, float, datetime]]:
    """From the price that held at StartTime on."""
    if _LINUX not in params.get("ProductDescriptions", [_LINUX]):
        return
    start = _time(params["StartTime"]) if "StartTime" in params else now - timedelta(days=1)
    types = params.get("InstanceTypes")
    known = table_of(PACKAGED, HOME_REGION)
    for (kind, name), saving in known.items():
        on_demand = known.get((Kind.ec2_on_demand, name))
        if kind is not Kind.spot_saving_pct or on_demand is None or (types and name not in types):
            continue
        usual = on_demand.value * (1 - saving.value / 100)
        for letter, factor in _ZONES.items():
            zone = f"{HOME_REGION}{letter}"
            if params.get("AvailabilityZone", zone) != zone:
                continue
            yield name, zone, usual * factor, now - _CHANGED
            if start < now - _CHANGED:
                yield name, zone, usual * factor * _EARLIER, now - 2 * _CHANGED


def _time(text: str) -> datetime:
    told = datetime.fromisoformat(text)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _item(one: _Change) -> str:
    name, zone, usd, at = one
    return (
        f"<item><instanceType>{name}</instanceType><productDescription>{_LINUX}"
        f"</productDescription><spotPrice>{usd:.6f}</spotPrice>"
        f"<timestamp>{at:%Y-%m-%dT%H:%M:%S.000Z}</timestamp>"
        f"<availabilityZone>{zone}</availabilityZone></item>"
    )
