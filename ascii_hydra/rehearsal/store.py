"""The rehearsal's S3 from inside its own process, and what else of moto is used."""

from __future__ import annotations

import gzip
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from moto.s3.models import S3Backend

_ACCOUNT = "123456789012"


class Store:
    """Objects of the rehearsal's S3 by their URIs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: S3Backend | None = None

    def read(self, uri: str) -> bytes | None:
        """An object's content, or None if there is no such object or bucket."""
        bucket, key = _parts(uri)
        backend = self._backend()
        if bucket not in backend.buckets:
            return None
        found = backend.get_object(bucket, key)
        return None if found is None else bytes(found.value)

    def exists(self, uri: str) -> bool:
        """There is such an object."""
        bucket, key = _parts(uri)
        backend = self._backend()
        return bucket in backend.buckets and backend.get_object(bucket, key) is not None

    def write_gzip(self, uri: str, content: bytes) -> bool:
        """Write an object, compressed; False if there is no such bucket."""
        bucket, key = _parts(uri)
        backend = self._backend()
        if bucket not in backend.buckets:
            return False
        backend.put_object(bucket, key, gzip.compress(content, mtime=0))
        return True

    def _backend(self) -> Any:
        # Importing moto takes long; this waits where it is still going on.
        from moto.s3.models import s3_backends

        with self._lock:
            if self._found is None:
                self._found = s3_backends[_ACCOUNT]["aws"]
            return self._found


def _parts(uri: str) -> tuple[str, str]:
    split = urlsplit(uri, allow_fragments=False)
    return split.netloc, split.path.lstrip("/")
