"""Tables of prices as files: written whole, read as they were, and refused when they are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ascii_hydra.catalogue import price_tables
from ascii_hydra.catalogue.databricks_prices import REGION_NAMES
from ascii_hydra.catalogue.price_tables import (
    PACKAGED,
    Figure,
    Kind,
    Source,
    Table,
    dbu_key,
    sources_of,
    table_of,
    written,
)
from ascii_hydra.catalogue.prices import Market, price_list
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.schema import PricesConfig
from tests.conftest import PROJECT

OLD = Source("old", "2026-01-01", exact=True, what='what "was", once')
NEW = Source("new", "2026-11-21", exact=False, what="what is")
HERE, THERE = "us-east-1", "eu-west-1"


def table(source: Source, usd: float) -> Table:
    return {
        (Kind.ec2_on_demand, "m5.xlarge"): Figure(usd, source),
        (Kind.ebs, "gp3"): Figure(usd / 3, source),
        dbu_key("premium", "JOBS_COMPUTE_(PHOTON)"): Figure(0.15, source),
    }


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "prices"
    assert table_of(folder, HERE) == {}
    made = table(OLD, 0.192)
    written(folder, {HERE: made})
    read = table_of(folder, HERE)
    assert set(read) == set(made)
    for key, figure in made.items():
        assert read[key].value == pytest.approx(figure.value, rel=1e-9)
        assert read[key].source == OLD
    assert set(content(folder)) == {"prices_us_east_1.csv", "dbu_prices.csv", "sources.csv"}


def test_the_packaged_tables_are_written_as_they_are(tmp_path: Path) -> None:
    written(tmp_path, {region: table_of(PACKAGED, region) for region in REGION_NAMES})
    for region in REGION_NAMES:
        assert table_of(tmp_path, region) == table_of(PACKAGED, region)
    assert set(content(tmp_path)) == {"prices_us_east_1.csv", "dbu_prices.csv", "sources.csv"}


def test_other_regions_stay_and_unused_sources_go(tmp_path: Path) -> None:
    written(tmp_path, {HERE: table(OLD, 0.1), THERE: table(OLD, 0.2)})
    written(tmp_path, {HERE: table(NEW, 0.3)})
    there = table_of(tmp_path, THERE)
    assert there[Kind.ec2_on_demand, "m5.xlarge"] == Figure(0.2, OLD)
    assert there[dbu_key("premium", "JOBS_COMPUTE_(PHOTON)")] == Figure(0.15, OLD)
    assert set(sources_of(tmp_path)) == {"old", "new"}
    written(tmp_path, {THERE: table(NEW, 0.3)})
    assert set(sources_of(tmp_path)) == {"new"}


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path, {HERE: table(OLD, 0.1)})
    before = content(tmp_path)
    written(tmp_path, {HERE: table_of(tmp_path, HERE)})
    assert content(tmp_path) == before


def test_a_disk_that_is_full_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, {HERE: table(OLD, 0.1)})
    before = content(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(price_tables.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, {HERE: table(NEW, 0.2)})
    assert content(tmp_path) == before


def test_the_folder_counts_before_the_package_and_is_read_again(tmp_path: Path) -> None:
    config = PricesConfig(folder=str(tmp_path))
    for source, usd in ((OLD, 0.1), (NEW, 0.25)):
        written(tmp_path, {HERE: table(source, usd)})
        found = price_list(config, HERE).ec2("m5.xlarge", Market.on_demand)
        assert found is not None
        assert (found.value, found.date, found.estimated) == (usd, source.date, not source.exact)
    other = price_list(config, HERE).ec2("m5d.xlarge", Market.on_demand)
    assert other is not None
    assert other.value == 0.226


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("prices_us_east_1.csv", "0.1,", "0,", r"line 2: '0' cannot be ec2_on_demand, in USD per"),
        ("prices_us_east_1.csv", "0.1,", "-1,", "line 2: '-1' cannot be"),
        ("prices_us_east_1.csv", "0.1,", "nan,", "line 2: 'nan' cannot be"),
        ("prices_us_east_1.csv", "0.1,", "inf,", "line 2: 'inf' cannot be"),
        ("prices_us_east_1.csv", "0.1,", "cheap,", "line 2: 'cheap' cannot be"),
        ("prices_us_east_1.csv", "USD per hour", "EUR per hour", "unit of ec2_on_demand is USD"),
        ("prices_us_east_1.csv", "ec2_on_demand", "ec3", "ec3 is no kind of price"),
        ("prices_us_east_1.csv", "ebs,gp3,", "ebs,gp3,gp3,", "6 columns instead of 5"),
        ("prices_us_east_1.csv", "kind,", "sort,", "line 1: the columns have to be kind,item"),
        ("prices_us_east_1.csv", ",old\n", ",older\n", "the source older is not in sources.csv"),
        ("dbu_prices.csv", "0.15", "free", "line 2: 'free' cannot be dbu, in USD per DBU"),
        ("sources.csv", "source,date,certainty,what", "", "line 1: the columns have to be source"),
    ],
)
def test_a_broken_file_is_told_with_its_line(
    tmp_path: Path, name: str, old: str, new: str, words: str
) -> None:
    written(tmp_path, {HERE: table(OLD, 0.1)})
    path = tmp_path / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as fault:
        price_list(PricesConfig(folder=str(tmp_path)), HERE)
    (problem,) = fault.value.problems
    assert problem.where == "prices.folder"
    assert str(path) in problem.what
    assert "action=refresh_prices" in problem.what


def test_a_figure_that_is_there_twice(tmp_path: Path) -> None:
    written(tmp_path, {HERE: table(OLD, 0.1)})
    for name in ("prices_us_east_1.csv", "dbu_prices.csv"):
        path = tmp_path / name
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole + whole.splitlines()[-1] + "\n", encoding="utf-8")
        with pytest.raises(ConfigError, match="is there twice"):
            table_of(tmp_path, HERE)
        path.write_text(whole, encoding="utf-8")


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00"])
def test_a_file_that_is_no_table(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "sources.csv").write_bytes(text)
    with pytest.raises(ConfigError, match="the columns have to be source"):
        table_of(tmp_path, HERE)


_WRITER = """
import sys
from pathlib import Path
from tests.catalogue.test_price_tables import HERE, Source, table, written
for number in range(60):
    written(Path(sys.argv[1]), {HERE: table(Source(f"at-{number}", "2026-11-21", True, "?"), 1.0)})
"""


def test_who_reads_while_another_process_writes_sees_the_old_or_the_new(tmp_path: Path) -> None:
    written(tmp_path, {HERE: table(OLD, 1.0)})
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT) as writer:
        seen = set()
        while writer.poll() is None:
            seen |= {one.source.name for one in table_of(tmp_path, HERE).values()}
    assert writer.returncode == 0
    assert len(seen) > 1
