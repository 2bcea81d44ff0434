"""What a cluster needs, put into S3 once per content."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from ascii_hydra.aws.client import Place, aws_client
from ascii_hydra.engines.aws_errors import AWS_FAULTS, code, words
from ascii_hydra.engines.payload import Upload

_AT_ONCE = 8
_TICK_S = 0.1
_TAKEN = {"PreconditionFailed", "412"}
_CONFLICTS = 5


class UploadError(Exception):
    """Something could not be put into S3. The text is a sentence for people."""


def ensure_uploaded(
    uploads: Sequence[Upload], place: Place, stop: threading.Event, tell: Callable[[str], None]
) -> None:
    """Upload what S3 does not have yet, several at a time.

    Args:
        uploads: their URIs name their content, so what is there is right.
        place: which AWS.
        stop: gives up once set.
        tell: is told of what takes long.

    Raises:
        UploadError: one could not be uploaded.
        InterruptedError: stopped.
    """
    s3 = aws_client("s3", place)
    leaving = threading.Event()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload")
    try:
        pending = {pool.submit(_ensure, s3, one, leaving, tell) for one in uploads}
        while pending:
            if stop.is_set():
                raise InterruptedError("stopped while uploading")
            done, pending = wait(pending, timeout=_TICK_S, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
    finally:
        # Python waits for these threads before it exits, so nothing long may go on in them.
        leaving.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _ensure(s3: Any, upload: Upload, leaving: threading.Event, tell: Callable[[str], None]) -> None:
    parts = urlsplit(upload.uri)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    try:
        if not _is_there(s3, bucket, key):
            _put(s3, bucket, key, _content(upload, leaving, tell))
    except AWS_FAULTS as fault:
        raise UploadError(
            f"{upload.uri} cannot be written ({words(fault)}){_advice(fault, bucket)}"
        ) from fault


def _is_there(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as fault:
        # 403 is also said of what is not there to those who may not list.
        if code(fault) in {"404", "403", "NoSuchKey"}:
            return False
        raise
    return True


def _put(s3: Any, bucket: str, key: str, content: bytes) -> None:
    for left in reversed(range(_CONFLICTS)):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
            return
        except ClientError as fault:
            if code(fault) in _TAKEN:
                return  # somebody else was first, with the same content
            if code(fault) != "ConditionalRequestConflict" or not left:
                raise


def _content(upload: Upload, leaving: threading.Event, tell: Callable[[str], None]) -> bytes:
    if upload.content is not None:
        return upload.content
    if upload.path is not None:
        return upload.path.read_bytes()
    assert upload.libraries is not None, upload
    from ascii_hydra.engines.libraries import built

    names = ", ".join(upload.libraries.requirements)
    tell(f"packing {names} for the cluster")
    return built(upload.libraries, leaving)


def _advice(fault: BaseException, bucket: str) -> str:
    match code(fault):
        case "NoSuchBucket":
            return f": make the bucket {bucket}, or set engine.staging_root to another"
        case "AccessDenied" | "403":
            return ": allow s3:PutObject there, or set engine.staging_root to another folder"
        case "NoCredentialsError":
            return (
                ": set ASCII_AWS_ACCESS_KEY_ID and ASCII_AWS_SECRET_ACCESS_KEY, or log in as the"
                " AWS tools want it (aws configure, aws sso login)"
            )
        case "PermanentRedirect" | "IllegalLocationConstraintException" | "301":
            return f": the bucket {bucket} is in another region; set engine.region"
    return ""
