"""The pages of a crawl and every link on them, read from its WARC files."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial

from dagster_pipes import PipesContext
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as sf

from ascii_hydra.step import Engine, ExecutionMode, SparkStep, table_schema


class EdgesStep(SparkStep):
    """Writes three tables below its output: `pages`, `links` and `faults`, for one crawl.

    Of a page that was fetched several times the earliest fetch counts (ties: the smallest
    WARC-Record-ID). Pages on a host without a registered domain (an IP address, say) are no nodes
    and are left out, with their links. So are links to such hosts. Both are counted over every
    page record that was read: `page_records_without_domain`, and `skipped_links` by reason.

    Partition: `crawl`. Parameters: `input`, the folder with manifest.csv; `private_suffixes`
    (false).
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
        from webgraph_input import warc_paths
        from webgraph_rows import ROWS, rows_of_files
        from webgraph_tables import FAULTS, LINKS, PAGES

        started = datetime.now(timezone.utc)
        crawl, folder = self.partition["crawl"], self.parameters["input"]
        paths = warc_paths(folder, crawl)
        context.log.info(f"crawl {crawl}: reading {len(paths)} WARC files")
        # One task for each file: a WARC file can be read from its start only.
        files = spark.sparkContext.parallelize(paths, len(paths))
        read = files.mapPartitions(
            partial(
                rows_of_files,
                folder=folder,
                private_suffixes=bool(self.parameters.get("private_suffixes", False)),
            )
        )
        # Kept on disk, because three tables are written from one reading of the files.
        rows = spark.createDataFrame(read, ROWS, verifySchema=False).persist(StorageLevel.DISK_ONLY)
        fetches = rows.where("kind = 'page'")
        kept = fetches.join(_superseded(fetches), ["path", "ordinal"], "left_anti").where(
            "domain is not null"
        )
        tables = {
            "pages": kept.select(
                sf.lit(crawl).alias("crawl"),
                *("page_uri", "domain", "fetched", "record_id", "path"),
                sf.size("urls").alias("n_links"),
            ),
            "links": kept.select(
                "page_uri", "domain", sf.posexplode(sf.arrays_zip("urls", "domains"))
            ).select(
                sf.lit(crawl).alias("crawl"),
                "page_uri",
                sf.col("pos").alias("position"),
                sf.col("col.urls").alias("url"),
                sf.col("domain").alias("src_domain"),
                sf.col("col.domains").alias("dst_domain"),
            ),
            "faults": rows.where("kind = 'fault'")
            .select(
                sf.lit(crawl).alias("crawl"),
                *("path", "offset", "record_id", "reason", "detail", "whole_file"),
            )
            .coalesce(1),
        }
        for name, table in tables.items():
            table.write.mode("overwrite").parquet(f"{self.output}/{name}")
        counts = {
            row["key"]: row["total"]
            for row in rows.where("kind = 'file'")
            .select(sf.explode("counts"))
            .groupBy("key")
            .agg(sf.sum("value").alias("total"))
            .collect()
        }
        nowhere = counts.get("page_records_without_domain", 0)
        rows.unpersist()

        pages = spark.read.schema(PAGES).parquet(f"{self.output}/pages")
        links = spark.read.schema(LINKS).parquet(f"{self.output}/links")
        faults = spark.read.schema(FAULTS).parquet(f"{self.output}/faults")
        of_pages = pages.agg(
            sf.count("*").alias("rows"),
            sf.count_distinct("page_uri").alias("uris"),
            sf.count_if(sf.col("page_uri").isNull() | sf.col("domain").isNull()).alias("nulls"),
        ).collect()[0]
        of_links = links.agg(
            sf.count("*").alias("rows"),
            sf.count_if(sf.col("src_domain").isNull() | sf.col("dst_domain").isNull()).alias(
                "nulls"
            ),
        ).collect()[0]
        by_reason = {
            (row["whole_file"], row["reason"]): row["count"]
            for row in faults.groupBy("whole_file", "reason").count().collect()
        }
        bad_files = sum(times for (whole, _), times in by_reason.items() if whole)
        bad_records = sum(by_reason.values()) - bad_files
        if by_reason:
            context.log.warning(
                f"crawl {crawl}: {bad_files} files and {bad_records} records could not be read; "
                f"see {self.output}/faults"
            )
        context.report_asset_materialization(
            metadata={
                "started_at": started.isoformat(),
                "ended_at": datetime.now(timezone.utc).isoformat(),
                "dagster/row_count": of_links["rows"],
                "dagster/column_schema": table_schema(links.schema),
                "dagster/uri": f"{self.output}/links",
                "pages_uri": f"{self.output}/pages",
                "faults_uri": f"{self.output}/faults",
                "files": len(paths),
                "records": counts.get("records", 0),
                "responses": counts.get("responses", 0),
                "page_records": counts.get("page_records", 0),
                "pages": of_pages["rows"],
                "page_records_without_domain": nowhere,
                "duplicates": counts.get("page_records", 0) - of_pages["rows"] - nowhere,
                "links": of_links["rows"],
                "skipped_links": {
                    "raw_value": {
                        name.removeprefix("skipped_"): times
                        for name, times in sorted(counts.items())
                        if name.startswith("skipped_")
                    },
                    "type": "json",
                },
                "bad_files": bad_files,
                "bad_records": bad_records,
                "faults_by_reason": {
                    "raw_value": {reason: times for (_, reason), times in by_reason.items()},
                    "type": "json",
                },
            }
        )
        context.report_asset_check(
            check_name="pages_unique",
            passed=of_pages["rows"] == of_pages["uris"],
            severity="ERROR",
            metadata={"pages": of_pages["rows"], "distinct_uris": of_pages["uris"]},
        )
        context.report_asset_check(
            check_name="no_null_domain",
            passed=of_pages["nulls"] == 0 and of_links["nulls"] == 0,
            severity="ERROR",
            metadata={"pages": of_pages["nulls"], "links": of_links["nulls"]},
        )


def _superseded(fetches: DataFrame) -> DataFrame:
    """`path` and `ordinal` of every fetch of a page but the one that counts.

    The losers rather than the winners: they are few, so that Spark can send them to the tasks
    instead of sending all links through a shuffle.
    """
    first = Window.partitionBy("page_uri").orderBy(
        sf.col("fetched").asc_nulls_last(), "record_id", "path", "ordinal"
    )
    return (
        fetches.select("page_uri", "fetched", "record_id", "path", "ordinal")
        .withColumn("place", sf.row_number().over(first))
        .where("place > 1")
        .select("path", "ordinal")
    )


if __name__ == "__main__":
    EdgesStep.run()
