"""Makes the sample that `pipeline=webgraph` reads on this machine: a small web of invented clubs.

    python samples/make_webgraph.py            # writes samples/webgraph
    python samples/make_webgraph.py some/where

The same bytes come out every time. Every page is written here and no name is known to be anyone's;
nothing of it was ever on the web. Between them the pages hold one of everything that the rules of
the pipeline speak of, each marked by a comment where it is made.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

HTML = "text/html; charset=utf-8"
FIRST, SECOND = "SAMPLE-2024-10", "SAMPLE-2025-10"

SEEDS = [
    # query, url, blocked, note
    ("night_sky", "https://www.moth-observatory.org/", "0", "where to begin"),
    ("night_sky", "HTTPS://Moth-Observatory.ORG/visit", "0", "the same domain in other letters"),
    ("night_sky", "tidal-clockworks.co.uk", "0", "no scheme, below a suffix of two parts"),
    ("night_sky", "https://www.sternwarte-käuzchen.de/", "0", "international name"),
    ("night_sky", "http://nebula-diary.cn:8080/", "0", "with a port"),
    ("night_sky", "https://comet-post.net", "0", "links come from here in one crawl only"),
    ("night_sky", "https://everything-at-once.com/", "1", "platform: blocked"),
    ("night_sky", "no website yet", "0", "not a URL"),
    ("night_sky", "", "0", "empty"),
    ("night_sky", "http://203.0.113.7/telescope", "0", "an IP address is nobody's domain"),
    ("night_sky", "http://dome-computer/", "0", "no public suffix"),
    ("night_sky", "https://co.uk/", "0", "a public suffix itself"),
    ("paper_folding", "http://folded-fox.org/", "0", ""),
    ("paper_folding", "https://crease-and-crane.github.io/", "0", "see private_suffixes"),
    ("paper_folding", "https://thousand-cranes.github.io/", "0", "duplicate without them"),
    ("paper_folding", "https://www.moth-observatory.org/workshop/", "0", "in both queries"),
    ("paper_folding", "https://everything-at-once.com/paper", "1", "platform: blocked"),
]


@dataclass
class Warc:
    """One WARC file in the making: records are a minute apart and numbered."""

    crawl: str
    name: str
    begins: datetime
    out: io.BytesIO = field(default_factory=io.BytesIO)
    written: int = 0

    @property
    def path(self) -> str:
        return f"warc/{self.name}"

    def add(
        self,
        uri: str,
        body: bytes | str,
        content_type: str | None = HTML,
        *,
        status: str = "200 OK",
        headers: tuple[tuple[str, str], ...] = (),
        kind: str = "response",
        date: str | None = None,
    ) -> bytes:
        """Append a record. Returns its bytes, uncompressed."""
        self.written += 1
        moment = self.begins + timedelta(minutes=self.written)
        payload = body.encode() if isinstance(body, str) else body
        typed = (("Content-Type", content_type),) if content_type is not None else ()
        http = StatusAndHeaders(status, [*typed, *headers], protocol="HTTP/1.1")
        if kind == "request":
            http = StatusAndHeaders("GET / HTTP/1.1", [("User-Agent", "a sample")], "")
        plain = io.BytesIO()
        writer = WARCWriter(plain, gzip=False)
        writer.write_record(
            writer.create_warc_record(
                uri,
                kind,
                payload=io.BytesIO(payload),
                http_headers=None if kind == "warcinfo" else http,
                warc_headers_dict={
                    "WARC-Date": date or f"{moment:%Y-%m-%dT%H:%M:%SZ}",
                    "WARC-Record-ID": f"<urn:uuid:{self._identity()}>",
                },
                warc_content_type="application/warc-fields" if kind == "warcinfo" else "",
            )
        )
        self.append(plain.getvalue())
        return plain.getvalue()

    def append(self, record: bytes) -> None:
        """Append the bytes of a record: as one gzip member where the file's name says gzip."""
        # mtime=0: the time of making is no part of the sample.
        compressed = self.name.endswith(".gz")
        self.out.write(gzip.compress(record, mtime=0) if compressed else record)

    def _identity(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}/{self.written}")


def page(title: str, *paragraphs: str, head: str = "") -> str:
    """A page of few words."""
    text = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f"<!DOCTYPE html>\n<html>\n<head>{head}<title>{title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n{text}\n</body>\n</html>\n"
    )


