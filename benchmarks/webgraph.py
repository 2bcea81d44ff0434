"""Pages that the webgraph job reads, each second and core, against a plain loop in one process.

The input is the shipped sample, copied many times over with other addresses, so that no page is a
duplicate. The plain loop does what anyone would write first: warcio reads the records, lxml parses
the page, and the links are resolved and their domains looked up. It keeps nothing; the job writes
three tables besides.
"""

from __future__ import annotations

import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from ascii_hydra.config.compose import composed
from ascii_hydra.config.settle import settle
from ascii_hydra.report.plan import planned_run

TARGET = 0.7
PAGES = 24000
_TIMES_OVER = 3
_BETWEEN_LINKS = (
    '<div class="entry wide"><h3 id="note">A note of the club</h3>\n<p class="lead">Tonight the'
    ' sky over the valley is clear, and the dome is open until midnight.</p>\n<ul class="list"><li>'
    '<span class="label">Bring</span> a warm coat</li><li><span class="label">Leave</span> a lamp'
    "</li></ul>\n<table><tr><td>moon</td><td>waning</td></tr><tr><td>wind</td><td>west, light</td>"
    "</tr></table><!-- set by hand --></div>\n"
)
_SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "webgraph"
_CRAWL = "BENCH"
_TIMES = ("started", "ended")


def measured(folder: Path, rounds: int) -> None:
    """Print the ratio; at least TARGET is wanted."""
    cores = os.cpu_count() or 1
    source = folder / "input"
    pages = _replicated(source, files=2 * cores)
    print(f"webgraph: {pages:,} pages in {2 * cores} files of {_megabytes(source):.0f} MB in all")
    pairs = []
    for _ in range(max(2, rounds // 2)):
        job = pages / _edges_s(source, folder / "edges", cores) / cores
        pairs.append((job, pages / _loop_s(source)))
    ratio = statistics.median(job / loop for job, loop in pairs)
    shown = ", ".join(f"{job:.0f} / {loop:.0f}" for job, loop in pairs)
    print(f"webgraph's edges / plain loop, pages per second and core: {ratio:.2f}  ({shown})")
    print(f"  wanted: at least {TARGET}: {'kept' if ratio >= TARGET else 'NOT kept'}")


def _replicated(source: Path, *, files: int) -> int:
    """Write the input; returns how many pages it has.

    A page of the web has tens of kilobytes, and some 500 bytes for each link (260 to 1,090 in six
    excerpts of crawls); the sample's pages are short and full of links. So each page here is the
    sample's pages one after the other, a few times over, with markup and text between the links;
    half of the links lead to addresses that no other page has, the other half is navigation.
    """
    from warcio.archiveiterator import ArchiveIterator
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    (source / "warc").mkdir(parents=True)
    bodies = []
    for path in sorted((_SAMPLE / "warc").glob("*-00000.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream):
                kind = record.http_headers and record.http_headers.get_header("Content-Type")
                if record.rec_type == "response" and kind == "text/html; charset=utf-8":
                    bodies.append(record.content_stream().read().decode())
    inner = (re.search("<body[^>]*>(.*?)</body>", one, re.DOTALL) for one in bodies)
    body = "\n".join(one[1] for one in inner if one) * _TIMES_OVER
    # Behind every piece but the last stands the end of an address.
    pieces = re.split(r'(?<=href="http)([^"?#]*)(?=")', body)
    written = 0
    lines = ["crawl,format,path"]
    for number in range(files):
        name = f"warc/{number:05}.warc.gz"
        lines.append(f"{_CRAWL},warc,{name}")
        with (source / name).open("wb") as out:
            writer = WARCWriter(out, gzip=True)
            for copy in range(PAGES // files):
                page = "".join(
                    f"{piece}?of={number}-{copy}" if place % 4 == 1 else piece
                    for place, piece in enumerate(pieces)
                )
                page = page.replace("<a ", f"{_BETWEEN_LINKS}<a ")
                page = f"<html><head><title>{copy}</title></head><body>{page}</body></html>"
                head = StatusAndHeaders(
                    "200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1"
                )
                record = writer.create_warc_record(
                    f"https://www.moth-observatory.org/page/{number}/{copy}",
                    "response",
                    payload=io.BytesIO(page.encode()),
                    http_headers=head,
                )
                writer.write_record(record)
                written += 1
    print(f"webgraph: each page has {len(page.encode()):,} bytes, {page.count('href='):,} links")
    (source / "manifest.csv").write_text("\n".join(lines) + "\n")
    (source / "seeds.csv").write_text("query,url,blocked,note\n")
    return written


def _edges_s(source: Path, output: Path, cores: int) -> float:
    """Run the step; seconds from its session being up to its end, as it reports them itself."""
    overrides = ["pipeline=webgraph", f"pipeline.input={source}", f"cluster.cores={cores}"]
    settings = settle(composed(overrides), overrides)
    step = settings.steps["edges"]
    words = [sys.executable, str(step.script), *planned_run(settings, step).arguments()]
    words += ["--output", str(output), "--partition", f"crawl={_CRAWL}"]
    words += [word for path in step.py_files for word in ("--py-file", str(path))]
    words += ["--spark-conf", f"spark.master=local[{cores}]"]
    ended = subprocess.run(
        words,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
    )
    line = next(one for one in ended.stdout.splitlines() if "report_asset_materialization" in one)
    metadata = json.loads(line[line.index("{") :])["params"]["metadata"]
    times = [datetime.fromisoformat(metadata[f"{one}_at"]["raw_value"]) for one in _TIMES]
    return (times[1] - times[0]).total_seconds()


_LOOP = """
import sys
from urllib.parse import urldefrag, urljoin, urlsplit

import lxml.etree
import lxml.html
import tldextract
from warcio.archiveiterator import ArchiveIterator

domain_of = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
known, links = {}, 0
for path in sys.argv[1:]:
    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream):
            if record.rec_type != "response" or record.http_headers.get_statuscode() != "200":
                continue
            if "html" not in (record.http_headers.get_header("Content-Type") or ""):
                continue
            uri = record.rec_headers.get_header("WARC-Target-URI")
            body = record.content_stream().read()
            if not body.strip():
                continue
            try:
                document = lxml.html.document_fromstring(body)
            except lxml.etree.ParserError:
                continue
            for anchor in document.iter("a"):
                href = (anchor.get("href") or "").strip()
                if not href or href.startswith("#"):
                    continue
                try:
                    url = urldefrag(urljoin(uri, href)).url
                    host = urlsplit(url).hostname
                except ValueError:
                    continue
                if not url.startswith(("http://", "https://")):
                    continue
                if host not in known:
                    known[host] = domain_of(host or "").registered_domain
                links += bool(known[host])
print(links)
"""


def _loop_s(source: Path) -> float:
    """The plain loop over the same files in one process; seconds, without its start."""
    words = [sys.executable, "-c", _LOOP]
    begun = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter() - begun
    begun = time.perf_counter()
    paths = sorted(str(path) for path in (source / "warc").iterdir())
    subprocess.run([*words, *paths], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun - start


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
