"""Small files in S3, as they are read before a run: a manifest, a list of seeds."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ascii_hydra.aws.client import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Place, aws_client
from ascii_hydra.config.partitions import local_file
from ascii_hydra.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_LARGEST_BYTES = 256 << 20  # it is held in memory
_BUSY, _SERVER_ERROR = 429, 500
_MISSING = {"404", "NoSuchKey"}
_NO_BUCKET = {"NoSuchBucket"}
_DENIED = {"403", "AccessDenied", "AllAccessDisabled"}
_BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}


def file_opener(place: Place) -> Callable[[str], BinaryIO]:
    """Opens files of this machine, and of S3 at a place, as `dimension_values` wants it."""

    def opened_anywhere(location: str) -> BinaryIO:
        if location.startswith(("s3://", "s3a://")):
            return opened(location, place)
        return local_file(location)

    return opened_anywhere


def opened(uri: str, place: Place) -> BinaryIO:
    """A file of S3, read into memory.

    Args:
        uri: `s3a://bucket/key` or `s3://bucket/key`.
        place: which AWS.

    Raises:
        FileNotFoundError: the bucket is there, but no such file.
        ConfigError: it cannot be read for another reason; the problem names the key of the
            configuration to look at.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        TokenRetrievalError,
    )

    bucket, _, key = uri.partition("://")[2].partition("/")
    try:
        reply = _reply(bucket, key, place)
        if reply["ContentLength"] > _LARGEST_BYTES:
            size = f"{reply['ContentLength']:,} bytes"
            raise ConfigError([Problem(uri, f"has {size}; at most {_LARGEST_BYTES:,} are read.")])
        return io.BytesIO(reply["Body"].read())
    except ClientError as fault:
        code = fault.response.get("Error", {}).get("Code", "")
        if code in _MISSING:
            raise FileNotFoundError(uri) from None
        raise ConfigError([_refusal(uri, bucket, place, code, fault)]) from None
    except (NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as fault:
        what = f"{uri} cannot be read without credentials for AWS ({fault})."
        raise ConfigError(
            [Problem(f"{ACCESS_KEY_ID}, {SECRET_ACCESS_KEY}", f"{what} {_GIVE_CREDENTIALS}")]
        ) from None
    except BotoCoreError as fault:
        where = f"endpoint.url={place.url}" if place.url else f"mode.region={place.region}"
        raise ConfigError([Problem(where, f"{uri} cannot be read: {fault}.")]) from None


def _reply(bucket: str, key: str, place: Place) -> dict[str, Any]:
    """S3's answer. One that cannot be reached is told at once; one that is busy is asked again."""
    from botocore.exceptions import ClientError

    try:
        found = aws_client("s3", place, retried=False).get_object(Bucket=bucket, Key=key)
    except ClientError as fault:
        status = fault.response["ResponseMetadata"]["HTTPStatusCode"]
        if status < _SERVER_ERROR and status != _BUSY:
            raise
        found = aws_client("s3", place).get_object(Bucket=bucket, Key=key)
    return cast("dict[str, Any]", found)


_GIVE_CREDENTIALS = "Set both, or configure AWS as usual (AWS_PROFILE, aws sso login, a role)."


def _refusal(uri: str, bucket: str, place: Place, code: str, fault: ClientError) -> Problem:
    at = f" at {place.url}" if place.url else ""
    if code in _NO_BUCKET:
        return Problem(
            f"mode.bucket={bucket}", f"there is no such bucket{at}: make it, or name another one."
        )
    if code in _DENIED:
        return Problem(
            f"mode.bucket={bucket}",
            f"{uri} may not be read with these credentials: they need s3:GetObject and"
            " s3:ListBucket there.",
        )
    if code in _BAD_KEYS:
        return Problem(
            f"{ACCESS_KEY_ID}, {SECRET_ACCESS_KEY}",
            f"S3{at} does not accept the credentials ({code}). {_GIVE_CREDENTIALS}",
        )
    said = fault.response.get("Error", {}).get("Message") or code
    return Problem(f"mode.bucket={bucket}", f"{uri} cannot be read: {said} ({code}).")
