"""The four steps in a real Spark session, against the plain-Python oracle."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webgraph_oracle
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    encode_param,
)
from pyspark.sql import SparkSession
from warc_bytes import compressed, record

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, StepArguments
from ascii_hydra.step.spark_step import _ArgumentsLoader

ROOT = Path(__file__).resolve().parents[2]
STEPS = ROOT / "steps" / "webgraph"
SAMPLE = ROOT / "samples" / "webgraph"
CRAWLS = ("SAMPLE-2024-10", "SAMPLE-2025-10")
QUERIES = ("all_pages", "night_sky", "paper_folding")
PARTITIONS = [*((CRAWLS[0], query) for query in QUERIES), (CRAWLS[1], "all_pages")]
CONF = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    # Small runs are over before a better compiler or collector would have paid.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
CHECKS = {
    "nodes": {"no_null_domain", "nodes_unique"},
    "edges": {"pages_unique", "no_null_domain"},
    "graph": {"every_source_is_a_page"},
    "graph_aggr": {"no_self_link", "no_null_domain"},
}


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.appName("webgraph")
        for key, value in CONF.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        for module in STEPS.glob("webgraph_*.py"):
            session.sparkContext.addPyFile(str(module))
        yield session
        session.stop()


def step_class(name: str) -> type[SparkStep]:
    """The one step of a script, loaded under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(f"webgraph_step_{name}", STEPS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = (
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, SparkStep) and one is not SparkStep
    )
    return found


class Pipeline:
    """Runs steps into a folder, one below the other as the partitions of a pipeline would."""

    def __init__(self, spark: SparkSession, source: Path, out: Path, **parameters: Any) -> None:
        self.spark = spark
        self.out = out
        self.parameters = {"input": str(source), **parameters}

    def run(
        self, step: str, inputs: dict[str, str] | None = None, **partition: str
    ) -> dict[str, Any]:
        """Run a step. Returns its metadata; its checks are under `checks`, as passed or not."""
        messages = self.out / "messages.jsonl"
        messages.parent.mkdir(parents=True, exist_ok=True)
        messages.write_text("")
        arguments = StepArguments(
            engine=Engine.pyspark,
            mode=ExecutionMode.small_dev_sample_local,
            output=self.folder(step, **partition),
            inputs=inputs or {},
            partition=partition,
            partition_key="|".join(partition[name] for name in sorted(partition)),
            parameters=self.parameters,
            spark_conf={},
            py_files=(),
            pipes_context=None,
            pipes_messages=encode_param({"path": str(messages)}),
        )
        with PipesContext(
            _ArgumentsLoader(arguments), PipesDefaultContextLoader(), PipesDefaultMessageWriter()
        ) as context:
            step_class(step)(arguments).execute_business_logic(
                context=context,
                execution_mode=arguments.mode,
                partition_key=arguments.partition_key,
                spark=self.spark,
                engine=arguments.engine,
            )
        return reported(messages.read_text())

    def folder(self, step: str, **partition: str) -> str:
        return "/".join([str(self.out), step, *partition.values()])

    def edges(self, crawl: str) -> dict[str, Any]:
        return self.run("edges", crawl=crawl)

    def nodes(self, query: str) -> dict[str, Any]:
        return self.run("nodes", query=query)

    def graph(self, crawl: str, query: str) -> dict[str, Any]:
        return self.run(
            "graph",
            {
                "nodes": self.folder("nodes", query=query),
                "edges": self.folder("edges", crawl=crawl),
            },
            crawl=crawl,
            query=query,
        )

    def graph_aggr(self, crawl: str, query: str) -> dict[str, Any]:
        graph = self.folder("graph", crawl=crawl, query=query)
        return self.run("graph_aggr", {"graph": graph}, crawl=crawl, query=query)

    def table(self, step: str, part: str = "", **partition: str) -> list[tuple[Any, ...]]:
        folder = self.folder(step, **partition) + (f"/{part}" if part else "")
        return sorted((tuple(row) for row in self.spark.read.parquet(folder).collect()), key=repr)


def reported(messages: str) -> dict[str, Any]:
    found: dict[str, Any] = {"checks": {}}
    for line in messages.splitlines():
        message = json.loads(line)
        told = message["params"]
        if message["method"] == "report_asset_materialization":
            found |= {name: value["raw_value"] for name, value in told["metadata"].items()}
        elif message["method"] == "report_asset_check":
            assert told["severity"] == "ERROR"
            found["checks"][told["check_name"]] = told["passed"]
    return found


