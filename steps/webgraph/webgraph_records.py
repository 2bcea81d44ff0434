"""A WARC file as a stream of records and faults.

warcio reads sound files well, but hides damage: on corrupt gzip data it prints a line, hands out
what it has as if that were the whole record, and never finds the next one. Here every record is
whole (its length, its end and its checksum were seen) or a fault, and reading goes on behind it:

* in a compressed file at the next gzip member that begins a WARC record,
* in a plain file at the next line that begins one.

Memory is bounded: nothing but the content of a single record that was asked for is held.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 1 << 16  # bytes read at a time
LONGEST_LINE = 1 << 16  # a longer one is cut in pieces; only damaged files have them
LONGEST_HEADERS = 1 << 20  # bytes of one header block
LONGEST_CONTENT = 32 << 20  # bytes of one record held in memory; Common Crawl cuts off far earlier

_GZIP = b"\x1f\x8b\x08"
_WARC = b"WARC/"
_VERSION = re.compile(rb"\s*WARC/\d\.\d")
_FIRST = 64  # bytes of a file to tell what it is by
_LENGTH = re.compile(r"[0-9]{1,18}")
_PADDING = b"\0\r\n "  # harmless between gzip members and behind the last one
_PROBE = 1 << 12  # bytes enough to tell whether a gzip member begins a record
_INFLATED = 1 << 20  # bytes inflated at a time, whatever the input would make of itself


class BadRecord(Exception):  # noqa: N818 - named by what it means to a reader
    """A record cannot be used. `reason` is one of few words to count by, `detail` a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Fault:
    """Something of a file that could not be read.

    Attributes:
        offset: where it begins in the file, in bytes: of the gzip member if there are such.
        record_id: WARC-Record-ID, or None where it is unknown.
        reason: a word to count by.
        detail: what was seen.
        whole_file: nothing of the file could be read.
    """

    offset: int
    record_id: str | None
    reason: str
    detail: str
    whole_file: bool = False


class Record:
    """The headers of a record, and its content for as long as the next record is not asked for.

    Attributes:
        offset: where the record (its gzip member) begins in the file, in bytes.
        headers: WARC header fields by lower-case name; of a repeated field the first.
        refused: the content was asked for and could not be given, so that whoever asked knows.
    """

    def __init__(self, offset: int, headers: dict[str, str], content: _Content) -> None:
        self.offset = offset
        self.headers = headers
        self.refused = False
        self._content = content

    @property
    def record_id(self) -> str | None:
        return self.headers.get("warc-record-id")

    def http_head(self) -> tuple[str, dict[str, str]]:
        """Status line and header fields of the HTTP message that the content begins with.

        Raises:
            BadRecord: the content does not begin with an HTTP message, or cannot be read.
        """
        try:
            line = self._content.readline().strip()
            if not line.startswith(b"HTTP/"):
                raise BadRecord("no_http_message", f"the content begins with {line[:40]!r}")
            return _text(line), _header_fields(self._content)
        except BadRecord:
            self.refused = True
            raise

    def rest(self) -> bytes:
        """The content from where reading stands, once the record is known to be whole.

        Raises:
            BadRecord: the record is damaged, or too long to be held.
        """
        try:
            if self._content.left > LONGEST_CONTENT:
                raise BadRecord("too_long", f"{self._content.left} bytes, over {LONGEST_CONTENT}")
            pieces = []
            while self._content.left:
                pieces.append(self._content.read(self._content.left))
            self._content.next_announcement()
        except BadRecord:
            self.refused = True
            raise
        return b"".join(pieces)


def records(stream: BinaryIO, compressed: bool) -> Iterator[Record | Fault]:
    """The records of a WARC file in their order, and what could not be read in between.

    Args:
        stream: the file, at its start.
        compressed: whether the file's name says gzip; believed only where the first bytes of the
            file are no evidence of the contrary.

    Raises:
        OSError: the storage failed while the file was read.
    """
    raw = _Raw(stream)
    first = raw.peek(_FIRST)
    if not first:
        yield Fault(0, None, "empty_file", "the file has no bytes", whole_file=True)
    elif first.startswith(_GZIP) or (compressed and not _VERSION.match(first)):
        yield from _compressed_records(raw)
    else:
        yield from _records_of(_Plain(raw))


