"""What a step reported, held against what its asset declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dagster import AssetCheckResult, AssetExecutionContext, MaterializeResult, OpExecutionContext


def strange_report(
    context: OpExecutionContext | AssetExecutionContext,
    results: Sequence[MaterializeResult[Any] | AssetCheckResult],
) -> str | None:
    """A report of something else than this asset and its checks: Dagster would not name it."""
    if not context.has_assets_def:
        return None
    checks = {(key.asset_key, key.name) for key in context.assets_def.check_keys}
    for result in results:
        key = result.asset_key
        if isinstance(result, MaterializeResult):
            if key is not None and key not in context.selected_asset_keys:
                return f"the asset {key.to_user_string()!r}"
        elif (key, result.check_name) not in checks:
            asset = key.to_user_string() if key is not None else "?"
            return f"the check {result.check_name!r} of {asset!r}"
    return None
