"""One Spark step, written once, run unchanged on local PySpark, AWS EMR or Databricks."""
