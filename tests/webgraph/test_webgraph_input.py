from __future__ import annotations

from pathlib import Path

import pytest
from webgraph_hosts import Nodes
from webgraph_input import Reject, Seed, seeds, warc_paths, with_scheme
from webgraph_locations import opened

from ascii_hydra.config.partitions import dimension_values
from ascii_hydra.config.schema import PartitionDimension, PipelineConfig


def folder(tmp_path: Path, manifest: str = "", of_seeds: str = "") -> str:
    (tmp_path / "manifest.csv").write_text("crawl,format,path\n" + manifest)
    (tmp_path / "seeds.csv").write_text("query,url,blocked,note\n" + of_seeds)
    return str(tmp_path)


def test_paths_of_a_crawl(tmp_path: Path) -> None:
    of_two = "A,warc,a/1.warc\nA,wat,a/1.wat\nB,warc,b.warc\nA, WARC ,a/2.warc\nA,warc,a/1.warc\n"
    where = folder(tmp_path, of_two)
    assert warc_paths(where, "A") == ["a/1.warc", "a/2.warc"]
    assert warc_paths(f"file://{where}/", "B") == ["b.warc"]


def test_unknown_crawl_names_those_there_are(tmp_path: Path) -> None:
    where = folder(tmp_path, "B,warc,b.warc\nA,warc,a.warc\nC,wat,c.wat\n")
    with pytest.raises(ValueError, match=r"crawl 'C' has no WARC files .*: A, B$"):
        warc_paths(where, "C")


def test_tables_of_a_spreadsheet_mean_the_same_to_the_orchestrator(tmp_path: Path) -> None:
    manifest = " crawl , format,path \n A , WARC , a.warc \n,warc,b.warc\nB,wat,b.wat\nC\n"
    manifest += "\nA,Warc,b.warc,more\n"
    of_seeds = " query,url ,blocked\n q , page.org,\n Q,page.org\n,page.org,0\nq\n"
    for name, text in (("manifest.csv", manifest), ("seeds.csv", of_seeds)):
        (tmp_path / name).write_text(text.replace("\n", "\r\n"), "utf-8-sig", newline="")
    dimensions = {
        "crawl": PartitionDimension(csv="manifest.csv", column="crawl", where={"format": "warc"}),
        "query": PartitionDimension(csv="seeds.csv", column="query", also=("all_pages",)),
    }
    values = dimension_values(PipelineConfig(input=str(tmp_path), partition_dimensions=dimensions))
    assert values == {"crawl": ("A",), "query": ("q", "Q", "all_pages")}
    assert warc_paths(str(tmp_path), "A") == ["a.warc", "b.warc"]
    with pytest.raises(ValueError, match=r"crawls that have: A$"):
        warc_paths(str(tmp_path), "")
    for query in ("q", "Q"):
        assert seeds(str(tmp_path), query, Nodes())[0] == [
            Seed(query, "page.org", "page.org", "", 1 if query == "q" else 2)
        ]
    with pytest.raises(ValueError, match=r"it has: all_pages, Q, q$"):
        seeds(str(tmp_path), "x", Nodes())


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    where = folder(tmp_path)
    (tmp_path / "manifest.csv").write_text("crawl,path\n")
    with pytest.raises(ValueError, match=r"manifest\.csv has no column format"):
        warc_paths(where, "A")
    (tmp_path / "seeds.csv").write_text("")
    with pytest.raises(ValueError, match=r"seeds\.csv has no column query, url, blocked"):
        seeds(where, "q", Nodes())


def test_seeds_become_nodes_or_rejects(tmp_path: Path) -> None:
    where = folder(
        tmp_path,
        of_seeds="q,HTTPS://WWW.Page.ORG/x,0,first\n"
        "other,https://else.org,0,\n"
        "q,page.org:8080,0,again\n"
        "q,https://platform.com,1,\n"
        "q,platform.com,0,not this row\n"
        "q,n/a,0,\n"
        "q, ,0,\n"
        "q,http://10.0.0.1/,0,\n"
        "q,mailto:me@page.net,0,\n"
        "q,http://[oops,0,\n"
        "q,fine.org,maybe,\n"
        "q,bücher.de,no\n",
    )
    found, rejected = seeds(where, "q", Nodes())
    assert found == [
        Seed("q", "page.org", "HTTPS://WWW.Page.ORG/x", "first", 1),
        Seed("q", "platform.com", "platform.com", "not this row", 5),
        Seed("q", "xn--bcher-kva.de", "bücher.de", "", 12),
    ]
    assert [(one.row, one.reason, one.detail) for one in rejected] == [
        (3, "duplicate", "page.org is in row 1"),
        (4, "blocked", ""),
        (6, "invalid", "no_public_suffix"),
        (7, "invalid", "empty"),
        (8, "invalid", "ip_address"),
        (9, "invalid", "no_host"),
        (10, "invalid", "no_url: Invalid IPv6 URL"),
        (11, "invalid", "blocked is 'maybe', neither 0 nor 1"),
    ]
    assert len(found) + len(rejected) == 11


def test_private_suffixes_part_what_is_one_otherwise(tmp_path: Path) -> None:
    where = folder(tmp_path, of_seeds="q,a.github.io,0,\nq,b.github.io,0,\n")
    assert [one.domain for one in seeds(where, "q", Nodes())[0]] == ["github.io"]
    assert [one.domain for one in seeds(where, "q", Nodes(True))[0]] == [
        "a.github.io",
        "b.github.io",
    ]


def test_all_pages_has_no_nodes_and_the_rows_of_no_query(tmp_path: Path) -> None:
    where = folder(tmp_path, of_seeds="q,page.org,0,\n,lost.org,0,whose?\n")
    assert seeds(where, "all_pages", Nodes()) == (
        [],
        [Reject("", "invalid", "no_query", "lost.org", "whose?", 2)],
    )


@pytest.mark.parametrize("name", ["all_pages", "*"])
def test_reserved_query_names(tmp_path: Path, name: str) -> None:
    where = folder(tmp_path, of_seeds=f"q,page.org,0,\n{name},page.org,0,\n")
    with pytest.raises(ValueError, match=r"row 2: the query name .* is reserved"):
        seeds(where, "q", Nodes())


def test_unknown_query_names_those_there_are(tmp_path: Path) -> None:
    where = folder(tmp_path, of_seeds="b,page.org,0,\na,page.org,0,\n")
    with pytest.raises(
        ValueError, match=r"query 'c' is not in seeds\.csv; it has: all_pages, a, b$"
    ):
        seeds(where, "c", Nodes())


def test_spreadsheet_marks_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_bytes("\ufeffquery,url,blocked\r\n q , page.org ,\r\n".encode())
    found, _ = seeds(str(tmp_path), "q", Nodes())
    assert found == [Seed("q", "page.org", "page.org", "", 1)]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("page.org", "http://page.org"),
        ("page.org:80", "http://page.org:80"),
        ("page.org:80/x", "http://page.org:80/x"),
        ("page.org/x:y", "http://page.org/x:y"),
        ("//page.org", "http://page.org"),
        ("https://page.org", "https://page.org"),
        ("mailto:a@b.org", "mailto:a@b.org"),
    ],
)
def test_with_scheme(written: str, url: str) -> None:
    assert with_scheme(written) == url


def test_locations_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_bytes(b"x")
    with opened((tmp_path / "a b.txt").as_uri()) as stream:
        assert stream.read() == b"x"
    with pytest.raises(ValueError, match="gs://"):
        opened("gs://bucket/key")
