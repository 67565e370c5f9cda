"""Rows as files of every kind, packed in every way; and the rows that are read from them."""

import bz2
import csv
import gzip
import io
import lzma

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
from backports import zstd

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ROWS = [{"instruction": "Grüße", "output": 'a, "b"\nc'}, {"instruction": "2", "output": "NA"}]


def to_csv(rows, **options):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", **options)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_arrow(rows, **options):
    table = pa.Table.from_pylist(rows, **options)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def to_arrow_file(rows):
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def to_parquet(rows, table=None, **options):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table or pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


def to_jsonl(rows):
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


WRITERS = {
    "data.jsonl": to_jsonl,
    "data.json": orjson.dumps,
    "data.csv": lambda rows: to_csv(rows).encode(),
    "data.tsv": lambda rows: to_csv(rows, delimiter="\t").encode(),
    "data.parquet": to_parquet,
    "data.arrow": to_arrow,
    "data.feather": to_arrow_file,
}
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def values(placed):
    """The rows alone, of [(file, number, row), …]."""
    return [value for _, _, value in placed]


def numbered(placed):
    """The rows with their numbers, of [(file, number, row), …]."""
    return [(number, value) for _, number, value in placed]
