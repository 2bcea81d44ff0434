"""Where a step runs: this machine, EMR or Databricks. Nothing is imported until it is needed."""
