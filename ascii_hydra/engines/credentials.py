"""Which credentials this machine needs for a step, and whether it has them."""

from __future__ import annotations

from collections.abc import Iterator

from ascii_hydra.config.problems import Problem
from ascii_hydra.config.schema import DatabricksEngine
from ascii_hydra.config.settle import Settings, StepSettings


def credential_problems(step: StepSettings) -> Iterator[Problem]:
    """What is missing for this machine to have a step run, wherever it runs."""
    engine = step.engine
    if isinstance(engine, DatabricksEngine):
        from ascii_hydra.databricks.credentials import credential_problems as databricks_problems
        from ascii_hydra.databricks.workspace import workspace_of

        yield from databricks_problems(workspace_of(step))
        if not engine.staging_root.startswith("s3://"):
            return  # the data is read and written there alone
    yield from _aws_problems(step)


def launch_credential_problems(settings: Settings) -> list[Problem]:
    """The same for all steps of a launch, and for what is read here before they start."""
    steps = settings.steps.values()
    found = [one for step in steps for one in credential_problems(step)]
    pipeline = settings.config.pipeline
    read = any(one.csv is not None for one in pipeline.partition_dimensions.values())
    if read and "://" in pipeline.input:
        found += _aws_problems(next(iter(steps)))
    return list(dict.fromkeys(found))


def _aws_problems(step: StepSettings) -> Iterator[Problem]:
    if step.mode.bucket is None:
        return
    from ascii_hydra.aws.credentials import credential_problems as aws_problems
    from ascii_hydra.aws.place import place_of

    yield from aws_problems(place_of(step))
