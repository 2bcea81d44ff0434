"""Where the input lies, and how a file of it is opened: the one place that knows of storage."""

from __future__ import annotations

import io
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

_ATTEMPTS = 5  # in a row without a byte, with 1, 2, 4 and 8 s in between


class BrokenReadError(OSError):
    """The storage failed in the middle of a file, again and again; it may work later."""


def joined(folder: str, relative: str) -> str:
    """The location of a file that is named relative to a folder."""
    return f"{folder.rstrip('/')}/{relative}"


def opened(location: str) -> BinaryIO:
    """A file opened to be read from its start to its end, as a stream.

    Args:
        location: a path of this machine, a `file:` URI, or an `s3a:` or `s3:` URI, for which
            boto3 finds region, credentials and endpoint in the environment.

    Raises:
        OSError: there is no such file, or it may not be read.
        BrokenReadError: the storage failed; so does reading from the stream.
        ValueError: the location has a scheme that is not known here.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        return Path(location).open("rb")
    if scheme == "file":
        return Path(url2pathname(urlsplit(location).path)).open("rb")
    if scheme in {"s3", "s3a"}:
        bucket, _, key = rest.partition("/")
        return io.BufferedReader(_S3File(location, bucket, key))
    raise ValueError(f"{location}: cannot read {scheme}:// here, only a path, file:// or s3a://")


@lru_cache(maxsize=1)  # making one takes a tenth of a second
def _s3() -> Any:
    import boto3

    return boto3.client("s3")


class _S3File(io.RawIOBase):
    """An object of S3 as a stream. Where a connection breaks, another one goes on: a WARC file of
    a gigabyte is read for minutes."""

    def __init__(self, location: str, bucket: str, key: str) -> None:
        super().__init__()
        self._location = location
        self._object = {"Bucket": bucket, "Key": key}
        self._offset = 0
        self._body: Any = None
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from botocore.exceptions import BotoCoreError

        for attempt in range(_ATTEMPTS):
            try:
                if self._body is None:
                    self._connect()
                piece = self._body.read(len(buffer)) if self._offset < self._size else b""
                if not piece and self._offset < self._size:
                    raise ConnectionError("the connection ended before the file did")
            except (BotoCoreError, ConnectionError) as fault:
                self._body = None
                if attempt == _ATTEMPTS - 1:
                    raise BrokenReadError(
                        f"{self._location} broke off at byte {self._offset}: {fault}"
                    ) from fault
                time.sleep(2**attempt)
                continue
            buffer[: len(piece)] = piece
            self._offset += len(piece)
            return len(piece)
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()

    def _connect(self) -> None:
        """Ask for the file from where reading stands."""
        from botocore.exceptions import BotoCoreError, ClientError

        asked = dict(self._object)
        if self._offset:
            # The same file, or none: not the rest of another one.
            asked.update(Range=f"bytes={self._offset}-", IfMatch=self._etag)
        try:
            reply = _s3().get_object(**asked)
        except ClientError as fault:
            raise _refusal(self._location, fault) from fault
        except BotoCoreError as fault:
            if self._offset:
                raise
            raise BrokenReadError(f"{self._location} cannot be read: {fault}") from fault
        if not self._offset:
            self._etag, self._size = reply["ETag"], reply["ContentLength"]
        self._body = reply["Body"]


def _refusal(location: str, fault: Any) -> OSError:
    error = fault.response.get("Error", {})
    code, said = error.get("Code", ""), error.get("Message", "")
    if code in {"NoSuchBucket", "NoSuchKey", "404"}:
        return FileNotFoundError(f"there is no {location}")
    if fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return BrokenReadError(f"{location} cannot be read: {said} ({code})")
    return PermissionError(f"{location} cannot be read: {said} ({code})")
