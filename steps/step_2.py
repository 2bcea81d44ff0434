"""Measure the texts that step_1 made, and say how long and how different they are."""

from __future__ import annotations

from datetime import datetime, timezone

from dagster_pipes import PipesContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class Step2(SparkStep):
    """The rows of step_1 with `text_length`, the number of characters of `text`."""

    def execute_business_logic(
        self,
        context: PipesContext,
        execution_mode: ExecutionMode,
        partition_key: str | None,
        spark: SparkSession,
        engine: Engine,
    ) -> None:
        started = datetime.now(timezone.utc)
        rows = spark.read.parquet(self.inputs["step_1"])
        rows.withColumn("text_length", sf.length("text")).write.mode("overwrite").parquet(
            self.output
        )

        written = spark.read.parquet(self.output)
        statistics = written.agg(
            sf.count("*").alias("rows"),
            sf.avg("text_length").alias("mean_text_length"),
            sf.avg("value").alias("mean_value"),
            sf.count_distinct("text").alias("distinct_texts"),
        ).collect()[0]
        context.log.info(
            f"{statistics['distinct_texts']} distinct texts in {statistics['rows']} rows"
        )
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": statistics["rows"],
                "dagster/column_schema": table_schema(written.schema),
                "dagster/uri": self.output,
                "mean_text_length": statistics["mean_text_length"],
                "mean_value": statistics["mean_value"],
                "distinct_texts": statistics["distinct_texts"],
            }
        )


if __name__ == "__main__":
    Step2.run()
