"""Tables of prices as files: what is in them, how they are read, and how they are replaced whole.

One folder holds `prices_<region>.csv`, `dbu_prices.csv` and `sources.csv`; the package has one, and
`action=refresh_prices` writes another. README.md beside this tells of columns and sources.
"""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from ascii_hydra.config.problems import ConfigError, Problem

PACKAGED = Path(__file__).resolve().parent
"""The folder of the prices that come with the package."""
HOME_REGION = "us-east-1"
"""The region of the packaged prices; they stand in for regions without prices of their own."""
_DBU_NAME, _SOURCES_NAME = "dbu_prices.csv", "sources.csv"
# Each is some thousand figures.
_KEPT_TABLES = 32
_PRICE_COLUMNS = ("kind", "item", "value", "unit", "source")
_DBU_COLUMNS = ("region", "tier", "sku", "usd_per_dbu", "source")
_SOURCE_COLUMNS = ("source", "date", "certainty", "what")


class Kind(StrEnum):
    """What a price is of."""

    ec2_on_demand = "ec2_on_demand"
    ec2_spot = "ec2_spot"
    spot_saving_pct = "spot_saving_pct"
    emr_fee = "emr_fee"
    dbu_per_hour = "dbu_per_hour"
    photon_multiplier = "photon_multiplier"
    ebs = "ebs"
    emr_serverless_vcpu = "emr_serverless_vcpu"
    emr_serverless_memory = "emr_serverless_memory"
    emr_serverless_storage = "emr_serverless_storage"
    dbu = "dbu"


UNITS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.ec2_on_demand: "USD per hour",
        Kind.ec2_spot: "USD per hour",
        Kind.spot_saving_pct: "percent",
        Kind.emr_fee: "USD per hour",
        Kind.dbu_per_hour: "DBU per hour",
        Kind.photon_multiplier: "times",
        Kind.ebs: "USD per GB-month",
        Kind.emr_serverless_vcpu: "USD per vCPU-hour",
        Kind.emr_serverless_memory: "USD per GB-hour",
        Kind.emr_serverless_storage: "USD per GB-hour",
        Kind.dbu: "USD per DBU",
    }
)
"""The unit of each kind."""
_KINDS = {one.value: one for one in Kind}


@dataclass(frozen=True)
class Source:
    """Where figures are from.

    Attributes:
        name: by which figures name it.
        date: when they were true there: `2026-07-20`, or as exact as is known: `2019`.
        exact: they are published prices, or what was asked of the seller.
        what: for people.
    """

    name: str
    date: str
    exact: bool
    what: str


@dataclass(frozen=True)
class Figure:
    """One figure of a table; its unit is its kind's (`UNITS`)."""

    value: float
    source: Source


Key = tuple[Kind, str]
"""Of a figure: its kind, and an instance type, an EBS volume type, `<tier>/<sku>`, ..."""
Table = Mapping[Key, Figure]
Stamps = tuple[tuple[int, int] | None, ...]


def table_of(folder: Path, region: str) -> Table:
    """The prices of a region in a folder; none if there are none. They are read again when a file
    has changed.

    Raises:
        ConfigError: a file there is not as it has to be.
    """
    paths = [folder / one for one in (prices_name(region), _DBU_NAME, _SOURCES_NAME)]
    before: Stamps = ()
    while True:  # a refresh may replace one file after another meanwhile
        stamps = tuple(_stamp(path) for path in paths)
        try:
            table = _table_of(folder, region, stamps)
        except ConfigError:
            if stamps == before:
                raise
        else:
            if stamps == tuple(_stamp(path) for path in paths):
                return table
        before = stamps


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        told = path.stat()
    except OSError:  # it is not there, or reading it tells why it cannot be read
        return None
    return told.st_mtime_ns, told.st_size


@lru_cache(maxsize=_KEPT_TABLES)
def _table_of(folder: Path, region: str, _stamps: Stamps) -> Table:
    sources = _read_sources(folder)
    prices = _read_prices(folder / prices_name(region), sources)
    return MappingProxyType({**prices, **_read_dbu(folder, sources).get(region, {})})


def sources_of(folder: Path) -> Mapping[str, Source]:
    """The sources of a folder's prices, by their names. Raises ConfigError as `table_of`."""
    return _read_sources(folder)


def prices_name(region: str) -> str:
    """`prices_us_east_1.csv`."""
    return f"prices_{region.replace('-', '_')}.csv"


