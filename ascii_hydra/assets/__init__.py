"""Dagster's side: the asset factory, the Definitions, and headless runs."""

import warnings

import dagster as dg

# Code references and Pipes readers are marked as beta or preview; the versions are pinned and the
# tests use them, so a user of ascii_hydra need not be told on every start.
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)

from ascii_hydra.assets.factory import spark_asset  # noqa: E402 - the filter comes first
from ascii_hydra.assets.launchpad import SparkPipesClient  # noqa: E402

__all__ = ["SparkPipesClient", "spark_asset"]
