"""Splits text into rows, as bytes: lines, blocks of lines, and the elements of JSON arrays.

The number of a row is that of the line where it starts, or of the element in its array.
"""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from operator import itemgetter

from gemma_finetune.data.unpack import BUFFER

MAX_ROW_BYTES = 16 << 20  # no conversation is longer; `validation` rejects what is cut here

MARK = b"\xef\xbb\xbf"  # the byte order mark; joined files have it in the middle, too

Row = tuple[int, bytes]  # (number, bytes)


def without_marks(data: bytes) -> bytes:
    """The bytes without byte order marks at their start."""
    while data.startswith(MARK):
        data = data[len(MARK) :]
    return data


def read_lines(stream: io.BufferedReader) -> Iterator[Row]:
    """Rows of one line each, as JSON Lines."""
    number = 0
    while row := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        rest = row
        while rest and not rest.endswith(b"\n"):  # skip the rest of a line that is too long
            rest = stream.readline(BUFFER)
        if row.startswith(MARK):
            row = without_marks(row) or b"\n"
        if not row.isspace():
            yield number, row


def read_im_text(stream: io.BufferedReader) -> Iterator[Row]:
    """Conversations of plain `<|im_start|>` text, which blank lines separate, as JSON strings."""

    def begins(line: bytes, before: bytes) -> bool:
        return before.isspace() and line.startswith(b"<|im_start|>")

    for number, text in _blocks(stream, begins):
        # Bytes that are not UTF-8 become lone surrogates, which validation rejects by name.
        content = text.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        yield number, json.dumps(content.strip()).encode()


def read_objects(stream: io.BufferedReader) -> Iterator[Row]:
    """Objects over several lines, one after the other, as `jq` and `json.dump(…, indent=2)` do."""
    return _blocks(stream, lambda line, before: line.startswith(b"{"))


def read_whole(stream: io.BufferedReader) -> Iterator[Row]:
    """The whole file as one row."""
    return _blocks(stream, lambda line, before: False)


def _blocks(stream: io.BufferedReader, begins: Callable[[bytes, bytes], bool]) -> Iterator[Row]:
    """Runs of lines. `begins(line, line before)` says whether a new run starts at a line."""
    number, start, before = 1, 1, b""
    block: list[bytes] = []
    room = 0  # bytes that the block may still take
    for line in iter(lambda: stream.readline(BUFFER), b""):
        if line.startswith(MARK) and before.endswith(b"\n"):
            line = without_marks(line) or b"\n"
        if block and begins(line, before):
            yield start, b"".join(block)
            block = []
        if not block and not line.isspace():
            start, room = number, MAX_ROW_BYTES + 1
        if room:
            block.append(line[:room])
            room -= len(block[-1])
        before = line
        number += line.endswith(b"\n")
    yield start, b"".join(block)


def read_array(stream: io.BufferedReader) -> Iterator[Row]:
    """The elements of one JSON array. ValueError if it does not end, or something follows it."""
    for number, (_, row) in enumerate(_elements(stream, level=1), 1):
        yield number, row


# Top-level keys whose arrays describe the rows.
_ABOUT_ROWS = {"features", "schema", "columns", "fields", "index"}
_LOOKED_AT = 100  # elements of an array by which it is known to hold rows


def read_members(stream: io.BufferedReader) -> Iterator[tuple[str, int, bytes]]:
    """(key, number, row): the rows of arrays under the keys of one JSON object.

    `{"version": 1, "data": [{…}, …]}`, or `{"train": [{…}, …], "test": [{…}, …]}`. An array
    without an object or a list among its first 100 elements is skipped. Of others, every element
    is a row.
    """
    for key, elements in groupby(_elements(stream, level=2), key=itemgetter(0)):
        numbered = enumerate(elements, 1)
        first, has_rows = [], False
        for number, (_, row) in islice(numbered, _LOOKED_AT):
            first.append((number, row))
            has_rows = row.startswith((b"{", b"["))
            if has_rows:
                break
        if key in _ABOUT_ROWS or not has_rows:
            continue
        for number, row in first:
            yield key, number, row
        for number, (_, row) in numbered:
            yield key, number, row


# All that decides where an element of an array ends: whole strings, brackets and commas. The
# quantifiers of strings are possessive, so that matching takes linear time.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)


