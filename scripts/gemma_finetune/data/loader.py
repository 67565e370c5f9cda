"""Streams the rows of raw files as bytes: which files, how they are packed, where a row ends.

Reads JSON Lines, objects over several lines, one JSON array, and plain `<|im_start|>` text: as they
are, in gzip or in Zstandard, with or without a byte-order mark. `validation` decides what a row
means and whether it is valid.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from backports import zstd

from gemma_finetune.utils.cli import UserError

MAX_ROW_BYTES = 16 << 20  # no conversation is longer; `validation` rejects what is cut here
SUFFIXES = (".jsonl", ".ndjson", ".json", ".txt")
PACKED = (".gz", ".zst")
NOT_DATA = (".md", ".dvc")
BUFFER = 1 << 20
OTHER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

Row = tuple[int, bytes]  # (number of the line where it starts, bytes)
Placed = tuple[str, int, bytes]  # (file, line, bytes)


def find_files(raw: str) -> list[Path]:
    """The data files of a folder, sorted, or the one file that `raw` names.

    UserError if there is no file, or one of an unknown kind.
    """
    paths = [path for path in Path(raw).rglob("*") if not _is_hidden(path.relative_to(raw))]
    if not paths:
        paths = [Path(raw)]
    files = sorted(path for path in paths if path.is_file() and path.suffix not in NOT_DATA)
    if not files:
        raise UserError(f"data.raw: no data file in {raw}; put {', '.join(SUFFIXES)} files there")
    for path in files:
        kind = path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
        if kind not in SUFFIXES:
            raise UserError(
                f"{path}: not a kind of file that can be read ({', '.join(SUFFIXES)}, each also "
                f"with {' or '.join(PACKED)}); convert it, or move it out of data.raw"
            )
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_files(paths: Iterable[Path]) -> Iterator[Placed]:
    """The rows of all files, in order."""
    for path in paths:
        for line, row in read_rows(path):
            yield path.as_posix(), line, row


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of one file. UserError says after which line a packed file or array is damaged."""
    line = 0
    try:
        with _open(path) as stream:
            for line, row in _split(stream):
                yield line, row
    except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise UserError(f"{path}: damaged after line {line} ({error}); fetch the file again")
    except ValueError as error:
        raise UserError(f"{path}: {error}")


def _open(path: str | Path) -> io.BufferedReader:
    """The unpacked content. The first bytes decide how it is packed, not the name."""
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.open(path), BUFFER)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(zstd.open(path), BUFFER)
    return io.BufferedReader(io.FileIO(path), BUFFER)


def _split(stream: io.BufferedReader) -> Iterator[Row]:
    """The rows of unpacked content. ValueError if it is not text in UTF-8."""
    start = stream.peek(64)
    for mark, encoding in OTHER_MARKS.items():
        if start.startswith(mark):
            raise ValueError(f"is {encoding}; convert it with `iconv -f {encoding} -t UTF-8`")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError("is a pointer of Git LFS, not the data; fetch it with `git lfs pull`")
    if start.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
        start = start[3:]
    if start.lstrip().startswith(b"["):
        return _array(stream)
    if start.lstrip().startswith(b"<|im_start|>"):
        return _im_text(stream)
    if start.lstrip().splitlines()[:1] == [b"{"]:
        return _objects(stream)
    return _lines(stream)


def _lines(stream: io.BufferedReader) -> Iterator[Row]:
    number = 0
    while row := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        rest = row
        while rest and not rest.endswith(b"\n"):  # skip the rest of a line that is too long
            rest = stream.readline(BUFFER)
        if not row.isspace():
            yield number, row


def _im_text(stream: io.BufferedReader) -> Iterator[Row]:
    """Conversations of plain `<|im_start|>` text, which blank lines separate, as JSON strings."""

    def begins(line: bytes, before: bytes) -> bool:
        return before.isspace() and line.startswith(b"<|im_start|>")

    for number, text in _blocks(stream, begins):
        # Bytes that are not UTF-8 become lone surrogates, which validation rejects by name.
        content = text.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        yield number, json.dumps(content.strip()).encode()


def _objects(stream: io.BufferedReader) -> Iterator[Row]:
    """Objects over several lines, one after the other, as `jq` and `json.dump(…, indent=2)` do."""
    return _blocks(stream, lambda line, before: line.rstrip() == b"{")


def _blocks(stream: io.BufferedReader, begins: Callable[[bytes, bytes], bool]) -> Iterator[Row]:
    """Runs of lines. `begins(line, line before)` says whether a new run starts at a line."""
    number, start, before = 1, 1, b""
    block: list[bytes] = []
    room = 0  # bytes that the block may still take
    for line in iter(lambda: stream.readline(BUFFER), b""):
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


# All that decides where an element of an array ends: whole strings, brackets and commas. The
# quantifiers of strings are possessive, so that matching takes linear time.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)


def _array(stream: io.BufferedReader) -> Iterator[Row]:
    """Elements of one JSON array. ValueError if it does not end, or if something follows it."""
    buffer = b""
    start = 0  # where the current element starts in the buffer
    scanned = 0  # where the search for tokens continues
    depth, line = 0, 1
    # Reading twice as much each time keeps the time linear in the length of an element.
    while chunk := stream.read(max(BUFFER, len(buffer) - start)):
        buffer, scanned = buffer[start:] + chunk, scanned - start
        start, resume = 0, len(buffer)
        for token in _TOKEN.finditer(buffer, scanned):
            kind = token.group()
            if kind == b'"':  # a string that continues in the next chunk
                resume = token.start()
                break
            depth += (kind in b"[{") - (kind in b"]}")
            if kind == b"[" and depth == 1:
                start = token.end()
            elif depth == 0 or (kind == b"," and depth == 1):
                element = buffer[start : token.start()]
                row = element.lstrip()
                if row:
                    skipped = element[: len(element) - len(row)]
                    yield line + skipped.count(b"\n"), row[: MAX_ROW_BYTES + 1]
                line, start = line + element.count(b"\n"), token.end()
                if depth == 0:
                    _refuse_more(buffer[start:] + stream.read(BUFFER), line)
                    return
        scanned = resume
    raise ValueError(f"cut short: the array does not end after line {line}; fetch the file again")


def _refuse_more(rest: bytes, line: int) -> None:
    """ValueError if anything but white space follows the end of an array."""
    text = rest.lstrip()
    if text:
        line += rest[: len(rest) - len(text)].count(b"\n")
        raise ValueError(
            f"line {line}: something follows the end of the array ({text[:40]!r}); "
            "a file is one array, or one object a line"
        )
