"""Clients of AWS services, with the credentials of this project's own variables if they are set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session

ACCESS_KEY_ID, SECRET_ACCESS_KEY = "ASCII_AWS_ACCESS_KEY_ID", "ASCII_AWS_SECRET_ACCESS_KEY"
# The rehearsal cloud asks for no credentials, so none of a person's own ever reach it.
_REHEARSAL_KEYS = ("rehearsal", "rehearsal")
_ATTEMPTS = 10


@dataclass(frozen=True)
class Place:
    """Which AWS is meant.

    Attributes:
        region: AWS region; None for that of the ordinary AWS configuration.
        url: of what answers instead of AWS, or None.
        path_style: the bucket stands in the path rather than in the host name.
        rehearsal: it is the rehearsal cloud.
    """

    region: str | None
    url: str | None = None
    path_style: bool = False
    rehearsal: bool = False


def aws_environment(place: Place, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables by which any AWS SDK finds this place and the credentials for it.

    They hold secrets: give them to a process as its environment, and to nothing else.
    """
    found = {"AWS_REGION": place.region, "AWS_DEFAULT_REGION": place.region}
    if place.url is not None:
        found["AWS_ENDPOINT_URL"] = place.url
    keys = _keys(place, environ)
    if keys is not None:
        found |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
        # A token of other keys in the environment would be sent along with these.
        found["AWS_SESSION_TOKEN"] = ""
    return {name: value for name, value in found.items() if value is not None}


def aws_client(service: str, place: Place, *, retried: bool = True) -> Any:
    """A boto3 client of a service. An answer that was cut off, or is not the service's, is an
    error of its calls (ResponseStreamingError, ResponseParserError), and never an empty answer.

    Args:
        service: as boto3 names it.
        place: which AWS.
        retried: throttled and failed calls are made again, up to 10 times, at a rate that adapts
            to what AWS accepts. False for a call that must not be made twice.
    """
    from botocore.config import Config

    from ascii_hydra.aws.answers import WholeAnswers

    retries = (
        {"mode": "adaptive", "max_attempts": _ATTEMPTS} if retried else {"total_max_attempts": 1}
    )
    style = {"addressing_style": "path"} if place.path_style else None
    client = _session(place).client(
        service,
        endpoint_url=place.url,
        config=Config(retries=retries, s3=style, connect_timeout=10, read_timeout=60),
    )
    # botocore has no setting for it.
    client._endpoint.http_session = WholeAnswers(client._endpoint.http_session)
    return client


def _session(place: Place) -> Session:
    from boto3.session import Session
    from botocore.session import Session as BotocoreSession

    from ascii_hydra.aws.answers import AnswerParsers

    core = BotocoreSession()
    keys = _keys(place, os.environ) or ()
    session = Session(*keys, region_name=place.region, botocore_session=core)
    core.register_component("data_loader", _models())
    core.register_component("response_parser_factory", AnswerParsers())
    return session


@cache
def _models() -> Any:
    """The descriptions of services, read once: a session would read its own, which takes most of
    the time that a client takes."""
    from botocore.loaders import create_loader
    from botocore.session import Session as BotocoreSession

    return create_loader(BotocoreSession().get_config_variable("data_path"))


def _keys(place: Place, environ: Mapping[str, str]) -> tuple[str, str] | None:
    if place.rehearsal:
        return _REHEARSAL_KEYS
    key, secret = environ.get(ACCESS_KEY_ID), environ.get(SECRET_ACCESS_KEY)
    return (key, secret) if key and secret else None
