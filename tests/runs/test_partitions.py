"""Which partitions are made, in which runs, and what Dagster knows of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance

from ascii_hydra.assets.runs import planned_runs
from ascii_hydra.config.compose import composed
from ascii_hydra.config.partitions import chosen_partitions, dimension_values, partition_key
from ascii_hydra.config.problems import ConfigError
from ascii_hydra.config.settle import Settings, settle
from ascii_hydra.outcome import Ending
from tests.conftest import CommandLine
from tests.runs.test_command_line import outcome_in, quick_steps

VALUES = {"crawl": ("c1", "c2"), "query": ("q1", "q2", "all_pages")}
CRAWLS = ("SAMPLE-2024-10", "SAMPLE-2025-10")
QUERIES = ("night_sky", "paper_folding", "all_pages")


def settled(*overrides: str) -> Settings:
    words = ["pipeline=webgraph", *overrides]
    return settle(composed(words), words)


def keys(dimensions: tuple[str, ...], wanted: list[str] | None) -> list[str | None]:
    return [partition_key(one) for one in chosen_partitions(dimensions, VALUES, wanted)]


def test_every_partition_unless_some_are_wanted() -> None:
    assert len(keys(("crawl", "query"), None)) == 6
    assert keys(("crawl",), ["c2"]) == ["c2"]
    assert keys(("query",), ["c2"]) == ["q1", "q2", "all_pages"]
    assert keys(("crawl", "query"), ["c2"]) == ["c2|q1", "c2|q2", "c2|all_pages"]
    assert keys(("crawl", "query"), ["c2", "q1", "q2"]) == ["c2|q1", "c2|q2"]


def test_a_whole_key_makes_that_partition_and_what_it_needs() -> None:
    assert keys(("crawl", "query"), ["c1|q2"]) == ["c1|q2"]
    assert keys(("crawl",), ["c1|q2"]) == ["c1"]
    assert keys(("query",), ["c1|q2"]) == ["q2"]


def test_what_is_wanted_must_exist() -> None:
    with pytest.raises(ConfigError) as refused:
        dimension_values(settled(f"pipeline.partitions=[{CRAWLS[0]},c9,c1|q9]").config.pipeline)
    assert str(refused.value) == (
        "pipeline.partitions: there is no c9, c1|q9. crawl: SAMPLE-2024-10, SAMPLE-2025-10;"
        " query: night_sky, paper_folding, all_pages."
    )


def test_a_dimension_without_a_value_is_no_success(tmp_path: Path) -> None:
    # As the step reads it: a byte order mark, spaces and the case of formats do not count.
    (tmp_path / "manifest.csv").write_text("\ufeffcrawl, format ,path\n c1 , WARC ,a\n")
    (tmp_path / "seeds.csv").write_text("query,url\n,u\n")
    with pytest.raises(ConfigError) as refused:
        dimension_values(settled(f"pipeline.input={tmp_path}").config.pipeline)
    assert str(refused.value) == (
        f"pipeline.partition_dimensions.query: {tmp_path}/seeds.csv has no value."
    )
    (tmp_path / "seeds.csv").write_bytes(b"query,url\n\xff,u\n")
    with pytest.raises(ConfigError, match="cannot be read as CSV in UTF-8"):
        dimension_values(settled(f"pipeline.input={tmp_path}").config.pipeline)
    (tmp_path / "seeds.csv").write_text("query,url\nq,u\n")
    assert dimension_values(settled(f"pipeline.input={tmp_path}").config.pipeline) == {
        "crawl": ("c1",),
        "query": ("q", "all_pages"),
    }


def test_values_come_from_the_input(tmp_path: Path) -> None:
    assert dimension_values(settled().config.pipeline) == {"crawl": CRAWLS, "query": QUERIES}
    with pytest.raises(ConfigError) as refused:
        dimension_values(settled(f"pipeline.input={tmp_path}").config.pipeline)
    assert [str(problem) for problem in refused.value.problems] == [
        f"pipeline.input: there is no file {tmp_path}/manifest.csv, from which crawl is read.",
        f"pipeline.input: there is no file {tmp_path}/seeds.csv, from which query is read.",
    ]
    (tmp_path / "manifest.csv").write_text("crawl,path\nc1,a\n")
    (tmp_path / "seeds.csv").write_text("query,url\nall_pages,u\n")
    with pytest.raises(ConfigError) as refused:
        dimension_values(settled(f"pipeline.input={tmp_path}").config.pipeline)
    at = "pipeline.partition_dimensions"
    assert [str(problem) for problem in refused.value.problems] == [
        f"{at}.crawl: {tmp_path}/manifest.csv has no column format.",
        f"{at}.query: {tmp_path}/seeds.csv uses 'all_pages', which has a meaning of its own here.",
    ]


def test_a_plain_run_makes_every_partition_of_the_manifest() -> None:
    settings = settled()
    runs = planned_runs(settings, dimension_values(settings.config.pipeline))
    made = [(run.steps, partition_key(run.partition)) for run in runs]
    both = ("graph", "graph_aggr")
    assert made == [
        *((("nodes",), query) for query in QUERIES),
        *((("edges",), crawl) for crawl in CRAWLS),
        *((both, f"{crawl}|{query}") for crawl in CRAWLS for query in QUERIES),
    ]


def test_a_partition_from_end_to_end(
    command_line: CommandLine, tmp_path: Path, shared_home: Path
) -> None:
    crawl, query = CRAWLS[1], QUERIES[1]
    words = ["pipeline=webgraph", f"pipeline.partitions=[{crawl}|{query}]"]
    ended = command_line(*words, f"pipeline.output={tmp_path}/web")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folders = {
        str(path.relative_to(tmp_path / "web"))
        for path in (tmp_path / "web").glob("*/*")
        if path.is_dir()
    }
    assert folders == {
        f"nodes/query={query}",
        f"edges/crawl={crawl}",
        f"graph/crawl={crawl}",
        f"graph_aggr/crawl={crawl}",
    }
    rows = pq.read_table(tmp_path / "web" / "graph_aggr" / f"crawl={crawl}" / f"query={query}")
    assert rows.num_rows > 0
    with DagsterInstance.from_config(str(shared_home)) as instance:
        runs = [instance.get_run_by_id(one) for one in outcome_in(tmp_path).run_ids]
        assert [run and run.job_name for run in runs] == [
            "webgraph_by_query",
            "webgraph_by_crawl",
            "webgraph_by_crawl_and_query",
        ]
        assert runs[2] is not None
        assert runs[2].tags["dagster/partition"] == f"{crawl}|{query}"
        assert runs[2].tags["dagster/partition/crawl"] == crawl
        aggregated = AssetKey(["webgraph", "graph_aggr"])
        assert f"{crawl}|{query}" in instance.get_materialized_partitions(aggregated)
        check = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [AssetCheckKey(aggregated, "no_self_link")]
        )
        assert [one.status.value for one in check.values()] == ["SUCCEEDED"]


def test_what_needs_a_failed_partition_is_not_started(
    command_line: CommandLine, tmp_path: Path
) -> None:
    lost = f"assert 'crawl={CRAWLS[0]}' not in sys.argv, 'this crawl is lost'"
    checked = (
        "[context.report_asset_check(one, True) for one in ('no_null_domain', 'nodes_unique')]"
    )
    words = quick_steps(tmp_path, lost, checked, steps=("nodes", "edges"))
    ended = command_line(
        "pipeline=webgraph",
        f"pipeline.output={tmp_path}/web",
        f"pipeline.partitions=[{CRAWLS[0]}|{QUERIES[0]}]",
        *words,
    )
    assert ended.returncode == 1
    assert "this crawl is lost" in ended.stdout
    endings = {one.step: one.ending for one in outcome_in(tmp_path).steps}
    assert endings == {
        "nodes": Ending.succeeded,
        "edges": Ending.failed,
        "graph": Ending.not_started,
        "graph_aggr": Ending.not_started,
    }


def test_a_wanted_partition_that_does_not_exist(command_line: CommandLine) -> None:
    ended = command_line("pipeline=webgraph", "pipeline.partitions=[SAMPLE-1999]")
    assert ended.returncode == 1
    assert ended.stderr == (
        "pipeline.partitions: there is no SAMPLE-1999. crawl: SAMPLE-2024-10, SAMPLE-2025-10;"
        " query: night_sky, paper_folding, all_pages.\n"
    )
