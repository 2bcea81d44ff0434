"""Where the input lies, and how a file of it is opened: the one place that knows of storage."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname


def joined(folder: str, relative: str) -> str:
    """The location of a file that is named relative to a folder."""
    return f"{folder.rstrip('/')}/{relative}"


def opened(location: str) -> BinaryIO:
    """A file opened to be read from its start to its end, as a stream.

    Args:
        location: a path of this machine, or a `file:` URI.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: the location has a scheme that is not known here.
    """
    scheme, separator, _ = location.partition("://")
    if not separator:
        return Path(location).open("rb")
    if scheme == "file":
        return Path(url2pathname(urlsplit(location).path)).open("rb")
    raise ValueError(f"{location}: cannot read {scheme}:// here, only a path or file://")
