"""Whatever the rows hold, they come back the same from every kind of file, with their numbers."""

import csv
import io
import json

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.readers import read_rows
from gemma_finetune.utils.errors import UserError
from row_files import PACKERS, to_arrow, to_jsonl, to_parquet

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
given_rows = settings(derandomize=True, deadline=None, max_examples=150)


def check(tmp_path_factory, name, content, rows):
    path = tmp_path_factory.mktemp("rows") / name
    path.write_bytes(content)
    assert [(number, orjson.loads(row)) for number, row in read_rows(path)] == list(
        enumerate(rows, 1)
    )


@given_rows
@given(st.lists(st.dictionaries(texts, json_values, max_size=3), min_size=1, max_size=5))
def test_json_lines_come_back(tmp_path_factory, rows):
    check(tmp_path_factory, "a.jsonl", to_jsonl(rows), rows)


@given_rows
@given(
    st.lists(st.fixed_dictionaries({"x": json_values}), min_size=1, max_size=5),
    st.sampled_from([None, 0, 2]),
    st.sampled_from(sorted(PACKERS)),
)
def test_rows_under_a_key_come_back(tmp_path_factory, rows, indent, pack):
    content = json.dumps({"v": [1], "data": rows}, indent=indent).encode()
    check(tmp_path_factory, "a.json" + pack, PACKERS[pack](content), rows)


# Control characters make a file look binary.
cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\r\n\t"'))


@given_rows
@given(
    st.lists(st.tuples(cells, cells), max_size=5),
    st.sampled_from([",", "\t", ";"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_cells_of_csv_come_back(tmp_path_factory, records, separator, end):
    text = io.StringIO(newline="")
    # With QUOTE_MINIMAL, the module leaves a lone "\r" without quotes.
    quoting = (
        csv.QUOTE_ALL
        if any("\r" in cell for record in records for cell in record)
        else csv.QUOTE_MINIMAL
    )
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([("question", "answer"), *records])
    rows = [{"question": a or None, "answer": b or None} for a, b in records if (a + b).strip()]
    check(tmp_path_factory, "a.csv", text.getvalue().encode(), rows)


turns = st.fixed_dictionaries({"role": texts, "content": texts})
arrow_rows = st.lists(
    st.fixed_dictionaries(
        {
            "messages": st.lists(turns, max_size=3),
            "text": texts | st.none(),
            "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "ok": st.booleans(),
        }
    ),
    max_size=5,
)
SCHEMA = pa.schema(
    {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "text": pa.string(),
        "score": pa.float64(),
        "ok": pa.bool_(),
    }
)


@given_rows
@given(arrow_rows, st.sampled_from(["snappy", "zstd", "gzip", "none"]), st.integers(1, 3))
def test_rows_of_parquet_come_back(tmp_path_factory, rows, compression, group):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    content = to_parquet(None, table, compression=compression, row_group_size=group)
    check(tmp_path_factory, "a.parquet", content, rows)


@given_rows
@given(arrow_rows)
def test_rows_of_arrow_come_back(tmp_path_factory, rows):
    check(tmp_path_factory, "a.arrow", to_arrow(rows, schema=SCHEMA), rows)


MAGICS = [
    b"PAR1",
    b"ARROW1\0\0",
    b"\xff\xff\xff\xff",
    b"PK\x03\x04",
    b"BZh9",
    b"\xfd7zXZ\0",
    b'{"a":[',
]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.sampled_from([b"", *MAGICS]),
    st.binary(max_size=60) | st.text('[]{},:"\\ \n;a\t').map(str.encode),
    st.sampled_from(["a.jsonl", "a.csv", "a.parquet", "a.txt"]),
)
def test_any_bytes_give_rows_or_a_user_error(tmp_path_factory, magic, content, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(magic + content)
    try:
        rows = list(read_rows(path))
    except UserError:
        return
    assert all(row.strip() for _, row in rows)
