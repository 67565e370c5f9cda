"""The rows of one file, as JSON bytes with their numbers, whatever the file is and is packed in.

The first bytes decide what a file is; its name only where they leave it open (CSV or TSV). The
number of a row is that of its line (JSON Lines, `<|im_start|>` text, objects over several lines),
or of the element, record or row (arrays, CSV, Parquet, Arrow), counted from 1.

`validation` decides what a row means and whether it is valid.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import orjson

from gemma_finetune.data import arrow_tables, sniff, tables, texts
from gemma_finetune.data.kinds import kind
from gemma_finetune.data.split import split_in_name
from gemma_finetune.data.texts import Row
from gemma_finetune.data.unpack import (
    BUFFER,
    DAMAGED,
    is_damage,
    is_zip,
    list_members,
    seekable,
    unpack,
)
from gemma_finetune.utils.errors import UserError

Placed = tuple[str, int, bytes]  # (file, number, bytes)

PARQUET = b"PAR1"
ARROW = (b"ARROW1", b"\xff\xff\xff\xff")  # a file, a stream
_TEXT_READERS = {
    "lines": texts.read_lines,
    "objects": texts.read_objects,
    "whole": texts.read_whole,
    "im_text": texts.read_im_text,
    "array": texts.read_array,
}


def read_rows(path: str | Path) -> Iterator[Row]:
    """(number, bytes) of each row of a file."""
    for _, number, row in read_file(path):
        yield number, row


def read_file(path: str | Path) -> Iterator[Placed]:
    """The rows of a file, or of the members of a ZIP archive (`a.zip/b.jsonl`).

    A list of messages becomes `{"messages": [...]}`. UserError says what is wrong with the file,
    and after which row.
    """
    path = Path(path)
    if not is_zip(path):
        yield from _read(path.as_posix(), partial(open, path, "rb", buffering=0))
        return
    for name in list_members(path)[0]:
        with zipfile.ZipFile(path) as archive:
            yield from _read(f"{path.as_posix()}/{name}", partial(archive.open, name))


def _read(name: str, open_file: Callable[[], Any]) -> Iterator[Placed]:
    """The rows of a file that a function opens. UserError says what is wrong with the file."""
    number = 0
    try:
        for part, number, row in _read_content(name, open_file):
            yield part, number, _as_object(row)
    except (*DAMAGED, OSError) as error:
        if not is_damage(error):
            raise
        raise UserError(f"{name}: damaged after row {number} ({error}); fetch the file again")
    except ValueError as error:
        raise UserError(f"{name}: {error}")


def _read_content(name: str, open_file: Callable[[], Any]) -> Iterator[Placed]:
    """The rows of a file. ValueError if it is not what it should be."""
    suffix = kind(PurePath(name))
    with unpack(open_file()) as stream:
        head = _head(stream)
    with unpack(open_file()) as stream:
        if head.startswith((PARQUET, *ARROW)):
            yield from _place(name, _read_table(head, seekable(stream)))
            return
        sniff.refuse(head, suffix)
        text_kind = sniff.text_kind(head, len(head) < BUFFER, suffix)
        watch = texts.Utf8Watch(stream)
        text: io.BufferedReader = io.BufferedReader(watch, BUFFER)  # type: ignore[assignment]
        text.read(len(head) - len(texts.without_marks(head)))
        if text_kind == "csv":
            with unpack(open_file()) as again:
                plain_quotes = tables.has_plain_quotes(again)
            yield from _place(name, tables.read_csv(text, plain_quotes))
        elif text_kind == "members":
            yield from _read_members(name, text)
        else:
            yield from _place(name, _TEXT_READERS[text_kind](text))
        watch.refuse()


def _head(stream: io.BufferedReader) -> bytes:
    """The first BUFFER bytes, or all."""
    head = b""
    while len(head) < BUFFER and (more := stream.read(BUFFER - len(head))):
        head += more
    return head


def _read_table(head: bytes, file: Any) -> Iterator[Row]:
    """The rows of Parquet or Arrow. ValueError if the file is damaged."""
    number = 0
    try:
        reader = arrow_tables.read_parquet if head.startswith(PARQUET) else arrow_tables.read_arrow
        for number, row in reader(file):
            yield number, row
    except tables.TableError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or "too large for the memory"
        raise ValueError(f"damaged after row {number} ({reason}); fetch the file again")


def _read_members(name: str, text: io.BufferedReader) -> Iterator[Placed]:
    """The rows under the keys of one object. A key that names a split is part of the place."""
    other = None  # the one key that may hold rows without naming a split
    for key, number, row in texts.read_members(text):
        if split_in_name(key, ""):
            yield f"{name}#{key}", number, row
            continue
        if other not in (None, key):
            raise ValueError(
                f"holds arrays under two keys, {other!r} and {key!r}; keep the one with the rows, "
                "or name the keys train, validation and test"
            )
        other = key
        yield name, number, row


def _place(name: str, rows: Iterable[Row]) -> Iterator[Placed]:
    for number, row in rows:
        yield name, number, row


def _as_object(row: bytes) -> bytes:
    """The row; a list of messages becomes an object that holds them."""
    if not row.lstrip().startswith(b"[") or b"{" not in row[:100]:
        return row
    try:
        turns = orjson.loads(row)
    except ValueError:
        return row
    return b'{"messages": ' + row.strip() + b"}" if turns and sniff.is_turn(turns[0]) else row
