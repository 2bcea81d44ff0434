"""What usage costs, line by line: every amount is a quantity times a price that has a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from ascii_hydra.catalogue.prices import Price, PriceList
from ascii_hydra.config.problems import UnknownEngineError
from ascii_hydra.costs.usage import InstanceUse, Usage
from ascii_hydra.step.choices import Engine

_HOUR_S = 3600.0
_CHARGING = (Engine.emr, Engine.databricks)
# AWS bills EC2, EBS and EMR by the second, and a minute at least; Databricks bills DBU by the
# second, without a minimum (https://www.databricks.com/product/pricing).
# https://aws.amazon.com/emr/pricing/, https://aws.amazon.com/ec2/pricing/on-demand/
_AWS_MINIMUM_S = 60.0
# EBS: "86,400 seconds/day * 30 day-month", https://aws.amazon.com/ebs/pricing/. There, a volume of
# n GiB is one of n GB.
_MONTH_S = 30 * 24 * _HOUR_S


class Part(StrEnum):
    """Where the money goes. The first three are of the time in which the step executed."""

    compute = "compute"
    platform = "platform"
    storage = "storage"
    startup_idle = "startup_idle"


@dataclass(frozen=True)
class BillLine:
    """One amount.

    Attributes:
        part: what it is of.
        what: for people: `4 x m5d.2xlarge on demand (core)`.
        quantity, unit: how much of it: instance-hours, DBU or GB-months.
        usd_per_unit: its price.
        price_source, price_date: where the price is from.
        estimated: the price is an estimate.
        wasted: of an attempt that did not make the asset.
    """

    part: Part
    what: str
    quantity: float
    unit: str
    usd_per_unit: float
    price_source: str
    price_date: str
    estimated: bool = False
    wasted: bool = False

    @property
    def usd(self) -> float:
        """The amount."""
        return self.quantity * self.usd_per_unit


@dataclass(frozen=True)
class Bill:
    """What a step costs, or is expected to.

    Attributes:
        lines: all amounts.
        unpriced: what was used and has no price: clauses for people.
        assumed: what was taken as asked for, because nobody tells it: clauses for people.
        instance_hours: of all instances, as AWS bills them.
        dbu: Databricks units; 0 elsewhere.
        startup_s, run_s: of the last attempt.
        tried_s: start-up and execution of the attempts before it.
    """

    lines: tuple[BillLine, ...] = ()
    unpriced: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    instance_hours: float = 0.0
    dbu: float = 0.0
    startup_s: float = 0.0
    run_s: float = 0.0
    tried_s: float = 0.0

    @property
    def took_s(self) -> float:
        """Start-up and execution of every attempt, one after another."""
        return self.tried_s + self.startup_s + self.run_s

    @property
    def usd(self) -> float | None:
        """The whole, or None if anything has no price: an unknown cost is not zero."""
        return None if self.unpriced else self.known_usd

    @property
    def known_usd(self) -> float:
        """What has a price."""
        return sum((line.usd for line in self.lines), 0.0)

    @property
    def wasted_usd(self) -> float:
        """Of it, attempts that did not make the asset."""
        return sum((line.usd for line in self.lines if line.wasted), 0.0)

    @property
    def estimated(self) -> bool:
        """A price in it is an estimate, or a quantity was taken as asked for."""
        return bool(self.assumed) or any(line.estimated for line in self.lines)

    @property
    def price_dates(self) -> tuple[str, str] | None:
        """The oldest and the newest date of its prices."""
        dates = sorted(line.price_date for line in self.lines)
        return (dates[0], dates[-1]) if dates else None

    def of(self, part: Part) -> float:
        """A part of `known_usd`; the parts add up to it."""
        return sum((line.usd for line in self.lines if line.part is part), 0.0)

    def as_json(self) -> dict[str, Any]:
        """It in plain types, with its sums."""
        return {
            "usd": self.usd,
            "known_usd": self.known_usd,
            **{f"{part.value}_usd": self.of(part) for part in Part},
            "wasted_usd": self.wasted_usd,
            "estimated": self.estimated,
            **asdict(self),
            "lines": [{**asdict(line), "usd": line.usd} for line in self.lines],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Bill:
        """The bill that `as_json` wrote."""
        return cls(
            lines=tuple(_line_from_json(dict(one)) for one in data["lines"]),
            unpriced=tuple(data["unpriced"]),
            assumed=tuple(data["assumed"]),
            instance_hours=data["instance_hours"],
            dbu=data["dbu"],
            startup_s=data["startup_s"],
            run_s=data["run_s"],
            tried_s=data.get("tried_s", 0.0),  # bills were written without it
        )


def _line_from_json(data: dict[str, Any]) -> BillLine:
    del data["usd"]
    return BillLine(**{**data, "part": Part(data["part"])})


def together(bills: Iterable[Bill]) -> Bill:
    """Several bills as one; durations are those of the last."""
    every = list(bills)
    last = every[-1] if every else Bill()
    return Bill(
        lines=tuple(line for one in every for line in one.lines),
        unpriced=tuple(dict.fromkeys(what for one in every for what in one.unpriced)),
        assumed=tuple(dict.fromkeys(what for one in every for what in one.assumed)),
        instance_hours=sum(one.instance_hours for one in every),
        dbu=sum(one.dbu for one in every),
        startup_s=last.startup_s,
        run_s=last.run_s,
        tried_s=sum(one.tried_s for one in every),
    )


def times(one: Bill, count: int) -> Bill:
    """The bill of so many runs like this one."""
    return replace(
        one,
        lines=tuple(replace(line, quantity=line.quantity * count) for line in one.lines),
        instance_hours=one.instance_hours * count,
        dbu=one.dbu * count,
    )


def bill(usages: Iterable[Usage], prices: PriceList) -> Bill:
    """What attempts of a step cost together.

    Args:
        usages: the attempts, the last one last.
        prices: of their region.
    """
    lines: list[BillLine] = []
    unpriced: dict[str, None] = {}
    assumed: dict[str, None] = {}
    hours = dbu = startup_s = run_s = tried_s = 0.0
    for usage in usages:
        for use in usage.instances:
            if use.count <= 0 or use.rented_s <= 0:  # it was not there, so it needs no price
                continue
            made = [*_ec2(use, usage, prices), *_fee(use, usage, prices), *_ebs(use, usage, prices)]
            for one in made:
                if isinstance(one, BillLine):
                    lines.append(one)
                else:
                    unpriced[one] = None
            hours += use.count * _billed_s(use, use.rented_s) / _HOUR_S
            dbu += _dbu(use, usage, prices)
        unpriced |= dict.fromkeys(usage.not_counted)
        assumed |= dict.fromkeys(usage.assumed)
        tried_s += startup_s + run_s
        startup_s, run_s = usage.startup_s, usage.run_s
    return Bill(
        tuple(lines), tuple(unpriced), tuple(assumed), hours, dbu, startup_s, run_s, tried_s
    )


def _ec2(use: InstanceUse, usage: Usage, prices: PriceList) -> Iterator[BillLine | str]:
    price = prices.ec2(use.instance_type, use.market)
    if price is None:
        yield f"EC2 {use.instance_type} {use.market} in {usage.region}"
        return
    what = f"{use.count} x {use.instance_type} {use.market} ({use.role})"
    rented_s = _billed_s(use, use.rented_s)
    hours = use.count / _HOUR_S
    for part, seconds in _split(Part.compute, rented_s, use.worked_s):
        yield _line(part, what, hours * seconds, "instance-hours", price, usage)


def _fee(use: InstanceUse, usage: Usage, prices: PriceList) -> Iterator[BillLine | str]:
    if usage.engine not in _CHARGING:
        raise UnknownEngineError(usage.engine, "fee", _CHARGING)
    if use.charged_s <= 0:
        return
    if usage.engine is Engine.emr:
        fee = prices.emr_fee(use.instance_type)
        if fee is None:
            yield f"EMR's fee for {use.instance_type}"
            return
        charged_s = _billed_s(use, use.charged_s)
        for part, seconds in _split(Part.platform, charged_s, use.worked_s):
            quantity = use.count * seconds / _HOUR_S
            what = f"EMR's fee for {use.count} x {use.instance_type} ({use.role})"
            yield _line(part, what, quantity, "instance-hours", fee, usage)
        return
    sku = usage.sku or ""
    per_hour, price = prices.dbus(use.instance_type, sku, photon=usage.photon), prices.dbu(sku)
    if per_hour is None or price is None:
        lacking = f"DBU of {use.instance_type}" if per_hour is None else f"a DBU of {sku}"
        yield f"{lacking} in {usage.region}, tier {prices.tier}"
        return
    what = f"{sku} for {use.count} x {use.instance_type} ({use.role})"
    for part, seconds in _split(Part.platform, use.charged_s, use.worked_s):
        quantity = use.count * seconds / _HOUR_S * per_hour.value
        yield _line(part, what, quantity, "DBU", _joined(price, per_hour), usage)


def _dbu(use: InstanceUse, usage: Usage, prices: PriceList) -> float:
    if usage.sku is None:
        return 0.0
    per_hour = prices.dbus(use.instance_type, usage.sku, photon=usage.photon)
    return 0.0 if per_hour is None else use.count * use.charged_s / _HOUR_S * per_hour.value


def _ebs(use: InstanceUse, usage: Usage, prices: PriceList) -> Iterator[BillLine | str]:
    for disk in use.disks:
        price = prices.ebs(disk.volume_type)
        if price is None:
            yield f"EBS {disk.volume_type} in {usage.region}"
            continue
        what = f"{use.count} x {disk.gib:g} GiB {disk.volume_type} ({use.role})"
        rented_s = _billed_s(use, use.rented_s)
        for part, seconds in _split(Part.storage, rented_s, use.worked_s):
            quantity = use.count * disk.gib * seconds / _MONTH_S
            yield _line(part, what, quantity, "GB-months", price, usage)


def _billed_s(use: InstanceUse, seconds: float) -> float:
    """Seconds as AWS bills them."""
    return seconds if use.share or seconds <= 0 else max(seconds, _AWS_MINIMUM_S)


def _split(part: Part, paid_s: float, worked_s: float) -> Iterator[tuple[Part, float]]:
    """Paid time: while the step executed, and before and after."""
    working_s = min(worked_s, paid_s)
    if working_s > 0:
        yield part, working_s
    if paid_s > working_s:
        yield Part.startup_idle, paid_s - working_s


def _line(
    part: Part, what: str, quantity: float, unit: str, price: Price, usage: Usage
) -> BillLine:
    return BillLine(
        part=part,
        what=what,
        quantity=quantity,
        unit=unit,
        usd_per_unit=price.value,
        price_source=price.source,
        price_date=price.date,
        estimated=price.estimated,
        wasted=usage.wasted,
    )


def _joined(price: Price, quantity: Price) -> Price:
    """A price of which the quantity is from a price list too: as certain and as new as the worse of
    the two."""
    sources = dict.fromkeys((price.source, quantity.source))
    return replace(
        price,
        source="; ".join(sources),
        date=min(price.date, quantity.date),
        estimated=price.estimated or quantity.estimated,
    )