def chunked(body: str, size: int = 120) -> bytes:
    """A body in chunks, as it goes over the wire."""
    data = body.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def first_crawl() -> list[Warc]:
    begins = datetime(2024, 10, 5, 20, 0, tzinfo=UTC)
    one = Warc(FIRST, f"{FIRST}-00000.warc.gz", begins)
    one.add("urn:sample:info", "software: samples/make_webgraph.py\r\n", None, kind="warcinfo")
    home = "https://www.moth-observatory.org/"
    one.add(home, "", None, kind="request")
    one.add(
        home,
        page(
            "Moth Observatory",
            "We look up while the moths look at our lamp.",
            # relative, fragment-only, empty, and links within the domain
            '<a href="visit">Visit us</a>, <a href="/workshop/#lens">grind a lens</a>,'
            ' <a href="#top">go up</a>, <a href="">stay</a>.',
            # two occurrences of one target that differ by a fragment alone
            'Our dome turns by <a href="https://tidal-clockworks.co.uk/gears">gears</a> from'
            ' <a href="https://tidal-clockworks.co.uk/gears#brass">brass</a>.',
            # schemes that are no link of the graph
            '<a href="mailto:lamp@moth-observatory.org">Write</a> or'
            ' <a href="javascript:void(0)">wink</a>.',
        ),
    )
    # a page by its Content-Type, without a charset; international names, one of them in punycode
    one.add(
        "https://www.moth-observatory.org/visit",
        page(
            "Visit the Moth Observatory",
            'Our friends: <A HREF="https://www.sternwarte-käuzchen.de/">the owlets</A>,'
            ' <a href=" https://xn--sternwarte-kuzchen-wtb.de/abend\n">their evenings</a>,'
            ' <a href="HTTP://WWW.COMET-POST.NET./mail">the comet post</a>.',
            # an IP address, a host without a public suffix, a host that cannot be
            '<a href="http://203.0.113.7/telescope">Telescope</a>,'
            ' <a href="http://dome-computer/">dome</a>, <a href="http://[moth/">lamp</a>.',
            head='<meta charset="utf-8">',
        ),
        "text/html",
    )
    # sent in chunks
    one.add(
        "https://tidal-clockworks.co.uk/",
        chunked(
            page(
                "Tidal Clockworks",
                "Clocks that run on the moon's account.",
                '<a href="/gears">Gears</a>; in use at the'
                ' <a href="https://www.moth-observatory.org/">observatory</a> and at'
                ' <a href="//comet-post.net/sorting">the sorting office</a>.',
            )
        ),
        headers=(("Transfer-Encoding", "chunked"),),
    )
    # compressed, and below a base that is itself relative
    one.add(
        "https://tidal-clockworks.co.uk/gears",
        gzip.compress(
            page(
                "Gears",
                '<a href="brass">Brass</a>, <a href="../">home</a>, and'
                ' <a href="https://folded-fox.org/paper-gears">paper</a>.',
                head='<base href="/catalogue/"><base href="https://everything-at-once.com/">',
            ).encode(),
            mtime=0,
        ),
        headers=(("Content-Encoding", "gzip"),),
    )
    # the same page fetched again, later and changed: this one does not count
    one.add(home, page("Moth Observatory", '<a href="https://everything-at-once.com/">News</a>'))
    # not pages: not found, not HTML, no Content-Type, no http(s) target, moved
    elsewhere = '<a href="https://everything-at-once.com/">Everything</a>'
    one.add("https://comet-post.net/lost", page("Lost", elsewhere), status="404 Not Found")
    one.add("https://comet-post.net/mail.txt", page("Plain", elsewhere), "text/plain")
    one.add("https://comet-post.net/untyped", page("Untyped", elsewhere), None)
    one.add("ftp://comet-post.net/attic", page("Attic", elsewhere))
    one.add("https://comet-post.net/old", page("Old", elsewhere), status="301 Moved Permanently")

    two = Warc(FIRST, f"{FIRST}-00001.warc.gz", begins + timedelta(hours=1))
    # angle brackets, as wget writes them; the host in capitals; XHTML
    two.add(
        "<https://WWW.Comet-Post.NET/mail>",
        page(
            "Comet Post",
            "We deliver once in seventy-six years.",
            '<a href="https://www.moth-observatory.org/visit">Pick-up point</a>,'
            ' <a href="https://nebula-diary.cn/1">a diary</a>.',
        ),
        "application/xhtml+xml",
    )
    # declared as gb2312 in the page, with a character that only gb18030 has, in a link too
    two.add(
        "http://nebula-diary.cn/1",
        page(
            "星云日记",
            '今夜无云<a href="/镕">昨夜</a>'
            ' <a href="https://www.moth-observatory.org/%E9%A3%9E%E8%9B%BE">飞蛾</a>',
            '<a href="https://comet-post.net/sorting">彗星邮局</a>',
            head='<meta http-equiv="Content-Type" content="text/html; charset=gb2312">',
        ).encode("gb18030"),
        "text/html",
    )
    # below a private suffix: part of github.io, unless private_suffixes is set
    two.add(
        "https://crease-and-crane.github.io/",
        page(
            "Crease and Crane",
            'Also see <a href="https://thousand-cranes.github.io/">a thousand cranes</a> and'
            ' <a href="http://folded-fox.org/">the fox</a>.',
        ),
    )
    two.add(
        "http://folded-fox.org/",
        page(
            "The Folded Fox",
            '<a href="https://crease-and-crane.github.io/diagrams">Diagrams</a>,'
            ' <a href="https://www.moth-observatory.org/workshop/">workshop</a>,'
            ' <a href="https://everything-at-once.com/paper">shop</a>.',
        ),
    )
    # a page that is no node, as nobody registers an IP address
    two.add(
        "http://203.0.113.7/telescope",
        page("Telescope", '<a href="https://www.moth-observatory.org/">Where I stand</a>'),
    )
    # the home page once more, in another file and earliest of all: its links count
    two.add(
        home,
        page(
            "Moth Observatory",
            '<a href="https://tidal-clockworks.co.uk/gears">Gears</a>,'
            ' <a href="https://tidal-clockworks.co.uk/gears#brass">more of them</a>,'
            ' <a href="/visit">visit</a>, <a href="https://folded-fox.org/">foxes</a>.',
        ),
        date="2024-10-05T19:59:59.250Z",
    )
    # a bad record on purpose: it ends long before its Content-Length, and costs nothing but itself
    whole = Warc(FIRST, "broken.warc", begins)
    broken = whole.add("https://comet-post.net/torn", page("Torn", elsewhere * 20))
    two.append(broken[: len(broken) // 2])
    two.add(
        "https://www.sternwarte-käuzchen.de/",
        page(
            "Sternwarte Käuzchen",
            "Wir sind die, die nachts noch da sind.",
            '<a href="https://www.moth-observatory.org/">Die Falter</a>,'
            ' <a href="https://tidal-clockworks.co.uk/">die Uhren</a>.',
        ),
    )
    return [one, two]


def second_crawl() -> list[Warc]:
    begins = datetime(2025, 10, 4, 20, 0, tzinfo=UTC)
    one = Warc(SECOND, f"{SECOND}-00000.warc.gz", begins)
    one.add(
        "https://www.moth-observatory.org/",
        page(
            "Moth Observatory",
            "The lamp is new. The moths are not.",
            '<a href="https://tidal-clockworks.co.uk/moon">Moon clock</a>,'
            ' <a href="https://www.sternwarte-käuzchen.de/abend">an evening out</a>,'
            ' <a href="https://nebula-diary.cn/2">a diary</a>.',
        ),
    )
    one.add(
        "https://www.moth-observatory.org/workshop/",
        page(
            "Workshop",
            '<a href="https://folded-fox.org/paper-gears">Paper gears</a>, then'
            ' <a href="https://tidal-clockworks.co.uk/gears">real ones</a>.',
        ),
    )
    one.add(
        "https://tidal-clockworks.co.uk/moon",
        page(
            "Moon clock",
            '<a href="https://www.moth-observatory.org/">Seen at work</a>;'
            ' <a href="https://tidal-clockworks.co.uk/gears">inside</a>.',
        ),
    )
    # the charset of the header comes before that of the page
    one.add(
        "https://nebula-diary.cn/2",
        page(
            "星云日记",
            '<a href="https://nebula-diary.cn/1">上一篇</a>'
            ' <a href="https://www.xn--sternwarte-kuzchen-wtb.de/">小猫头鹰</a>',
            head='<meta charset="iso-8859-1">',
        ).encode("gbk"),
        "text/html; charset=GBK",
    )
    two = Warc(SECOND, f"{SECOND}-00001.warc", begins + timedelta(hours=1))  # not compressed
    two.add(
        "https://thousand-cranes.github.io/",
        page(
            "A Thousand Cranes",
            '<a href="https://crease-and-crane.github.io/">How to begin</a>,'
            ' <a href="http://folded-fox.org/">what else to fold</a>.',
        ),
    )
    two.add(
        "http://folded-fox.org/",
        page(
            "The Folded Fox",
            '<a href="https://thousand-cranes.github.io/">999 to go</a>,'
            ' <a href="https://crease-and-crane.github.io/">diagrams</a>,'
            ' <a href="https://crease-and-crane.github.io/">the same again</a>.',
        ),
    )
    # fetched twice within a second: the smaller record id counts
    for words in ("We are closed", "We are open"):
        two.add(
            "https://www.sternwarte-käuzchen.de/",
            page(words, '<a href="https://www.moth-observatory.org/">Zu den Faltern</a>'),
            date="2025-10-04T21:30:00Z",
        )
    return [one, two]


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode()


def files() -> dict[str, bytes]:
    """Every file of the sample, by its path below the sample's folder."""
    warcs = [*first_crawl(), *second_crawl()]
    return {
        "manifest.csv": table(
            ("crawl", "format", "path"), [(warc.crawl, "warc", warc.path) for warc in warcs]
        ),
        "seeds.csv": table(("query", "url", "blocked", "note"), SEEDS),
        **{warc.path: warc.out.getvalue() for warc in warcs},
    }


def main(folder: Path) -> None:
    for path, content in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


if __name__ == "__main__":
    default = Path(__file__).parent / "webgraph"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