def passed(step: str) -> dict[str, bool]:
    return dict.fromkeys(CHECKS[step], True)


@pytest.fixture(scope="module")
def sample(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pipeline, dict[tuple[str, ...], dict[str, Any]]]:
    """Partitions of the sample, and what each run reported."""
    pipeline = Pipeline(spark, SAMPLE, tmp_path_factory.mktemp("sample"))
    told: dict[tuple[str, ...], dict[str, Any]] = {}
    for query in QUERIES:
        told["nodes", query] = pipeline.nodes(query)
    for crawl in CRAWLS:
        told["edges", crawl] = pipeline.edges(crawl)
    for crawl, query in PARTITIONS:
        told["graph", crawl, query] = pipeline.graph(crawl, query)
        told["graph_aggr", crawl, query] = pipeline.graph_aggr(crawl, query)
    return pipeline, told


@pytest.mark.parametrize(("crawl", "query"), PARTITIONS)
def test_graph_aggr_is_what_the_oracle_says(sample: Any, crawl: str, query: str) -> None:
    pipeline, told = sample
    rows = pipeline.table("graph_aggr", crawl=crawl, query=query)
    expected = webgraph_oracle.graph_aggr(SAMPLE, crawl, query.replace("all_pages", "*"))
    assert expected
    assert len(rows) == len(set(rows))
    assert set(rows) == expected
    report = told["graph_aggr", crawl, query]
    assert report["dagster/row_count"] == len(expected)
    assert report["links"] == sum(row[4] for row in expected)


def test_columns_of_graph_aggr(sample: Any) -> None:
    pipeline, told = sample
    folder = pipeline.folder("graph_aggr", crawl=CRAWLS[0], query="all_pages")
    columns = pipeline.spark.read.parquet(folder).columns
    assert columns == [
        "crawl",
        "query",
        "src_domain",
        "dst_domain",
        "n_links",
        "n_src_pages",
        "n_dst_urls",
    ]
    schema = told["graph_aggr", CRAWLS[0], "all_pages"]["dagster/column_schema"]
    assert [column["name"] for column in schema["columns"]] == columns


def test_checks_pass_and_every_report_is_whole(sample: Any) -> None:
    _, told = sample
    for (step, *_), report in told.items():
        assert report["checks"] == passed(step)
        assert {"started_at", "ended_at", "dagster/row_count", "dagster/uri"} <= report.keys()
        assert report["started_at"] < report["ended_at"]


def test_report_of_edges(sample: Any) -> None:
    pipeline, told = sample
    report = told["edges", CRAWLS[0]]
    links = pipeline.table("edges", "links", crawl=CRAWLS[0])
    pages = pipeline.table("edges", "pages", crawl=CRAWLS[0])
    assert {name: report[name] for name in ("files", "records", "responses", "page_records")} == {
        "files": 2,
        "records": 20,
        "responses": 18,
        "page_records": 12,
    }
    assert report["pages"] == len(pages) == 9
    assert report["duplicates"] == 2
    assert report["page_records_without_domain"] == 1
    assert report["links"] == report["dagster/row_count"] == len(links)
    assert sum(page[-1] for page in pages) == len(links)
    assert (report["bad_files"], report["bad_records"]) == (0, 1)
    assert report["faults_by_reason"] == {"cut_short": 1}
    assert report["skipped_links"] == {
        "empty": 1,
        "fragment_only": 1,
        "ip_address": 1,
        "no_public_suffix": 1,
        "no_url": 1,
        "not_http": 2,
    }


def test_the_earliest_fetch_counts_with_its_links(sample: Any) -> None:
    pipeline, _ = sample
    home = "https://www.moth-observatory.org/"
    (page,) = (row for row in pipeline.table("edges", "pages", crawl=CRAWLS[0]) if row[1] == home)
    assert page[3] == "2024-10-05T19:59:59.250000000Z"
    links = [row for row in pipeline.table("edges", "links", crawl=CRAWLS[0]) if row[1] == home]
    assert [
        (position, url) for _, _, position, url, *_ in sorted(links, key=lambda row: row[2])
    ] == [
        (0, "https://tidal-clockworks.co.uk/gears"),
        (1, "https://tidal-clockworks.co.uk/gears"),
        (2, "https://www.moth-observatory.org/visit"),
        (3, "https://folded-fox.org/"),
    ]


