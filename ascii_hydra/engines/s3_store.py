"""Whole objects in S3, as a store of payloads and Pipes messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.aws_errors import aws_fault, code
from ascii_hydra.engines.calls import CallFault

# Names for it, with and without a body in the reply.
_MISSING = {"NoSuchKey", "404"}
_DENIED = {"AccessDenied", "403"}
_TAKEN = {"PreconditionFailed", "412"}


class S3Store:
    """The buckets of one place; URIs are `s3://bucket/key`. May be shared by threads.

    Args:
        place: which AWS.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @cached_property
    def _s3(self) -> Any:
        return aws_client("s3", self._place, retried=False)

    def renew(self) -> None:
        """The credentials have expired: the next call looks for new ones."""
        self.__dict__.pop("_s3", None)

    def read(self, uri: str) -> bytes | None:
        """A whole object; None if there is none (yet)."""
        try:
            return bytes(self._s3.get_object(**_names(uri))["Body"].read())
        except ClientError as fault:
            if code(fault) in _MISSING:
                return None
            raise

    def write(self, uri: str, content: bytes) -> None:
        """Write a whole object, in the place of one that is there."""
        self._s3.put_object(**_names(uri), Body=content)

    def create(self, uri: str, content: bytes) -> None:
        """Write a whole object unless there is one."""
        try:
            self._s3.put_object(**_names(uri), Body=content, IfNoneMatch="*")
        except ClientError as fault:
            if code(fault) not in _TAKEN:
                raise

    def exists(self, uri: str) -> bool:
        """Whether there is an object; False also where nobody may know."""
        try:
            self._s3.head_object(**_names(uri))
        except ClientError as fault:
            # 403 is also said of what is not there to those who may not list.
            if code(fault) in _MISSING | _DENIED:
                return False
            raise
        return True

    def names(self, folder: str) -> list[str]:
        """All objects below a folder, relative to it; empty if there are none."""
        prefix = _names(folder)["Key"].rstrip("/") + "/"
        return [key.removeprefix(prefix) for page in self._pages(folder) for key in page]

    def delete(self, folder: str) -> None:
        """Delete all objects below a folder."""
        for page in self._pages(folder):
            if page:
                self._s3.delete_objects(
                    Bucket=_names(folder)["Bucket"],
                    Delete={"Objects": [{"Key": key} for key in page], "Quiet": True},
                )

    def fault(self, raised: BaseException) -> CallFault | None:
        """What an exception says of a call; None for one that no call raises."""
        return aws_fault(raised)

    def advice(self, fault: CallFault, uri: str) -> str:
        """What to do about it, as the end of a sentence (`: allow ...`), or nothing."""
        bucket = urlsplit(uri).netloc
        match fault.code:
            case "NoSuchBucket":
                return f": make the bucket {bucket}, or set engine.staging_root to another"
            case "NoCredentialsError":
                return (
                    ": set ASCII_AWS_ACCESS_KEY_ID and ASCII_AWS_SECRET_ACCESS_KEY, or log in as"
                    " the AWS tools want it (aws configure, aws sso login)"
                )
            case "PermanentRedirect" | "IllegalLocationConstraintException" | "301":
                return f": the bucket {bucket} is in another region; set engine.region"
        if fault.denied:
            # Without the right to list, S3 calls an object that is not there "denied".
            return (
                ": allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and"
                " s3:DeleteObject there, or set engine.staging_root to another folder"
            )
        return ""

    def _pages(self, folder: str) -> Iterator[list[str]]:
        names = _names(folder)
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=names["Bucket"], Prefix=names["Key"].rstrip("/") + "/"
        )
        for page in pages:
            yield [one["Key"] for one in page.get("Contents", ())]


def _names(uri: str) -> dict[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
