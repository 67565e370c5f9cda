"""Raw files to rows of bytes, in streaming: which files, how they are packed, where one row ends
and the next starts.

Reads JSON Lines, objects over several lines, one JSON array, and plain `<|im_start|>` text; as they
are, in gzip or in Zstandard; with or without a byte-order mark. What a row means and whether it is
valid is for `validation`.
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

MAX_ROW_BYTES = (
    16 << 20
)  # no conversation is this long; what is over it is cut here and rejected later
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

Row = tuple[int, bytes]  # the line of its file where it starts, its bytes
Placed = tuple[str, int, bytes]  # the same with the file


def find_files(raw: str) -> list[Path]:
    """The data files of a folder, sorted, or the one file. UserError where there are none, or one
    of unknown kind.
    """
    paths = [path for path in Path(raw).rglob("*") if not _hidden(path.relative_to(raw))]
    files = sorted(
        path for path in paths or [Path(raw)] if path.is_file() and path.suffix not in NOT_DATA
    )
    if not files:
        raise UserError(f"data.raw: no data file in {raw}; put {', '.join(SUFFIXES)} files there")
    for path in files:
        kind = path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
        if kind not in SUFFIXES:
            raise UserError(
                f"{path}: not a kind of file that can be read ({', '.join(SUFFIXES)}, each also with "
                f"{' or '.join(PACKED)}); convert it, or move it out of data.raw"
            )
    return files


def _hidden(path):
    return any(part.startswith(".") for part in path.parts)


def read_files(paths: Iterable[Path]) -> Iterator[Placed]:
    """The rows of all files, in order."""
    for path in paths:
        for line, row in read_rows(path):
            yield path.as_posix(), line, row


def read_rows(path: str | Path) -> Iterator[Row]:
    """The rows of one file. UserError names the line after which a packed file or an array is
    damaged.
    """
    line = 0
    try:
        with _open(path) as stream:
            for line, row in _split(stream):
                yield line, row
    except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise UserError(f"{path}: damaged after line {line} ({error}); fetch the file again")
    except ValueError as error:
        raise UserError(f"{path}: {error}")


def _open(path):
    """The unpacked content, told by the first bytes and not by the name."""
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.open(path), BUFFER)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(zstd.open(path), BUFFER)
    return open(path, "rb", buffering=BUFFER)


def _split(stream):
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


def _lines(stream) -> Iterator[Row]:
    number = 0
    while row := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        rest = row
        while not rest.endswith(b"\n") and (rest := stream.readline(BUFFER)):
            pass
        if not row.isspace():
            yield number, row


def _im_text(stream) -> Iterator[Row]:
    """Conversations of plain `<|im_start|>` text, each a JSON string; a blank line stands between
    two of them.
    """
    for start, text in _blocks(
        stream, lambda line, before: before.isspace() and line.startswith(b"<|im_start|>")
    ):
        # Bytes that are not UTF-8 become lone surrogates, which validation rejects by name.
        content = text.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        yield start, json.dumps(content.strip()).encode()


def _objects(stream) -> Iterator[Row]:
    """Objects over several lines, one after the other, as `jq` and `json.dump(…, indent=2)` write
    them.
    """
    return _blocks(stream, lambda line, before: line.rstrip() == b"{")


def _blocks(stream, begins: Callable[[bytes, bytes], bool]) -> Iterator[Row]:
    """Runs of lines; a new one starts where `begins` says so of a line and the one before it."""
    number, start, block, room, before = 1, 1, [], 0, b""
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


# What it takes to find an array's commas and its end: whole strings (possessive: linear in time),
# brackets, commas.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)


def _array(stream) -> Iterator[Row]:
    """Elements of one JSON array. ValueError where it does not end, or where something follows
    it.
    """
    buffer, start, scanned, depth, line = b"", 0, 0, 0, 1
    while chunk := stream.read(
        max(BUFFER, len(buffer) - start)
    ):  # doubling: linear in an element's length
        buffer, scanned = buffer[start:] + chunk, scanned - start
        start, resume = 0, len(buffer)
        for token in _TOKEN.finditer(buffer, scanned):
            kind = token.group()
            if kind == b'"':  # a string that goes on in the next chunk
                resume = token.start()
                break
            depth += (kind in b"[{") - (kind in b"]}")
            if kind == b"[" and depth == 1:
                start = token.end()
            elif depth == 0 or (kind == b"," and depth == 1):
                element = buffer[start : token.start()]
                row = element.lstrip()
                if row:
                    yield (
                        line + element[: len(element) - len(row)].count(b"\n"),
                        row[: MAX_ROW_BYTES + 1],
                    )
                line, start = line + element.count(b"\n"), token.end()
                if depth == 0:
                    return _nothing_follows(buffer[start:] + stream.read(BUFFER), line)
        scanned = resume
    raise ValueError(f"cut short: the array does not end after line {line}; fetch the file again")


def _nothing_follows(rest, line):
    if text := rest.lstrip():
        line += rest[: len(rest) - len(text)].count(b"\n")
        raise ValueError(
            f"line {line}: something follows the end of the array ({text[:40]!r}); "
            "a file is one array, or one object a line"
        )