def test_rejects_are_kept_with_their_reason(sample: Any) -> None:
    pipeline, told = sample
    rejects = pipeline.table("nodes", "rejects", query="night_sky")
    assert told["nodes", "night_sky"]["rejects_by_reason"] == {
        "blocked": 1,
        "duplicate": 1,
        "invalid": 5,
    }
    assert {(reason, detail.split()[0] if detail else "") for _, reason, detail, *_ in rejects} == {
        ("blocked", ""),
        ("duplicate", "moth-observatory.org"),
        ("invalid", "empty"),
        ("invalid", "invalid_host"),
        ("invalid", "ip_address"),
        ("invalid", "is_public_suffix"),
        ("invalid", "no_public_suffix"),
    }
    domains = {row[1] for row in pipeline.table("nodes", "nodes", query="night_sky")}
    assert domains == webgraph_oracle.nodes(SAMPLE, "night_sky")
    assert pipeline.table("nodes", "nodes", query="all_pages") == []


def test_a_rerun_changes_nothing(sample: Any) -> None:
    pipeline, _ = sample
    crawl, query = CRAWLS[0], "night_sky"
    everything = [
        ("nodes", "nodes", {"query": query}),
        ("nodes", "rejects", {"query": query}),
        ("edges", "pages", {"crawl": crawl}),
        ("edges", "links", {"crawl": crawl}),
        ("edges", "faults", {"crawl": crawl}),
        ("graph", "", {"crawl": crawl, "query": query}),
        ("graph_aggr", "", {"crawl": crawl, "query": query}),
        ("graph_aggr", "", {"crawl": crawl, "query": "all_pages"}),
        ("graph_aggr", "", {"crawl": CRAWLS[1], "query": "all_pages"}),
    ]

    def state() -> list[list[tuple[Any, ...]]]:
        return [pipeline.table(step, part, **partition) for step, part, partition in everything]

    before = state()
    pipeline.nodes(query)
    pipeline.edges(crawl)
    pipeline.graph(crawl, query)
    pipeline.graph_aggr(crawl, query)
    assert state() == before


def test_private_suffixes(spark: SparkSession, tmp_path: Path) -> None:
    pipeline = Pipeline(spark, SAMPLE, tmp_path, private_suffixes=True)
    crawl, query = CRAWLS[1], "paper_folding"
    pipeline.nodes(query)
    pipeline.edges(crawl)
    pipeline.graph(crawl, query)
    pipeline.graph_aggr(crawl, query)
    rows = set(pipeline.table("graph_aggr", crawl=crawl, query=query))
    assert rows == webgraph_oracle.graph_aggr(SAMPLE, crawl, query, private=True)
    assert {"crease-and-crane.github.io", "thousand-cranes.github.io"} <= {row[3] for row in rows}


def test_damaged_files_cost_only_what_they_held(spark: SparkSession, tmp_path: Path) -> None:
    source = tmp_path / "input"
    (source / "warc").mkdir(parents=True)
    shutil.copy(SAMPLE / "seeds.csv", source)
    sound = [record(f"https://{n}.page.org/", f"<a href=https://there{n}.org>") for n in range(6)]
    members = [gzip.compress(one) for one in sound]
    torn = bytearray(members[2])
    torn[len(torn) // 2] ^= 0xFF
    files = {
        "sound.warc.gz": members[0] + members[1],
        "torn.warc.gz": bytes(torn) + members[3],
        "truncated.warc.gz": members[4] + members[5][:-30],
        "empty.warc.gz": b"",
        "nonsense.warc.gz": b"<html>Access denied</html>",
        "coding.warc.gz": compressed(
            record("https://x.org/", b"\x28\xb5\x2f\xfd", headers=(("Content-Encoding", "zstd"),))
        ),
    }
    manifest = ["crawl,format,path", "C,warc,warc/missing.warc.gz"]
    for name, content in files.items():
        (source / "warc" / name).write_bytes(content)
        manifest.append(f"C,warc,warc/{name}")
    (source / "manifest.csv").write_text("\n".join(manifest))

    pipeline = Pipeline(spark, source, tmp_path / "out")
    report = pipeline.edges("C")
    assert {row[1] for row in pipeline.table("edges", "pages", crawl="C")} == {
        f"https://{n}.page.org/" for n in (0, 1, 3, 4)
    }
    faults = {
        Path(path).name: (reason, whole)
        for _, path, _, _, reason, _, whole in pipeline.table("edges", "faults", crawl="C")
    }
    assert faults == {
        "missing.warc.gz": ("unreadable_file", True),
        "empty.warc.gz": ("empty_file", True),
        "torn.warc.gz": ("corrupt_gzip", False),
        "truncated.warc.gz": ("truncated_gzip", False),
        "nonsense.warc.gz": ("garbage", False),
        "coding.warc.gz": ("unsupported_coding", False),
    }
    assert (report["bad_files"], report["bad_records"]) == (2, 4)
    assert report["checks"] == passed("edges")


def test_ties_and_repeated_records(spark: SparkSession, tmp_path: Path) -> None:
    def fetch(link: str, date: str, identity: str) -> bytes:
        return record(
            "https://page.org/", f"<a href=https://{link}.org>", date=date, identity=identity
        )

    (tmp_path / "manifest.csv").write_text(
        "crawl,format,path\nC,warc,a.warc.gz\nC,warc,b.warc.gz\n"
    )
    last = fetch("dateless", "", "<urn:0>")
    tied = fetch("tied", "2024-01-01T00:00:01Z", "<urn:b>")
    best = fetch("best", "2024-01-01T00:00:01Z", "<urn:a>")
    late = fetch("late", "2024-01-01T00:00:01.5Z", "<urn:0>")
    # All in one gzip member, and the winner twice.
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(last + tied + late + best + best))
    (tmp_path / "b.warc.gz").write_bytes(compressed(best, late))
    pipeline = Pipeline(spark, tmp_path, tmp_path / "out")
    report = pipeline.edges("C")
    assert [row[3] for row in pipeline.table("edges", "links", crawl="C")] == ["https://best.org"]
    assert (report["pages"], report["duplicates"]) == (1, 6)


