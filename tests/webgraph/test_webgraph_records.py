from __future__ import annotations

import io

import pytest
import webgraph_records
from hypothesis import given, settings
from hypothesis import strategies as st
from warc_bytes import compressed, gzipped, record
from webgraph_records import BadRecord, Fault, Record, records

NAMES = "abcd"
PLAIN = [record(f"https://{name}.org/", f"<p>{name * 500}") for name in NAMES]


def read(data: bytes, compressed: bool) -> list[str | tuple[str, int]]:
    """Hosts of the records that are whole, and reason and offset of the faults, in order."""
    found: list[str | tuple[str, int]] = []
    for one in records(io.BytesIO(data), compressed):
        if isinstance(one, Fault):
            found.append((one.reason, one.offset))
            continue
        try:
            one.http_head()
            one.rest()
        except BadRecord as bad:
            found.append((bad.reason, one.offset))
        else:
            found.append(one.headers["warc-target-uri"][8:-5])
    return found


def lengthened(one: bytes, by: int) -> bytes:
    """A record whose Content-Length says so many bytes more."""
    head, _, rest = one.partition(b"Content-Length: ")
    length, _, rest = rest.partition(b"\r\n")
    return head + b"Content-Length: %d\r\n" % (int(length) + by) + rest


MEMBERS = [compressed(one) for one in PLAIN]
A, B, C, D = MEMBERS
FIRST, SECOND, THIRD = (sum(map(len, MEMBERS[:n])) for n in (1, 2, 3))
TORN = bytes([*B[: len(B) // 2], B[len(B) // 2] ^ 0xFF, *B[len(B) // 2 + 1 :]])
a, b, c, d = PLAIN


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (A + B + C + D, ["a", "b", "c", "d"]),
        (gzipped(a + b) + C, ["a", "b", "c"]),  # a member may hold several records
        (A + B + b"\0" * 70000, ["a", "b"]),
        (A + b"\r\n" + B, ["a", "b"]),
        (A + TORN + C + D, ["a", ("corrupt_gzip", FIRST), "c", "d"]),
        (A + B[:-8] + b"\0" * 4 + B[-4:] + C, ["a", ("corrupt_gzip", FIRST), "c"]),  # checksum
        (A + B[:-20], ["a", ("truncated_gzip", FIRST)]),
        (A + B[:-1], ["a", ("truncated_gzip", FIRST)]),
        (A + B[:20] + C, ["a", ("corrupt_gzip", FIRST), "c"]),
        (A + b"garbage" * 20000 + C, ["a", ("garbage", FIRST), "c"]),
        (A + b"\x1f\x8b\x08 garbage" + C, ["a", ("corrupt_gzip", FIRST), "c"]),
        (A + gzipped(b"no record") + C, ["a", ("garbage", FIRST), "c"]),
        (A + gzipped(b"") + C, ["a", "c"]),
        (b"garbage" + A, [("garbage", 0), "a"]),
        (b"garbage", [("garbage", 0)]),
        (b"", [("empty_file", 0)]),
        (A + compressed(lengthened(b, 9)) + C, ["a", ("cut_short", FIRST), "c"]),
        (A + compressed(lengthened(b, -9)) + C, ["a", ("wrong_length", FIRST), "c"]),
        (
            A + compressed(b.replace(b"Content-Length", b"Content-Strength", 1)) + C,
            ["a", ("no_content_length", FIRST), "c"],
        ),
        (
            A + compressed(b.replace(b"HTTP/1.1", b"HATS/1.1")) + C,
            ["a", ("no_http_message", FIRST), "c"],
        ),
        (a + b, ["a", "b"]),  # the name says gzip, the bytes do not
    ],
)
def test_compressed_file(data: bytes, found: list[object]) -> None:
    assert read(data, compressed=True) == found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (a + b + c, ["a", "b", "c"]),
        (a.rstrip() + b"\n" + b, ["a", "b"]),
        (a + lengthened(b, -9) + c, ["a", ("wrong_length", len(a)), "c"]),
        # too long a length hides the beginning of the next record, and that record with it
        (a + lengthened(b, 9) + c + d, ["a", ("wrong_length", len(a)), "d"]),
        (a + lengthened(b, 10**6), ["a", ("cut_short", len(a))]),
        (a + lengthened(b, 10**12), ["a", ("too_long", len(a))]),
        (a + lengthened(b, 10**30), ["a", ("no_content_length", len(a))]),
        (a + b[:-40], ["a", ("cut_short", len(a))]),
        (a + b"garbage\r\n\r\n" + c, [("wrong_length", 0), "c"]),
        (b"garbage\r\n" + a, [("garbage", 0), "a"]),
        (b"\r\n\r\n" + a, ["a"]),
        (A + B, ["a", "b"]),  # the name says nothing of gzip, the bytes do
        (b"x" * 300_000 + b"\n" + a, [("garbage", 0), "a"]),
        (a + b"WARC/1.0\r\n" + b"x: y\r\n" * 200_000, ["a", ("long_headers", len(a))]),
    ],
)
def test_plain_file(data: bytes, found: list[object]) -> None:
    assert read(data, compressed=False) == found


