"""What a Spark script imports, on this machine and on every cluster.

This package depends on `dagster_pipes` and `pyspark` alone and imports nothing else of
ascii_hydra, so that it can be shipped to a cluster by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ascii_hydra.step.choices import Engine, ExecutionMode

if TYPE_CHECKING:
    from ascii_hydra.step.metadata import table_schema
    from ascii_hydra.step.spark_step import SparkStep, StepArguments

__all__ = ["Engine", "ExecutionMode", "SparkStep", "StepArguments", "table_schema"]


def __getattr__(name: str) -> Any:
    # The command line needs the two Enums alone, and is to answer at once.
    if name == "table_schema":
        from ascii_hydra.step.metadata import table_schema

        return table_schema
    if name in {"SparkStep", "StepArguments"}:
        from ascii_hydra.step import spark_step

        return getattr(spark_step, name)
    raise AttributeError(name)
