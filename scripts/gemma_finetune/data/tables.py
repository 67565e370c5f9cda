"""The rows of CSV and TSV, as JSON bytes; those of Parquet and Arrow are in `arrow_tables`.

pyarrow's reader of CSV is not used: it guesses types ("007" becomes 7, "NA" nothing), and its
errors name no record.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal

import orjson

from gemma_finetune.data.texts import MAX_ROW_BYTES, Row

SEPARATORS = ",;\t|"
# The key of a record that has other cells than the header.
MISSHAPEN = "what is wrong with this record"
BLANK_BEFORE_QUOTE = (
    "has a blank between a separator and a quote, which makes the quote a character of the cell: "
    "remove the blank"
)
PLAIN_QUOTES = (
    "quotes seem to be plain characters here: write every cell that holds one in quotes, with "
    'quotes in it doubled (""), or write the rows as JSON Lines'
)
# Columns that hold lists. A cell of CSV holds them as JSON.
LISTS = ("messages", "conversations", "conversation", "history")


class TableError(ValueError):
    """A table that is not damaged, but cannot be read; the message says why."""


def read_csv(stream: io.BufferedReader, plain_quotes: bool = False) -> Iterator[Row]:
    """The records of CSV or TSV below its header; the first is number 1. An empty cell is null.

    plain_quotes: quotes are characters like others. ValueError if quotes are wrong. A record with
    more or fewer cells than the header becomes {MISSHAPEN: what is wrong}, which `row_json`
    rejects.
    """
    separator, lines = _lines_of(stream)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain_quotes else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=separator, strict=True, quoting=quoting)
    number = 0
    try:
        first = next((record for record in reader if record), [])
        header = _check_header(first)
        for record in reader:
            if not any(map(str.strip, record)):  # a blank line, or Excel's empty cells
                continue
            number += 1
            if record[1:] == first[1:] and _is_same_cell(record[0], first[0]):
                record = header  # of a joined file; `row_json` rejects it by name
            if separator == "\t" and _spans_records(record, len(header)):
                raise ValueError(
                    f"record {number}, which ends on line {reader.line_num}: a cell in quotes "
                    f"holds a tab and a line break, so {PLAIN_QUOTES}"
                )
            row = dict(zip(header, map(_cell, header, record), strict=False))
            if problem := _misshapen(record, len(header), separator):
                row = {MISSHAPEN: problem} | row
            yield number, dump_row(row)
    except csv.Error as error:
        advice = (
            "a cell with quotes, separators or line breaks stands in quotes, and quotes in it are "
            'doubled ("")'
        )
        raise ValueError(
            f"record {number + 1}, which ends on line {reader.line_num}: {error}; "
            + (PLAIN_QUOTES if separator == "\t" else advice)
        )


def has_plain_quotes(stream: io.BufferedReader) -> bool:
    """Whether quotes in TSV are characters like others, as in many corpora.

    So it is if every line has as many cells as the header, but not as many if quotes join cells and
    lines: `"quoted<tab>start`.
    """
    separator, lines = _lines_of(stream)
    if separator != "\t":
        return False
    count, cells = 0, 0
    is_even = True

    def counted() -> Iterator[str]:
        nonlocal count, cells, is_even
        for line in lines:
            if line.strip():
                count += 1
                cells = cells or line.count("\t") + 1
                is_even = is_even and line.count("\t") + 1 == cells
            yield line

    watched = counted()
    records = 0
    try:
        for record in csv.reader(watched, delimiter=separator, strict=True):
            records += any(map(str.strip, record))
            if not is_even:
                return False
    except csv.Error:
        records = -1
    for _ in watched:  # after an error
        if not is_even:
            return False
    return is_even and records != count


def _lines_of(stream: io.BufferedReader) -> tuple[str, Iterable[str]]:
    """The separator of CSV or TSV, and the lines from the header on."""
    csv.field_size_limit(MAX_ROW_BYTES)
    # Bytes that are not UTF-8 become lone surrogates, which validation rejects by name.
    return _separator(io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline=""))


def _spans_records(record: list[str], columns: int) -> bool:
    """Whether quotes seem to have joined records: each line of this one has all the cells.

    Code with tabs in a cell has not.
    """
    lines = "\t".join(record).splitlines()
    return len(lines) > 1 and all(line.count("\t") + 1 == columns for line in lines)


def _is_after_blank(cell: str) -> bool:
    """Whether a quote at the start of a cell was none for `csv`, as a blank stands before it."""
    return cell.startswith(" ") and cell.lstrip(" ").startswith('"')


def _misshapen(record: list[str], columns: int, separator: str) -> str | None:
    """What is wrong with the cells of a record, or None."""
    is_even = len(record) == columns
    if any(_is_after_blank(cell) and (not is_even or cell.endswith('"')) for cell in record):
        return BLANK_BEFORE_QUOTE
    if is_even:
        return None
    if columns == 1:
        return (
            f"has {len(record)} cells, but the first line of the file has 1; remove the lines "
            "before the header"
        )
    return (
        f"has {len(record)} cells, but the header has {columns}; "
        f"put quotes around cells that hold {separator!r}"
    )


def _separator(text: Iterable[str]) -> tuple[str, Iterable[str]]:
    """The separator that the header has most of, and the lines from the header on."""
    lines = iter(text)
    header = next((line for line in lines if line.strip()), "")
    if header.startswith("sep=") and len(header.strip("\r\n")) == 5:  # as Excel writes it
        return header[4], lines
    outside = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=outside.count), chain([header], lines)


def _check_header(header: list[str]) -> list[str]:
    """The names of the columns. A column without a name, as pandas writes its index, gets one."""
    if any(_is_after_blank(cell) for cell in header):
        raise ValueError(f"the header {BLANK_BEFORE_QUOTE}")
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    return check_unique(names)


def check_unique(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"has the column {name[:40]!r} twice; rename one of them")
    return names


def _is_same_cell(cell: str, first: str) -> bool:
    """Whether a record begins like the header; the one of a joined file may have a mark."""
    return cell.lstrip("﻿").strip('"') == first.strip('"')


def _cell(column: str, text: str) -> Any:
    """The value of a cell: text, except for lists, which are JSON."""
    if not text:
        return None
    if column in LISTS and text.lstrip().startswith("["):
        try:
            return orjson.loads(text)
        except ValueError:
            return text
    return text


def dump_row(row: dict) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:  # lone surrogates, or large integers
        return json.dumps(row).encode()
