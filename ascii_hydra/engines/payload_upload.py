"""What a cluster needs, put into a store once per content."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from ascii_hydra.engines.calls import repeated
from ascii_hydra.engines.clock import SystemClock
from ascii_hydra.engines.payload import Upload
from ascii_hydra.engines.store import Store

T = TypeVar("T")
_AT_ONCE = 8
_TICK_S = 0.1
_PATIENCE_S = 60.0


class UploadError(Exception):
    """Something could not be uploaded. The text is a sentence for people."""


def ensure_uploaded(
    uploads: Sequence[Upload], store: Store, stop: threading.Event, tell: Callable[[str], None]
) -> None:
    """Upload what the store does not have yet, several at a time.

    Args:
        uploads: their URIs name their content, so what is there is right.
        store: where to.
        stop: gives up once set.
        tell: is told of what takes long.

    Raises:
        UploadError: one could not be uploaded.
        InterruptedError: stopped.
    """
    leaving = threading.Event()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload")
    try:
        pending = {pool.submit(_ensure, store, one, leaving, tell) for one in uploads}
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


def _ensure(
    store: Store, upload: Upload, leaving: threading.Event, tell: Callable[[str], None]
) -> None:
    def patient(call: Callable[[], T]) -> T:
        return repeated(call, store.fault, SystemClock(), leaving, patience_s=_PATIENCE_S)

    try:
        if not patient(lambda: store.exists(upload.uri)):
            content = _content(upload, leaving, tell)
            patient(lambda: store.create(upload.uri, content))
    except Exception as raised:
        fault = store.fault(raised)
        if fault is None:
            raise
        raise UploadError(
            f"{upload.uri} cannot be written ({fault.words}){store.advice(fault, upload.uri)}"
        ) from raised


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