def test_a_crawl_with_nothing_in_it(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("crawl,format,path\nC,warc,a.warc.gz\n")
    (tmp_path / "seeds.csv").write_text("query,url,blocked\nq,page.org,1\n")
    (tmp_path / "a.warc.gz").write_bytes(compressed(record(status="404 Not Found")))
    pipeline = Pipeline(spark, tmp_path, tmp_path / "out")
    told = [pipeline.nodes("q"), pipeline.edges("C")]
    told += [pipeline.graph("C", "q"), pipeline.graph_aggr("C", "q")]
    assert [report["dagster/row_count"] for report in told] == [0, 0, 0, 0]
    assert all(all(report["checks"].values()) for report in told)


def test_unknown_partitions_are_named_errors(spark: SparkSession, tmp_path: Path) -> None:
    pipeline = Pipeline(spark, SAMPLE, tmp_path)
    with pytest.raises(ValueError, match="SAMPLE-2024-10, SAMPLE-2025-10"):
        pipeline.edges("SAMPLE-1999-01")
    with pytest.raises(ValueError, match="all_pages, night_sky, paper_folding"):
        pipeline.nodes("day_sky")


def test_checks_look_at_what_was_written(spark: SparkSession, tmp_path: Path) -> None:
    """Inputs that no earlier step would have written must fail the checks."""
    from webgraph_tables import LINKS, NODES, PAGES

    pipeline = Pipeline(spark, SAMPLE, tmp_path)
    rows = {
        "edges/C/links": (LINKS, [("C", "p", 0, "u", "stranger.org", "there.org")]),
        "edges/C/pages": (PAGES, [("C", "p", "page.org", None, "", "a", 1)]),
        "nodes/all_pages/nodes": (NODES, []),
    }
    for folder, (schema, content) in rows.items():
        spark.createDataFrame(content, schema).write.parquet(str(tmp_path / folder))
    assert pipeline.graph("C", "all_pages")["checks"] == {"every_source_is_a_page": False}


def test_a_script_by_itself(tmp_path: Path) -> None:
    """As an engine starts it: by its own process, told everything by arguments."""
    conf = [part for key, value in CONF.items() for part in ("--spark-conf", f"{key}={value}")]
    files = [part for path in STEPS.glob("webgraph_*.py") for part in ("--py-file", str(path))]
    ended = subprocess.run(
        [
            *(sys.executable, str(STEPS / "edges.py"), "--engine", "pyspark"),
            *("--mode", "small_dev_sample_local", "--output", str(tmp_path / "edges")),
            *("--partition", f"crawl={CRAWLS[1]}", "--partition-key", CRAWLS[1]),
            *("--parameter", f"input={json.dumps(SAMPLE.as_uri())}", *conf, *files),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "report_asset_materialization" in ended.stdout
    assert list((tmp_path / "edges" / "links").glob("*.parquet"))