def _compressed_records(raw: _Raw) -> Iterator[Record | Fault]:
    while True:
        raw.skip(_PADDING)
        offset = raw.offset
        head = raw.peek(len(_GZIP))
        if not head:
            return
        if head == _GZIP:
            member = _Member(raw)
            yield from _records_of(member)
            if member.ended:
                continue
        else:
            yield Fault(offset, None, "garbage", f"no gzip member but {head!r}")
        if not raw.skip_to_member(after=offset):
            return


def _records_of(source: _Source) -> Iterator[Record | Fault]:
    """Records one behind the other, each announced by a line `WARC/1.x`."""
    line = None
    while True:
        offset, identity = source.line_offset, None
        try:
            if line is None:
                line = source.first_line()
                offset = source.line_offset
            if not line:
                return
            if not line.startswith(_WARC):
                raise BadRecord("garbage", f"a record begins with {line[:40]!r}")
            headers = _header_fields(source)
            identity = headers.get("warc-record-id")
            length = headers.get("content-length", "")
            if not _LENGTH.fullmatch(length):
                raise BadRecord("no_content_length", f"Content-Length is {length[:40]!r}")
            content = _Content(source, int(length))
            record = Record(offset, headers, content)
        except BadRecord as bad:
            yield Fault(offset, identity, bad.reason, bad.detail)
            line = source.next_announcement()
            continue
        yield record
        try:
            line = content.next_announcement()
        except BadRecord as bad:
            if not record.refused:
                yield Fault(offset, identity, bad.reason, bad.detail)
            line = source.next_announcement()


def _header_fields(lines: _Source | _Content) -> dict[str, str]:
    """Header fields up to the blank line, by lower-case name. Of a repeated field the first."""
    fields: dict[str, str] = {}
    name, size = "", 0
    while line := lines.readline():
        size += len(line)
        if size > LONGEST_HEADERS:
            raise BadRecord("long_headers", f"more than {LONGEST_HEADERS} bytes of headers")
        text = _text(line)
        stripped = text.strip()
        if not stripped:
            break
        if text[0] in " \t":  # a folded line belongs to the field before
            if name:
                fields[name] += " " + stripped
            continue
        name, colon, value = stripped.partition(":")
        name = name.rstrip().lower()
        if not colon or name in fields:
            name = ""
            continue
        fields[name] = value.lstrip()
    return fields


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


class _Raw:
    """The bytes of a file, in pieces, some of which can be given back.

    `offset` is where the next byte stands in the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        self.offset = 0

    def take(self) -> bytes:
        """A piece of some bytes; none at the end of the file."""
        piece = self._held or self._stream.read(PIECE)
        self._held = b""
        self.offset += len(piece)
        return piece

    def give_back(self, piece: bytes) -> None:
        self._held = piece + self._held
        self.offset -= len(piece)

    def peek(self, size: int) -> bytes:
        """The next bytes: fewer than asked for only at the end of the file."""
        while len(self._held) < size and (piece := self._stream.read(PIECE)):
            self._held += piece
        return self._held[:size]

    def skip(self, filling: bytes) -> None:
        """Pass over any number of the given bytes."""
        while piece := self.take():
            rest = piece.lstrip(filling)
            if rest:
                self.give_back(rest)
                return

    def skip_to_member(self, after: int) -> bool:
        """Pass on to a gzip member that begins a WARC record, behind an offset. False: no more."""
        at = 1 if self.offset == after else 0
        while True:
            at = self._held.find(_GZIP, at)
            if at < 0:
                # The mark may straddle two pieces.
                kept = self._held[-len(_GZIP) + 1 :]
                self.offset += len(self._held) - len(kept)
                piece = self._stream.read(PIECE)
                if not piece:
                    return False
                self._held = kept + piece
                at = 0
                continue
            if self._begins_record(self.peek(at + _PROBE)[at:]):
                self._held = self._held[at:]
                self.offset += at
                return True
            at += 1

    @staticmethod
    def _begins_record(data: bytes) -> bool:
        # The three bytes of a gzip member's mark also turn up by chance within compressed data.
        try:
            return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, len(_WARC)) == _WARC
        except zlib.error:
            return False


class _Source:
    """Lines and bytes of one run of records: a gzip member, or a plain file.

    `line_offset` is where the line read last begins in the file.
    """

    line_offset: int

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._buffer = b""
        self._at = 0
        self.line_offset = raw.offset

    def more(self) -> bytes:
        """The next bytes, none at the end. Raises BadRecord where they are damaged."""
        raise NotImplementedError

    def position(self) -> int:
        """Where the next line begins in the file, as far as that can be said."""
        raise NotImplementedError

    def read(self, size: int) -> bytes:
        """Some bytes, at most `size`; none at the end."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self.more(), 0
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def readline(self, limit: int = LONGEST_LINE) -> bytes:
        """A line with its end, or the part of one that is within the limit; none at the end."""
        self.line_offset = self.position()
        while True:
            end = self._buffer.find(b"\n", self._at, self._at + limit) + 1
            if not end and len(self._buffer) - self._at >= limit:
                end = self._at + limit
            if end:
                line = self._buffer[self._at : end]
                self._at = end
                return line
            started = self._buffer[self._at :]
            self._buffer, self._at = started, 0
            piece = self.more()
            if not piece:
                self._at = len(started)
                return started
            self._buffer = started + piece

    def first_line(self) -> bytes:
        """The next line that is not blank; none at the end."""
        while (line := self.readline()) and not line.strip():
            pass
        return line

    def next_announcement(self) -> bytes:
        """The next line that begins a record; none where there is no more, or only damage."""
        try:
            while (line := self.readline()) and not line.startswith(_WARC):
                pass
        except BadRecord:
            return b""
        return line


