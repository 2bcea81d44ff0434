"""Whether there are credentials for AWS, before anything is asked of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ascii_hydra.aws.client import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Place
from ascii_hydra.config.problems import Problem


def credential_problems(place: Place, environ: Mapping[str, str] = os.environ) -> Iterator[Problem]:
    """What is missing to sign requests; nothing is sent to AWS but, on an instance of EC2 without
    other credentials, a question to its own metadata service."""
    if place.rehearsal:
        return
    both = (ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    given = [name for name in both if environ.get(name)]
    if len(given) == 1:
        (missing,) = set(both) - set(given)
        yield Problem(missing, f"is not set, but {given[0]} is: set both, or neither.")
    if given:
        return
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError

    try:
        found = Session(region_name=place.region).get_credentials() is not None
        why = "there are no credentials for AWS"
    except BotoCoreError as fault:
        found, why = False, f"the credentials for AWS cannot be read: {fault}"
    if not found:
        yield Problem(
            f"{ACCESS_KEY_ID}, {SECRET_ACCESS_KEY}",
            f"{why}. Set both, or configure AWS as usual (AWS_PROFILE, aws sso login, a role);"
            " or rehearse without any: endpoint=rehearsal.",
        )
