"""The work by which Java learns which of Spark's classes a step uses. Run by class_archive."""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as sf


def main(folder: str) -> None:
    """Write, read, aggregate, join and sort a little data in several formats under `folder`."""
    spark = (
        SparkSession.builder.appName("class-training")  # type: ignore[attr-defined,unused-ignore]
        .master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    digest = sf.sha2(sf.concat_ws(":", sf.lit("1"), sf.col("id").cast("string")), 256)
    made = spark.range(2_000).select(
        "id",
        (sf.col("id") % 7).alias("group"),
        digest.substr(sf.lit(1), sf.conv(digest.substr(1, 1), 16, 10).cast("int")).alias("text"),
        (sf.conv(digest.substr(1, 8), 16, 10).cast("double") / 2.0**32).alias("value"),
        sf.array(sf.lit(1), sf.col("id")).alias("numbers"),
        sf.current_timestamp().alias("at"),
    )
    made.write.mode("overwrite").parquet(folder + "/plain")
    made.write.mode("overwrite").partitionBy("group").parquet(folder + "/parts")
    read = spark.read.parquet(folder + "/plain")
    read.write.mode("overwrite").json(folder + "/json")
    spark.read.json(folder + "/json").count()
    read.select("id", "text").write.mode("overwrite").csv(folder + "/csv", header=True)
    spark.read.csv(folder + "/csv", header=True, inferSchema=True).count()
    read.agg(sf.count("*"), sf.avg("value"), sf.min("value"), sf.max("text")).collect()
    groups = read.groupBy("group").agg(
        sf.countDistinct("text").alias("texts"), sf.sum("value").alias("total")
    )
    ranked = (
        read.join(groups, "group")
        .join(sf.broadcast(groups.select("group").distinct()), "group", "left")
        .withColumn("rank", sf.row_number().over(Window.partitionBy("group").orderBy("value")))
        .filter("rank <= 10")
        .orderBy(sf.desc("total"), "rank")
    )
    ranked.select("id", sf.explode("numbers").alias("number"), sf.upper("text")).collect()
    spark.read.parquet(folder + "/parts").filter("group = 3").union(
        read.select("id", "text", "value", "numbers", "at", "group")
    ).dropDuplicates(["text"]).cache().count()
    read.createOrReplaceTempView("rows")
    spark.sql("select `group`, percentile_approx(value, 0.5) from rows group by 1").show()
    length = sf.udf(len, "int")
    read.select(length("text")).agg(sf.sum("len(text)")).collect()
    rows = spark.sparkContext.parallelize(range(100), 2).map(lambda n: (n % 3, n))
    spark.createDataFrame(rows.reduceByKey(lambda a, b: a + b), "a int, b int").collect()
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
