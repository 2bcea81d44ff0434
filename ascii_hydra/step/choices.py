"""The closed choices that a step is told of. Names equal values: both are what people type."""

from enum import Enum


class Engine(str, Enum):
    """Where a step runs."""

    pyspark = "pyspark"
    emr = "emr"
    databricks = "databricks"

    def __str__(self) -> str:
        return self.value


class ExecutionMode(str, Enum):
    """How much data a step reads, and where that data lives."""

    small_dev_sample_local = "small_dev_sample_local"
    small_dev_sample_s3 = "small_dev_sample_s3"
    full = "full"

    def __str__(self) -> str:
        return self.value