def _elements(stream: io.BufferedReader, level: int) -> Iterator[tuple[str, bytes]]:
    """(key, element) of the arrays at a level: 1 is the array that the file is, 2 is one inside.

    ValueError if the outermost value does not end, or if something follows it.
    """
    buffer = b""
    start = 0  # where the current element starts in the buffer
    scanned = 0  # where the search for tokens continues
    depth, count = 0, 0
    inside = False  # whether an array of this level is open
    key = b'""'
    # Reading twice as much each time keeps the time linear in the length of an element.
    while chunk := stream.read(max(BUFFER, len(buffer) - start)):
        buffer, scanned = buffer[start:] + chunk, scanned - start
        start, resume = 0, len(buffer)
        for token in _TOKEN.finditer(buffer, scanned):
            kind = token.group()
            if kind == b'"':  # a string that continues in the next chunk
                resume = token.start()
                break
            if kind[:1] == b'"':
                key = kind if depth == level - 1 else key
                continue
            depth += (kind in b"[{") - (kind in b"]}")
            if kind == b"[" and depth == level:
                start, inside = token.end(), True
            elif inside and (depth < level or (kind == b"," and depth == level)):
                row = buffer[start : token.start()].strip()
                if row:
                    count += 1
                    yield _text_of(key), row[: MAX_ROW_BYTES + 1]
                start, inside = token.end(), depth == level
            if depth == 0:
                _refuse_more(buffer[token.end() :] + stream.read(BUFFER), count)
                return
        scanned = resume
        if not inside:
            start = resume  # nothing before it is part of an element
    raise ValueError(f"cut short: it does not end after row {count}; fetch the file again")


def _text_of(key: bytes) -> str:
    try:
        return json.loads(key)
    except ValueError:
        return key[1:-1].decode("utf-8", "replace")


def _refuse_more(rest: bytes, count: int) -> None:
    """ValueError if anything but white space follows the end of a value."""
    text = rest.lstrip()
    if text:
        raise ValueError(
            f"something follows the end of the JSON value after row {count} ({text[:40]!r}); "
            "a file is one array, one object that holds arrays, or one object a line"
        )


# Bytes that Western text in Windows-1252 or Latin-1 has outside ASCII: typographic marks and the
# frequent letters. Bytes that damaged UTF-8 is left with, such as 0xC3, are not among them.
_WESTERN = set("…‘’“”•–—™¡£©«®°±´·»¿ÀÄÅÇÉÈÖØÜßàáäåæçèéêëìíîïñòóôöøùúûü".encode("cp1252"))
_INVALID = re.compile("[\udc80-\udcff]+")
_VALID = re.compile("[^\0-\x7f\udc80-\udcff]")
MANY = 20  # places that are not UTF-8, from which a file is not just damaged


def to_utf8(encoding: str) -> str:
    """The command that converts a file, as a message shows it."""
    return f"`iconv -f {encoding} -t UTF-8 OLD > NEW`"


class Utf8Watch(io.RawIOBase):
    """A stream that passes bytes on and looks whether they are UTF-8.

    One damaged row among others is rejected as a row. Of a file in another encoding, all rows with
    an accent would be: `refuse` says so.
    """

    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._valid = self._invalid = self._western = self._lines = 0
        self._first = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        if chunk.isascii() and not self._decoder.getstate()[0]:
            self._lines += 0 if self._first else chunk.count(b"\n")
        else:
            self._look(self._decoder.decode(chunk))
        return len(chunk)

    def _look(self, text: str) -> None:
        self._valid += len(_VALID.findall(text))
        for found in _INVALID.finditer(text):
            wrong = found.group().encode("utf-8", "surrogateescape")
            self._invalid += 1
            self._western += len(wrong) <= 3 and _WESTERN.issuperset(wrong)
            if not self._first:
                line = self._lines + text.count("\n", 0, found.start()) + 1
                before = text[max(0, found.start() - 15) : found.start()].rpartition("\n")[2]
                after = text[found.end() : found.end() + 5].partition("\n")[0]
                around = f"{before}{found.group()}{after}".encode("utf-8", "surrogateescape")
                self._first = f"line {line}: {around!r}"
        if not self._first:
            self._lines += text.count("\n")

    def refuse(self) -> None:
        """ValueError if what was read is text in another encoding."""
        self._look(self._decoder.decode(b"", final=True))
        if self._invalid <= self._valid:
            return
        if self._western >= max(1, self._invalid / 2):
            raise ValueError(
                f"is not UTF-8 ({self._first}), probably Windows-1252 or Latin-1; convert it with "
                f"{to_utf8('WINDOWS-1252')}"
            )
        if self._invalid >= MANY:
            raise ValueError(
                f"is not UTF-8 ({self._first}); find out its encoding and convert it with "
                f"{to_utf8('ENCODING')}"
            )
