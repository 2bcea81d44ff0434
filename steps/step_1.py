"""Make rows of random text, the same ones every time, and write them as Parquet."""

from __future__ import annotations

from datetime import datetime, timezone

from dagster_pipes import PipesContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class Step1(SparkStep):
    """Rows of `id` long, `text` string of 1 to 32 hexadecimal digits, `value` double in [0, 1)."""

    def execute_business_logic(
        self,
        context: PipesContext,
        execution_mode: ExecutionMode,
        partition_key: str | None,
        spark: SparkSession,
        engine: Engine,
    ) -> None:
        started = datetime.now(timezone.utc)
        seed = int(self.parameters["seed"])
        rows = int(self.parameters["rows"][execution_mode.value])
        context.log.info(f"making {rows} rows with seed {seed}")
        # A hash of seed and id, rather than rand(seed), so that a row does not depend on how Spark
        # splits the work: every engine and cluster makes the very same rows.
        digest = sf.sha2(sf.concat_ws(":", sf.lit(str(seed)), sf.col("id").cast("string")), 256)
        length = sf.conv(sf.substring(digest, 1, 4), 16, 10).cast("int") % 32 + 1
        value = sf.conv(sf.substring(digest, 5, 8), 16, 10).cast("double") / sf.lit(2.0**32)
        made = spark.range(rows).select(
            "id", digest.substr(sf.lit(33), length).alias("text"), value.alias("value")
        )
        made.write.mode("overwrite").parquet(self.output)

        written = spark.read.parquet(self.output)
        statistics = written.agg(
            sf.count("*").alias("rows"),
            sf.avg("value").alias("mean_value"),
            sf.min("value").alias("min_value"),
            sf.max("value").alias("max_value"),
        ).collect()[0]
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": statistics["rows"],
                "dagster/column_schema": table_schema(written.schema),
                "dagster/uri": self.output,
                "mean_value": statistics["mean_value"],
                "min_value": statistics["min_value"],
                "max_value": statistics["max_value"],
            }
        )


if __name__ == "__main__":
    Step1.run()
