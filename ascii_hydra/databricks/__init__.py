"""Databricks: which workspace, with which credentials, and its API's types."""
