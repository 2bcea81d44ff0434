"""Prices of a DBU as a Databricks account tells them now: the system table of list prices.

The table is documented and the account's own; of the list behind Databricks' public calculator no
documentation was found. A query needs a SQL warehouse, and the right to
read `system.billing`. How many DBU an instance is worth an hour is told by no API.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ascii_hydra.catalogue.aws_prices import Told, UnreadableError
from ascii_hydra.catalogue.price_tables import dbu_key
from ascii_hydra.config.choices import Tier
from ascii_hydra.databricks.workspace import Workspace, workspace_client

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import StatementResponse

# `effective_list` is what counts for a bill: the list price, or a promotion's while it lasts.
STATEMENT = (
    "SELECT sku_name, CAST(pricing.effective_list.default AS STRING) AS usd_per_dbu"
    " FROM system.billing.list_prices"
    " WHERE cloud = 'AWS' AND currency_code = 'USD' AND usage_unit = 'DBU'"
    " AND price_start_time <= current_timestamp()"
    " AND (price_end_time IS NULL OR price_end_time > current_timestamp())"
)
# The longest that a call may wait itself (SDK, execute_statement).
_WAIT = "50s"
# A warehouse that stands still takes minutes to start.
_LONGEST_S, _PAUSE_S = 600.0, 5.0
# The SKUs that bills are made of; serverless ones are named with their region.
_SKUS = (
    *("JOBS_COMPUTE", "JOBS_COMPUTE_(PHOTON)", "JOBS_LIGHT_COMPUTE"),
    *("ALL_PURPOSE_COMPUTE", "ALL_PURPOSE_COMPUTE_(PHOTON)"),
)
_REGIONAL_SKUS = ("JOBS_SERVERLESS_COMPUTE", "ALL_PURPOSE_SERVERLESS_COMPUTE")
REGION_NAMES: Mapping[str, str] = {
    "ap-northeast-1": "AP_TOKYO",
    "ap-northeast-2": "AP_SEOUL",
    "ap-south-1": "AP_MUMBAI",
    "ap-southeast-1": "AP_SINGAPORE",
    "ap-southeast-2": "AP_SYDNEY",
    "ap-southeast-3": "AP_JAKARTA",
    "ca-central-1": "CANADA",
    "eu-central-1": "EUROPE_FRANKFURT",
    "eu-north-1": "EUROPE_STOCKHOLM",
    "eu-west-1": "EUROPE_IRELAND",
    "eu-west-2": "EUROPE_LONDON",
    "eu-west-3": "EUROPE_FRANCE",
    "sa-east-1": "SA_BRAZIL",
    "us-east-1": "US_EAST_N_VIRGINIA",
    "us-east-2": "US_EAST_OHIO",
    "us-west-1": "US_WEST_CALIFORNIA",
    "us-west-2": "US_WEST_OREGON",
}
"""AWS regions as Databricks' SKUs name them, by a public notebook that maps them; no list of
Databricks' own was found. Under a wrong name there is no price, and the one that is known stays."""


def dbu_prices(workspace: Workspace, warehouse_id: str, region: str) -> Told:
    """USD a DBU in a region, by `<tier>/<sku>`.

    Raises:
        ValueError: there are no credentials for Databricks.
        databricks.sdk.errors.DatabricksError: Databricks refuses.
        UnreadableError: the query failed, or its answer is not as it is documented.
    """
    rows = _rows(workspace_client(workspace), warehouse_id)
    values: dict[str, float] = {}
    refused: dict[str, str] = {}
    for tier in Tier:
        for sku, name in _names(tier, region).items():
            _, item = dbu_key(tier, sku)
            told = set(rows.get(name, ()))
            if len(told) > 1:
                refused[item] = f"it is listed at {' and at '.join(sorted(told))}"
                continue
            for text in told:
                try:
                    values[item] = float(text)
                except ValueError:
                    refused[item] = f"{text!r} is no number"
    return Told(values, refused)


def _names(tier: Tier, region: str) -> dict[str, str]:
    """What the table calls each SKU."""
    prefix, here = tier.value.upper(), REGION_NAMES.get(region)
    names = {sku: f"{prefix}_{sku}" for sku in _SKUS}
    if here is not None:
        names |= {sku: f"{prefix}_{sku}_{here}" for sku in _REGIONAL_SKUS}
    return names


def _rows(client: WorkspaceClient, warehouse_id: str) -> dict[str, list[str]]:
    """The prices by the name of their SKU."""
    from databricks.sdk.service.sql import (
        Disposition,
        ExecuteStatementRequestOnWaitTimeout,
        Format,
        StatementState,
    )

    api = client.statement_execution
    said = api.execute_statement(
        STATEMENT,
        warehouse_id,
        disposition=Disposition.INLINE,
        format=Format.JSON_ARRAY,
        wait_timeout=_WAIT,
        on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CONTINUE,
    )
    deadline = time.monotonic() + _LONGEST_S
    going_on = (StatementState.PENDING, StatementState.RUNNING)
    while (state := said.status and said.status.state) in going_on and said.statement_id:
        if time.monotonic() > deadline:
            api.cancel_execution(said.statement_id)
            raise UnreadableError(f"the query had no answer within {_LONGEST_S / 60:g} minutes")
        time.sleep(_PAUSE_S)
        said = api.get_statement(said.statement_id)
    if state is not StatementState.SUCCEEDED:
        error = said.status and said.status.error
        why = (error and error.message) or "Databricks does not say why"
        raise UnreadableError(f"the query ended as {state.value if state else 'nothing'}: {why}")
    found: dict[str, list[str]] = {}
    for row in _data(client, said):
        if len(row) != 2 or None in row:  # noqa: PLR2004 - the columns of the query
            raise UnreadableError(f"a row of the list prices is {row}")
        found.setdefault(row[0], []).append(row[1])
    return found


def _data(client: WorkspaceClient, said: StatementResponse) -> list[list[str]]:
    """The rows of all chunks."""
    rows: list[list[str]] = []
    chunk = said.result
    while chunk is not None:
        rows += chunk.data_array or []
        if chunk.next_chunk_index is None or said.statement_id is None:
            return rows
        chunk = client.statement_execution.get_statement_result_chunk_n(
            said.statement_id, chunk.next_chunk_index
        )
    return rows
