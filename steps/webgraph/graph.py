"""The links that count for a query: those on pages of its nodes."""

from __future__ import annotations

from datetime import datetime, timezone

from dagster_pipes import PipesContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class GraphStep(SparkStep):
    """Writes one row for each occurrence of a link on a page whose domain is a node of the query.

    Where a link leads to does not matter, so links within a domain are still there; `graph_aggr`
    drops them. The query `all_pages` takes every page, and is written as `*`.

    Partition: `crawl` and `query`. Inputs: `nodes` of the query, `edges` of the crawl.
    """

    def execute_business_logic(
        self,
        context: PipesContext,
        execution_mode: ExecutionMode,
        partition_key: str | None,
        spark: SparkSession,
        engine: Engine,
    ) -> None:
        # The modules beside this script reach a cluster as files added to the session, so they
        # can be imported there only once it is up.
        from webgraph_tables import ALL_PAGES, GRAPH, LINKS, NODES, PAGES, query_column

        started = datetime.now(timezone.utc)
        crawl, query = self.partition["crawl"], self.partition["query"]
        links = spark.read.schema(LINKS).parquet(f"{self.inputs['edges']}/links")
        nodes = spark.read.schema(NODES).parquet(f"{self.inputs['nodes']}/nodes")
        if query != ALL_PAGES:
            sources = nodes.select(sf.col("domain").alias("src_domain"))
            links = links.join(sources, "src_domain", "left_semi")
        links.select(
            "crawl",
            sf.lit(query_column(query)).alias("query"),
            *("page_uri", "position", "url", "src_domain", "dst_domain"),
        ).write.mode("overwrite").parquet(self.output)

        written = spark.read.schema(GRAPH).parquet(self.output)
        count = written.agg(
            sf.count("*").alias("rows"),
            sf.count_distinct("page_uri").alias("pages"),
            sf.count_distinct("src_domain").alias("sources"),
            sf.count_if(sf.col("src_domain") == sf.col("dst_domain")).alias("self_links"),
        ).collect()[0]
        pages = spark.read.schema(PAGES).parquet(f"{self.inputs['edges']}/pages")
        # A null source matches no page, so it counts as a stranger as well.
        strangers = (
            written.select(sf.col("src_domain").alias("domain"))
            .distinct()
            .join(pages, "domain", "left_anti")
            .count()
        )
        context.log.info(f"crawl {crawl}, query {query}: {count['rows']} links")
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": count["rows"],
                "dagster/column_schema": table_schema(written.schema),
                "dagster/uri": self.output,
                "nodes": nodes.count(),
                "pages_with_links": count["pages"],
                "source_domains": count["sources"],
                "self_links": count["self_links"],
            }
        )
        context.report_asset_check(
            check_name="every_source_is_a_page",
            passed=strangers == 0,
            severity="ERROR",
            metadata={"sources": count["sources"], "sources_without_page": strangers},
        )


if __name__ == "__main__":
    GraphStep.run()
