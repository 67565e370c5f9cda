"""The rows of tables, as JSON bytes: CSV and TSV through `csv`; Parquet and Arrow through pyarrow.

pyarrow's reader of CSV is not used: it guesses types ("007" becomes 7, "NA" nothing), and its
errors name no record.
"""

import base64
import csv
import datetime
import io
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import orjson

from gemma_finetune.data.texts import MAX_ROW_BYTES, Row

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1000
NOT_TEXT = "bytes that are not UTF-8"
SEPARATORS = ",;\t|"
# Columns that hold lists. A cell of CSV holds them as JSON.
LISTS = ("messages", "conversations", "conversation", "history")


class DoubledColumnError(ValueError):
    """A table has two columns of one name."""


def read_csv(stream: io.BufferedReader) -> Iterator[Row]:
    """The records of CSV or TSV below its header; the first is number 1. An empty cell is null.

    ValueError if quotes are wrong, or if records have more or fewer cells than the header.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    # Bytes that are not UTF-8 become lone surrogates, which validation rejects by name.
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    separator, lines = _separator(text)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    number = wrong = 0
    first_wrong = ""
    try:
        first = next((record for record in reader if record), [])
        header = _check_header(first)
        for record in reader:
            if not any(map(str.strip, record)):  # a blank line, or Excel's empty cells
                continue
            number += 1
            if record[1:] == first[1:] and _is_same_cell(record[0], first[0]):
                record = header  # of a joined file; `row_json` rejects it by name
            if len(record) == len(header):
                yield number, _dump(dict(zip(header, map(_cell, header, record), strict=True)))
                continue
            wrong += 1
            if wrong == 1:
                first_wrong = f"record {number} on line {reader.line_num} has {len(record)}"
    except csv.Error as error:
        raise ValueError(
            f"record {number + 1}, which ends on line {reader.line_num}: {error}; a cell with "
            'quotes, separators or line breaks stands in quotes, and quotes in it are doubled ("")'
        )
    if wrong:
        raise ValueError(
            f"{wrong:,} of {number:,} records do not have the {len(header)} cells of the header "
            f"({first_wrong}); put quotes around cells that hold {separator!r}"
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
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    return _check_unique(names)


def _check_unique(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise DoubledColumnError(f"has the column {name[:40]!r} twice; rename one of them")
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


def _dump(row: dict) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:  # lone surrogates, or large integers
        return json.dumps(row).encode()


def read_parquet(file: BinaryIO) -> Iterator[Row]:
    """The rows of a Parquet file."""
    import pyarrow.parquet

    # Column by column in small reads, so that a large row group need not fit in memory.
    table = pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    return _rows(table.schema_arrow, table.iter_batches(BATCH_ROWS, use_threads=False))


def read_arrow(file: BinaryIO) -> Iterator[Row]:
    """The rows of an Arrow file or stream, as `datasets` saves them."""
    import pyarrow.ipc

    if file.read(6) == b"ARROW1":
        table = pyarrow.ipc.open_file(file)
        batches = (table.get_batch(number) for number in range(table.num_record_batches))
        return _rows(table.schema, batches)
    file.seek(0)
    stream = pyarrow.ipc.open_stream(file)
    return _rows(stream.schema, iter(stream))


def _rows(schema: "pyarrow.Schema", batches: Iterable["pyarrow.RecordBatch"]) -> Iterator[Row]:
    _check_unique(schema.names)
    names_of_labels = _class_labels(schema.metadata or {})
    # Asking for dicts takes four times as long, even where there is no map.
    maps: Literal["strict"] | None = "strict" if "map<" in str(schema) else None
    number = 0
    for batch in batches:
        batch.validate(full=True)  # damaged offsets would end the process, not raise
        for offset in range(0, batch.num_rows, BATCH_ROWS):
            for values in batch.slice(offset, BATCH_ROWS).to_pylist(maps_as_pydicts=maps):
                number += 1
                row = {column: plain(value) for column, value in values.items()}
                for column, names in names_of_labels.items():
                    row[column] = _label(row.get(column), names)
                yield number, _dump(row)


def _class_labels(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """{column: names of the classes}: `datasets` stores a class as a number, its name apart."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _label(value: Any, names: list[str]) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def plain(value: Any, keep_nulls: bool = False) -> Any:
    """A value of Arrow as JSON has it: NaN is null, times are ISO text, bytes are text
    where they are UTF-8.

    Fields of structs that are null are left out: Arrow gives every struct all fields. Not so in the
    arguments of a call: there a null may be what the function requires, and `tool_check` decides.
    """
    match value:
        case str() | bool() | None:
            return value
        case dict():
            kept = {}
            for key, item in value.items():
                item = plain(item, keep_nulls or key == "arguments")
                if item is not None or keep_nulls:
                    kept[str(key)] = item
            return kept
        case list() | tuple():
            return [plain(item, keep_nulls) for item in value]
        case float():
            return value if abs(value) < float("inf") else None  # NaN is not under it, either
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:  # an object, so that nothing takes it for text
                return {NOT_TEXT: base64.b64encode(value).decode("ascii")}
        case int():
            return value
    return str(value)
