"""The tables that the four steps hand on, and the names of their partitions.

Each table is read with the schema given here rather than with that of the files found, so that an
empty one is a table as well.
"""

from __future__ import annotations

# The partition that takes every page, whatever the query. `*` itself would be a pattern in a
# folder name and in a Dagster partition key, so it stands in the output column alone.
ALL_PAGES = "all_pages"
EVERY_QUERY = "*"

NODES = "query string, domain string, url string, note string, row int"
REJECTS = "query string, reason string, detail string, url string, note string, row int"

PAGES = (
    "crawl string, page_uri string, domain string, fetched string, record_id string, "
    "path string, n_links int"
)
LINKS = (
    "crawl string, page_uri string, position int, url string, src_domain string, dst_domain string"
)
FAULTS = (
    "crawl string, path string, offset long, record_id string, reason string, detail string, "
    "whole_file boolean"
)

GRAPH = (
    "crawl string, query string, page_uri string, position int, url string, "
    "src_domain string, dst_domain string"
)
GRAPH_AGGR = (
    "crawl string, query string, src_domain string, dst_domain string, "
    "n_links long, n_src_pages long, n_dst_urls long"
)


def query_column(query: str) -> str:
    """What stands in the column `query` for a partition of that dimension."""
    return EVERY_QUERY if query == ALL_PAGES else query
