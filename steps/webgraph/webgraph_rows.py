"""What a task of the edges step hands to Spark: one stream of rows of three kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from webgraph_locations import joined
from webgraph_pages import PageReader
from webgraph_records import Fault

# Links are two arrays of strings rather than one of structs: Spark would walk through every
# struct in Python once more.
ROWS = (
    "kind string, path string, ordinal long, offset long, page_uri string, fetched string, "
    "record_id string, domain string, urls array<string>, domains array<string>, "
    "reason string, detail string, whole_file boolean, counts map<string, bigint>"
)


def rows_of_files(paths: Iterable[str], folder: str, private_suffixes: bool) -> Iterator[tuple]:
    """Rows of the schema ROWS, made as the files are read.

    A row of kind `page` is a page record with its links, `fault` is something that could not be
    read, and `file` closes each file with what was counted in it. `ordinal` counts the pages of a
    file; together with the path it names a row.
    """
    for path in paths:
        reader = PageReader(private_suffixes)
        ordinal = -1
        for found in reader.pages(joined(folder, path)):
            if isinstance(found, Fault):
                yield (
                    *("fault", path, None, found.offset, None, None, found.record_id),
                    *(None, None, None, found.reason, found.detail, found.whole_file, None),
                )
                continue
            ordinal += 1
            yield (
                *("page", path, ordinal, found.offset, found.uri, found.fetched),
                *(found.record_id, found.domain, found.urls, found.domains),
                *(None, None, None, None),
            )
        yield ("file", path, *[None] * 11, dict(reader.counts))
