"""The rows of Parquet and Arrow files, as JSON bytes, through pyarrow."""

import base64
import datetime
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from gemma_finetune.data.tables import TableError, check_unique, dump_row
from gemma_finetune.data.texts import Row

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1000
NOT_TEXT = "bytes that are not UTF-8"


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
    check_unique(schema.names)
    names_of_labels = _class_labels(schema.metadata or {})
    # Asking for dicts takes four times as long, even where there is no map.
    maps: Literal["strict"] | None = "strict" if "map<" in str(schema) else None
    number = 0
    for batch in batches:
        batch.validate(full=True)  # damaged offsets would end the process, not raise
        for offset in range(0, batch.num_rows, BATCH_ROWS):
            for values in _to_dicts(batch.slice(offset, BATCH_ROWS), maps, number + 1):
                number += 1
                row = {column: plain(value) for column, value in values.items()}
                for column, names in names_of_labels.items():
                    row[column] = _label(row.get(column), names)
                yield number, dump_row(row)


def _to_dicts(
    batch: "pyarrow.RecordBatch", maps: Literal["strict"] | None, first: int
) -> list[dict]:
    """The rows of a batch, of which `first` is the number of the first.

    TableError names the row and column of a value that Python cannot hold: a time in the year
    20000, a map with one key twice.
    """
    try:
        return batch.to_pylist(maps_as_pydicts=maps)
    except (ValueError, KeyError, OverflowError):
        for column in batch.schema.names:
            for number, value in enumerate(batch.column(column), first):
                try:
                    value.as_py(maps_as_pydicts=maps)
                except (ValueError, KeyError, OverflowError) as error:
                    reason = str(error).strip("'\"")
                    raise TableError(
                        f"row {number}: the column {column[:40]!r} holds a value that cannot be "
                        f"read ({reason}); write the column as text, or leave it out"
                    )
        raise


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
    where they are UTF-8. Decimals are text with all their places (`19.90`), but numbers in the
    arguments of a call.

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
            if value.as_tuple().exponent == 0:
                return int(value)
            return float(value) if keep_nulls else format(value, "f")
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:  # an object, so that nothing takes it for text
                return {NOT_TEXT: base64.b64encode(value).decode("ascii")}
        case int():
            return value
    return str(value)
