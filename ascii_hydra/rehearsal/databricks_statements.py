"""The Statement Execution API of the rehearsal workspace: the one query of prices, at once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from ascii_hydra.catalogue.databricks_prices import REGION_NAMES, STATEMENT
from ascii_hydra.catalogue.price_tables import PACKAGED, Kind, table_of
from ascii_hydra.rehearsal.databricks_calls import Reply
from ascii_hydra.rehearsal.databricks_errors import invalid, missing

WAREHOUSE = "rehearsal"
"""The id of the workspace's only SQL warehouse."""
_COLUMNS = ("sku_name", "usd_per_dbu")


def execute(body: Mapping[str, Any]) -> Reply:
    """POST /sql/statements. Raises WorkspaceError."""
    if body["warehouse_id"] != WAREHOUSE:
        raise missing(f"SQL warehouse {body['warehouse_id']} does not exist.")
    if body.get("disposition", "INLINE") != "INLINE" or body.get("format", "JSON_ARRAY") != (
        "JSON_ARRAY"
    ):
        raise invalid("The rehearsal tells results INLINE, as JSON_ARRAY.")
    statement_id = str(uuid.uuid4())
    if body["statement"] != STATEMENT:
        error = {
            "error_code": "BAD_REQUEST",
            "message": "The rehearsal's warehouse knows the query of list prices alone.",
        }
        return {"statement_id": statement_id, "status": {"state": "FAILED", "error": error}}
    rows = _list_prices()
    return {
        "statement_id": statement_id,
        "status": {"state": "SUCCEEDED"},
        "manifest": {
            "format": "JSON_ARRAY",
            "schema": {
                "column_count": len(_COLUMNS),
                "columns": [
                    {"name": name, "type_name": "STRING", "type_text": "STRING", "position": at}
                    for at, name in enumerate(_COLUMNS)
                ],
            },
            "total_chunk_count": 1,
            "total_row_count": len(rows),
            "truncated": False,
        },
        "result": {"chunk_index": 0, "row_count": len(rows), "row_offset": 0, "data_array": rows},
    }


def _list_prices() -> list[list[str]]:
    rows = {}
    for region, here in REGION_NAMES.items():
        for (kind, item), figure in table_of(PACKAGED, region).items():
            if kind is Kind.dbu:
                tier, _, sku = item.partition("/")
                name = f"{tier.upper()}_{sku}" + (f"_{here}" if "SERVERLESS" in sku else "")
                rows[name] = f"{figure.value:.3f}"
    return [[name, usd] for name, usd in sorted(rows.items())]
