"""The graph of domains: how often, from how many pages and to how many URLs one links another."""

from __future__ import annotations

from datetime import datetime, timezone

from dagster_pipes import PipesContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class GraphAggrStep(SparkStep):
    """Writes one row for each pair of different domains of which the first links the second.

    `n_links` counts occurrences of links, `n_src_pages` the pages that they are on, `n_dst_urls`
    the different target URLs without fragment. The query `all_pages` is written as `*`.

    Partition: `crawl` and `query`. Input: `graph` of both.
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
        from webgraph_tables import GRAPH, GRAPH_AGGR

        started = datetime.now(timezone.utc)
        crawl, query = self.partition["crawl"], self.partition["query"]
        graph = spark.read.schema(GRAPH).parquet(self.inputs["graph"])
        (
            graph.where("src_domain != dst_domain")
            .groupBy("crawl", "query", "src_domain", "dst_domain")
            .agg(
                sf.count("*").alias("n_links"),
                sf.count_distinct("page_uri").alias("n_src_pages"),
                sf.count_distinct("url").alias("n_dst_urls"),
            )
            .sortWithinPartitions("src_domain", "dst_domain")
            .write.mode("overwrite")
            .parquet(self.output)
        )

        written = spark.read.schema(GRAPH_AGGR).parquet(self.output)
        no_domain = sf.col("src_domain").isNull() | sf.col("dst_domain").isNull()
        count = written.agg(
            sf.count("*").alias("rows"),
            sf.coalesce(sf.sum("n_links"), sf.lit(0)).alias("links"),
            sf.count_if(sf.col("src_domain") == sf.col("dst_domain")).alias("self_links"),
            sf.count_if(no_domain).alias("null_domains"),
            sf.count_distinct("src_domain").alias("sources"),
            sf.count_distinct("dst_domain").alias("targets"),
        ).collect()[0]
        context.log.info(f"crawl {crawl}, query {query}: {count['rows']} pairs of domains")
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": count["rows"],
                "dagster/column_schema": table_schema(written.schema),
                "dagster/uri": self.output,
                "links": count["links"],
                "source_domains": count["sources"],
                "target_domains": count["targets"],
            }
        )
        context.report_asset_check(
            check_name="no_self_link",
            passed=count["self_links"] == 0,
            severity="ERROR",
            metadata={"self_links": count["self_links"]},
        )
        context.report_asset_check(
            check_name="no_null_domain",
            passed=count["null_domains"] == 0,
            severity="ERROR",
            metadata={"null_domains": count["null_domains"]},
        )


if __name__ == "__main__":
    GraphAggrStep.run()
