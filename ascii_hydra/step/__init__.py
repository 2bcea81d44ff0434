"""What a Spark script imports, on this machine and on every cluster.

This package depends on `dagster_pipes` and `pyspark` alone and imports nothing else of
ascii_hydra, so that it can be shipped to a cluster by itself.
"""

from ascii_hydra.step.choices import Engine, ExecutionMode
from ascii_hydra.step.metadata import table_schema
from ascii_hydra.step.spark_step import SparkStep, StepArguments

__all__ = ["Engine", "ExecutionMode", "SparkStep", "StepArguments", "table_schema"]