def written(folder: Path, tables: Mapping[str, Table]) -> None:
    """Put tables, by their regions, in place of those that a folder has; other regions' stay. A
    reader sees each file as it was or as it is now, and never a source that is not explained.

    Raises:
        OSError: the folder cannot be written.
        ConfigError: a file there is not as it has to be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _read_sources(folder)
    kept = _read_dbu(folder, before)
    dbu = {**kept, **{region: _only_dbu(table) for region, table in tables.items()}}
    of_others = [
        figure
        for path in sorted(folder.glob("prices_*.csv"))
        if path.name not in {prices_name(region) for region in tables}
        for figure in _read_prices(path, before).values()
    ]
    used = {
        figure.source.name: figure.source
        for figures in (of_others, *(one.values() for one in (*tables.values(), *dbu.values())))
        for figure in figures
    }
    # First all sources that either the old or the new files name, last those that are left.
    _write(folder / _SOURCES_NAME, _SOURCE_COLUMNS, _source_rows({**before, **used}))
    for region, table in tables.items():
        _write(folder / prices_name(region), _PRICE_COLUMNS, _price_rows(table))
    _write(folder / _DBU_NAME, _DBU_COLUMNS, _dbu_rows(dbu))
    _write(folder / _SOURCES_NAME, _SOURCE_COLUMNS, _source_rows(used))


def _only_dbu(table: Table) -> Table:
    return {key: figure for key, figure in table.items() if key[0] is Kind.dbu}


# --- reading ------------------------------------------------------------------------------------


def _read_sources(folder: Path) -> Mapping[str, Source]:
    return {
        name: Source(name, date, certainty == "exact", what)
        for _, (name, date, certainty, what) in _rows(folder / _SOURCES_NAME, _SOURCE_COLUMNS)
    }


def _read_prices(path: Path, sources: Mapping[str, Source]) -> dict[Key, Figure]:
    found: dict[Key, Figure] = {}
    for line, (name, item, text, unit, source) in _rows(path, _PRICE_COLUMNS):
        kind = _KINDS.get(name)
        if kind is None:
            raise _broken(path, line, f"{name} is no kind of price")
        if unit != UNITS[kind]:
            raise _broken(path, line, f"the unit of {kind} is {UNITS[kind]}")
        if (kind, item) in found:
            raise _broken(path, line, f"{kind} of {item} is there twice")
        found[kind, item] = _figure(path, line, kind, text, source, sources)
    return found


def _read_dbu(folder: Path, sources: Mapping[str, Source]) -> dict[str, dict[Key, Figure]]:
    """By region."""
    path, found = folder / _DBU_NAME, dict[str, dict[Key, Figure]]()
    for line, (region, tier, sku, text, source) in _rows(path, _DBU_COLUMNS):
        table, key = found.setdefault(region, {}), dbu_key(tier, sku)
        if key in table:
            raise _broken(path, line, f"{key[1]} in {region} is there twice")
        table[key] = _figure(path, line, Kind.dbu, text, source, sources)
    return found


def dbu_key(tier: str, sku: str) -> Key:
    """Of the price of a DBU."""
    return Kind.dbu, f"{tier}/{sku}"


def possible(kind: Kind, value: float) -> bool:
    """Whether a figure can be of its kind at all: a price is never 0, and no saving is complete."""
    if kind is Kind.spot_saving_pct:
        return 0 <= value < 100  # noqa: PLR2004 - percent
    return 0 < value < math.inf


def _figure(
    path: Path, line: int, kind: Kind, text: str, name: str, sources: Mapping[str, Source]
) -> Figure:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not possible(kind, value):
        raise _broken(path, line, f"{text!r} cannot be {kind}, in {UNITS[kind]}")
    if name not in sources:
        raise _broken(path, line, f"the source {name} is not in sources.csv")
    return Figure(value, sources[name])


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as fault:
        raise _broken(path, 1, f"it cannot be read ({fault.strerror})") from None
    except (UnicodeDecodeError, ValueError):  # no text, or nothing at all
        raise _broken(path, 1, f"the columns have to be {','.join(columns)}") from None
    if tuple(header) != columns:
        raise _broken(path, 1, f"the columns have to be {','.join(columns)}")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise _broken(path, line, f"{len(row)} columns instead of {len(columns)}")
        yield line, row


def _broken(path: Path, line: int, why: str) -> ConfigError:
    what = f"{path}, line {line}: {why}. Mend it, or delete the folder and refresh the prices again"
    return ConfigError([Problem("prices.folder", f"{what}: action=refresh_prices")])


# --- writing ------------------------------------------------------------------------------------


def _source_rows(sources: Mapping[str, Source]) -> Iterable[tuple[str, ...]]:
    for _, one in sorted(sources.items()):
        yield one.name, one.date, "exact" if one.exact else "estimated", one.what


def _price_rows(table: Table) -> Iterable[tuple[str, ...]]:
    order = list(Kind)
    for kind, item in sorted(table, key=lambda key: (order.index(key[0]), key[1])):
        figure = table[kind, item]
        if kind is not Kind.dbu:
            yield kind.value, item, f"{figure.value:.10g}", UNITS[kind], figure.source.name


def _dbu_rows(tables: Mapping[str, Table]) -> Iterable[tuple[str, ...]]:
    for region, table in sorted(tables.items()):
        for (_, item), figure in sorted(table.items()):
            tier, _, sku = item.partition("/")
            yield region, tier, sku, f"{figure.value:.10g}", figure.source.name


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Replace a file at once: who reads it sees it as it was, or whole. Nothing makes no file."""
    told = list(rows)
    if not told and not path.exists():
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(told)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        made.chmod(0o644)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