def test_only_the_first_fault_of_a_record_is_told() -> None:
    both = a.replace(b"HTTP/1.1", b"HATS/1.1")[:-40]
    assert read(both, compressed=False) == [("no_http_message", 0)]


def test_content_can_be_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    # In small pieces, so that the damage is met only behind the headers.
    monkeypatch.setattr(webgraph_records, "PIECE", 64)
    found = [
        one.headers["warc-target-uri"] if isinstance(one, Record) else one.reason
        for one in records(io.BytesIO(A + TORN + C), compressed=True)
    ]
    assert found == ["https://a.org/", "https://b.org/", "corrupt_gzip", "https://c.org/"]


def test_headers() -> None:
    (one,) = records(
        io.BytesIO(record().replace(b"WARC-Date", b"X: 1\r\n 2\r\nx: 3\r\nno colon\r\nWARC-DATE")),
        False,
    )
    assert isinstance(one, Record)
    assert one.headers["x"] == "1 2"
    assert one.headers["warc-date"] == "2024-04-25T16:24:44Z"


def test_a_long_record_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webgraph_records, "LONGEST_CONTENT", 400)
    assert read(A + compressed(record("https://z.org/", "short")), compressed=True) == [
        ("too_long", 0),
        "z",
    ]


@pytest.mark.parametrize("piece", [16, 17, 100, 999])
def test_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(webgraph_records, "PIECE", piece)
    assert read(A + b"garbage" + B + C, True) == ["a", ("garbage", FIRST), "b", "c"]
    assert read(a + b + c, False) == ["a", "b", "c"]


@settings(max_examples=150)
@given(
    at=st.integers(0, sum(map(len, MEMBERS)) - 1),
    damage=st.binary(min_size=0, max_size=60),
    removed=st.integers(0, 60),
)
def test_damage_costs_nothing_but_the_records_it_touches(
    at: int, damage: bytes, removed: int
) -> None:
    data = b"".join(MEMBERS)
    found = read(data[:at] + damage + data[at + removed :], compressed=True)
    starts = [0, FIRST, SECOND, THIRD, len(data)]
    untouched = [
        name
        for name, start, end in zip(NAMES, starts, starts[1:], strict=False)
        if end <= at or start >= at + removed
    ]
    assert [one for one in found if isinstance(one, str) and one in untouched] == untouched


@settings(max_examples=150)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_end_in_records_or_faults(data: bytes, compressed: bool) -> None:
    read(data, compressed)
    read(b"\x1f\x8b\x08" + data, compressed)
    read(b"WARC/1.0\r\n" + data, compressed)
