"""Which AWS a step of the configuration means."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from ascii_hydra.aws.client import Place
from ascii_hydra.config.choices import Endpoint
from ascii_hydra.config.partitions import local_file
from ascii_hydra.config.settle import Settings, StepSettings


def place_of(step: StepSettings) -> Place:
    """The AWS of a step: its data's region (`mode.region`), else its engine's, and the endpoint."""
    endpoint = step.endpoint
    return Place(
        region=step.mode.region or step.engine.region,
        url=endpoint.url,
        path_style=endpoint.path_style,
        rehearsal=endpoint.name is Endpoint.rehearsal,
    )


def input_opener(settings: Settings) -> Callable[[str], BinaryIO]:
    """What opens the files of a pipeline's input, here or in S3, for `dimension_values`."""
    if "://" not in settings.config.pipeline.input:
        return local_file
    from ascii_hydra.aws.files import file_opener

    return file_opener(place_of(next(iter(settings.steps.values()))))
