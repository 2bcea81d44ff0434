"""The nodes of a query: the registered domains that its rows of seeds.csv name."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone

from dagster_pipes import PipesContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class NodesStep(SparkStep):
    """Writes two tables below its output: `nodes` and `rejects`, for one query.

    Partition: `query`. Parameters: `input`, the folder with seeds.csv; `private_suffixes` (false).
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
        from webgraph_hosts import Nodes
        from webgraph_input import seeds
        from webgraph_tables import NODES, REJECTS

        started = datetime.now(timezone.utc)
        query = self.partition["query"]
        domains = Nodes(bool(self.parameters.get("private_suffixes", False)))
        found, rejected = seeds(self.parameters["input"], query, domains)
        context.log.info(f"query {query}: {len(found)} nodes, {len(rejected)} rows rejected")
        for name, schema, rows in (("nodes", NODES, found), ("rejects", REJECTS, rejected)):
            table = spark.createDataFrame([tuple(row) for row in rows], schema)
            table.coalesce(1).write.mode("overwrite").parquet(f"{self.output}/{name}")

        written = spark.read.schema(NODES).parquet(f"{self.output}/nodes")
        count = written.agg(
            sf.count("*").alias("rows"),
            sf.count_if(sf.col("domain").isNull()).alias("null_domains"),
            sf.count_distinct("domain").alias("domains"),
        ).collect()[0]
        reasons = Counter(row.reason for row in rejected)
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": count["rows"],
                "dagster/column_schema": table_schema(written.schema),
                "dagster/uri": f"{self.output}/nodes",
                "rejects": len(rejected),
                "rejects_by_reason": {"raw_value": dict(reasons), "type": "json"},
                "rejects_uri": f"{self.output}/rejects",
            }
        )
        context.report_asset_check(
            check_name="no_null_domain",
            passed=count["null_domains"] == 0,
            severity="ERROR",
            metadata={"null_domains": count["null_domains"]},
        )
        context.report_asset_check(
            check_name="nodes_unique",
            passed=count["domains"] + count["null_domains"] == count["rows"],
            severity="ERROR",
            metadata={"rows": count["rows"], "domains": count["domains"]},
        )


if __name__ == "__main__":
    NodesStep.run()