class _Plain(_Source):
    """An uncompressed file."""

    def more(self) -> bytes:
        return self._raw.take()

    def position(self) -> int:
        return self._raw.offset - (len(self._buffer) - self._at)


class _Member(_Source):
    """The inside of one gzip member. `ended` once its end and its checksum were met."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__(raw)
        self._offset = raw.offset
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._damage: BadRecord | None = None
        self._fed = b""  # the piece inflated last
        self.ended = False

    def position(self) -> int:
        return self._offset

    def more(self) -> bytes:
        if self._damage is not None:
            raise self._damage
        inflated = b""
        while not inflated and not self.ended:
            piece = self._raw.take()
            if not piece:
                # Damaged data may inflate to nonsense past the end of its member.
                self._raw.give_back(self._fed)
                self._damage = BadRecord("truncated_gzip", "the file ends within a gzip member")
                raise self._damage
            try:
                inflated = self._inflate.decompress(piece, _INFLATED)
            except zlib.error as fault:
                self._raw.give_back(piece)
                self._damage = BadRecord("corrupt_gzip", str(fault))
                raise self._damage from fault
            self.ended = self._inflate.eof
            rest = self._inflate.unused_data or self._inflate.unconsumed_tail
            self._fed = piece[: len(piece) - len(rest)]
            self._raw.give_back(rest)
        return inflated


class _Content:
    """The content block of one record: as many bytes of the source as its Content-Length says."""

    def __init__(self, source: _Source, length: int) -> None:
        self._source = source
        self.left = length
        self._next_line: bytes | None = None

    def read(self, size: int) -> bytes:
        piece = self._source.read(min(size, self.left)) if self.left else b""
        self._passed(piece)
        return piece

    def readline(self) -> bytes:
        line = self._source.readline(min(LONGEST_LINE, self.left)) if self.left else b""
        self._passed(line)
        return line

    def _passed(self, piece: bytes) -> None:
        if self.left and not piece:
            raise BadRecord("cut_short", f"{self.left} bytes fewer than Content-Length says")
        self.left -= len(piece)

    def next_announcement(self) -> bytes:
        """Read to the record's end; the line that begins the next record, none at the end.

        Raises:
            BadRecord: the record does not end where its Content-Length says.
        """
        if self._next_line is None:
            while self.left:
                self.read(PIECE)
            line = self._source.first_line()
            if line and not line.startswith(_WARC):
                raise BadRecord("wrong_length", f"the record is followed by {line[:40]!r}")
            self._next_line = line
        return self._next_line
