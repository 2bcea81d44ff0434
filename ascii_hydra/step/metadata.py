"""Values that Dagster shows in its own way, made from what Spark knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

INPUT_BYTES = "spark/input_bytes"
"""Metadata of an asset: the sizes of the files that its queries have scanned (read_files.py)."""

OUTPUT_CHECKED = "ascii_hydra/output_checked"
"""Key of a Pipes message: the step has looked whether it has written its output."""


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
