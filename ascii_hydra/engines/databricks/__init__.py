"""The Databricks engine."""
