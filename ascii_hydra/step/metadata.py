"""Values that Dagster shows in its own way, made from what Spark knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

INPUT_BYTES = "spark/input_bytes"
"""Metadata of an asset: how many bytes Spark's tasks have read of their sources."""
_EVENTS_WITHIN_MS = 5000


def table_schema(schema: StructType) -> Dict[str, Any]:
    """A DataFrame's schema as Pipes metadata of the type `table_schema`, under the key
    `dagster/column_schema` shown as the asset's columns."""
    columns = [
        {
            "name": field.name,
            "type": field.dataType.simpleString(),
            "constraints": {"nullable": field.nullable},
        }
        for field in schema.fields
    ]
    return {"raw_value": {"columns": columns}, "type": "table_schema"}


def input_bytes(spark: SparkSession) -> Optional[int]:
    """How many bytes the tasks of a session's application have read of files and tables until now,
    by Spark's own account; None where that cannot be asked for: serverless compute has no JVM, and
    on some clusters of Databricks it may not be called."""
    try:
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException
    except ImportError:  # Spark Connect needs no py4j
        return None
    try:
        context = spark.sparkContext._jsc.sc()
        # The figures follow the tasks at some distance.
        context.listenerBus().waitUntilEmpty(_EVENTS_WITHIN_MS)
        executors = context.statusStore().executorList(False)
        return sum(int(executors.apply(i).totalInputBytes()) for i in range(executors.size()))
    except (Py4JError, PySparkException, AttributeError, TypeError):
        return None
