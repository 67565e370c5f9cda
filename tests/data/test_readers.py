"""Rows from every kind of file come back with their numbers, whatever the file is packed in."""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import zipfile
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data import tables, unpack
from gemma_finetune.data.readers import read_file, read_rows
from gemma_finetune.utils.cli import UserError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ROWS = [{"instruction": "Grüße", "output": 'a, "b"\nc'}, {"instruction": "2", "output": "NA"}]


@pytest.fixture
def read(tmp_path):
    """Writes a file, and returns its rows: [(file, number, value), …]."""

    def write_and_read(content, name="data.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = read_file(path)
        return [
            (file.removeprefix(f"{tmp_path.as_posix()}/"), number, orjson.loads(row))
            for file, number, row in found
        ]

    return write_and_read


def values(rows):
    return [value for _, _, value in rows]


def numbered(rows):
    return [(number, value) for _, number, value in rows]


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


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_in_every_packing(read, name, pack):
    content = PACKERS[pack](WRITERS[name](ROWS))
    assert numbered(read(content, name + pack)) == [(1, ROWS[0]), (2, ROWS[1])]
    assert numbered(read(content, (name + pack).upper())) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize("name", ["data.json", "data.parquet", "data.arrow", "data.feather"])
def test_the_bytes_decide_where_the_name_lies(read, name):
    assert values(read(WRITERS[name](ROWS), "data.jsonl")) == ROWS
    assert values(read(bz2.compress(WRITERS[name](ROWS)), "data.jsonl")) == ROWS


def test_json_lines_may_be_named_csv_or_parquet(read):
    assert values(read(to_jsonl(ROWS), "data.csv")) == ROWS
    assert values(read(to_jsonl(ROWS), "data.parquet")) == ROWS


def test_packed_twice(read):
    assert values(read(gzip.compress(gzip.compress(to_jsonl(ROWS))), "data.jsonl.gz")) == ROWS


# Rows under keys


@pytest.mark.parametrize("key", ["data", "rows", "examples", "my chats", "é\\u00e9"])
@pytest.mark.parametrize("before", ["", '"version": "1.0", "meta": {"a": [{"b": 1}]}, '])
@pytest.mark.parametrize("after", ["", ', "count": [1, 2], "ok": true'])
def test_rows_under_one_key(read, key, before, after):
    content = f'{{{before}"{key}": {json.dumps(ROWS)}{after}}}'
    assert read(content, "a.json") == [("a.json", 1, ROWS[0]), ("a.json", 2, ROWS[1])]


def test_rows_under_one_key_over_several_lines(read):
    assert values(read(json.dumps({"data": ROWS}, indent=2), "a.json")) == ROWS


def test_rows_under_keys_that_name_splits(read):
    content = json.dumps({"train": ROWS, "test": ROWS[:1]}, indent=1)
    assert read(content, "a.json") == [
        ("a.json#train", 1, ROWS[0]),
        ("a.json#train", 2, ROWS[1]),
        ("a.json#test", 1, ROWS[0]),
    ]


@pytest.mark.parametrize("key", ["data", "conversations", "messages"])
def test_conversations_under_one_key(read, key):
    row = {"messages": TURNS}
    assert values(read(json.dumps({key: [row, row]}), "a.json")) == [row, row]
    assert values(read(json.dumps({key: [TURNS, TURNS]}), "a.json")) == [row, row]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"messages": TURNS, "meta": [{"a": 1}]},
        {"tools": [{"type": "function"}], "messages": TURNS},
        {"conversations": [{"from": "human", "value": "Hi"}]},
        {"instruction": "a", "output": "b", "history": [["c", "d"]]},
        {"history": [["c", "d"]], "instruction": "a", "output": "b"},
        {"data": TURNS},
        {"data": ["Hi", "Hello"]},
        {"data": []},
    ],
)
def test_one_object_that_is_a_row(read, row, indent):
    assert values(read(json.dumps(row, indent=indent), "a.json")) == [row]


def test_json_lines_with_arrays_of_objects_are_rows(read):
    row = {"data": [{"a": 1}, {"b": 2}]}
    assert numbered(read(to_jsonl([row, row]))) == [(1, row), (2, row)]


def test_a_large_object_is_streamed(read, monkeypatch):
    monkeypatch.setattr("gemma_finetune.data.readers.BUFFER", 64)
    monkeypatch.setattr("gemma_finetune.data.texts.BUFFER", 64)
    rows = [{"a": str(n), "b": [n, {"c": "]}"}]} for n in range(200)]
    assert values(read(json.dumps({"v": 1, "rows": rows}), "a.json")) == rows
    row = {"messages": [{"role": "user", "content": "x" * 500}]}
    assert values(read(to_jsonl([row, row]))) == [row, row]


def test_arrays_under_two_keys_are_refused(read):
    with pytest.raises(UserError, match="under two keys, 'a' and 'b'"):
        read('{"a": [{"x": 1}], "b": [{"y": 1}]}', "a.json")


def test_features_of_a_table_are_not_rows(read):
    content = '{"features": [{"name": "a"}], "rows": [{"a": 1}], "columns": ["a"]}'
    assert values(read(content, "a.json")) == [{"a": 1}]


@pytest.mark.parametrize("content", ['{"data": [{"a": 1}, {"b"', '{"data": [{"a": 1}]'])
def test_an_object_that_is_cut_short_is_an_error(read, content):
    with pytest.raises(UserError, match="cut short: it does not end after row 1"):
        read(content, "a.json")


def test_a_table_by_columns_is_named(read):
    with pytest.raises(UserError, match="table by columns.*orient=.records"):
        read('{"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}}', "a.json")


# Bare lists of messages


@pytest.mark.parametrize("turns", [TURNS, [{"from": "human", "value": "Hi"}]])
def test_bare_lists_of_messages(read, turns):
    row = {"messages": turns}
    assert numbered(read(to_jsonl([turns, turns]))) == [(1, row), (2, row)]
    assert numbered(read(to_jsonl([turns]))) == [(1, row)]
    assert numbered(read(json.dumps([turns, turns], indent=2), "a.json")) == [(1, row), (2, row)]
    assert numbered(read(json.dumps(turns, indent=2), "a.json")) == [(1, row)]


def test_other_lists_stay_lists(read):
    assert values(read('{"a": 1}\n["a", "b"]\n[]\n[{"a": 1}]')) == [
        {"a": 1},
        ["a", "b"],
        [],
        [{"a": 1}],
    ]


# CSV


def test_csv_counts_records_not_lines(read):
    content = 'text,label\n"a\nb\n\nc",1\r\n\n"d ""e""",\n007,NA\n'
    assert numbered(read(content, "a.csv")) == [
        (1, {"text": "a\nb\n\nc", "label": "1"}),
        (2, {"text": 'd "e"', "label": None}),
        (3, {"text": "007", "label": "NA"}),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_other_programs(read, separator, mark, end):
    content = f'{mark}"prompt"{separator}completion{end}a{separator}"b{end}c"{end}'
    assert values(read(content, "a.csv")) == [{"prompt": "a", "completion": f"b{end}c"}]


def test_excel_names_its_separator(read):
    assert values(read("sep=;\r\na;b,c\r\n1;2\r\n", "a.csv")) == [{"a": "1", "b,c": "2"}]


def test_one_column_and_an_index_column(read):
    assert values(read("text\nHi\n", "a.csv")) == [{"text": "Hi"}]
    assert values(read(",text\n0,Hi\n", "a.csv")) == [{"column 1": "0", "text": "Hi"}]


def test_lists_in_cells_are_json(read):
    content = to_csv(
        [{"messages": json.dumps(TURNS), "text": "[1]"}, {"messages": "[", "text": "x"}]
    )
    assert values(read(content, "a.csv")) == [
        {"messages": TURNS, "text": "[1]"},
        {"messages": "[", "text": "x"},
    ]


def test_long_cells(read):
    assert (
        len(values(read(f'text,label\n"{"x" * 1_000_000}",1\n', "a.csv"))[0]["text"]) == 1_000_000
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ('a,b\n1,2\n"x\ny",2,3\n4\n', "2 of 3 records .* 2 cells .*record 2 on line 4 has 3"),
        ('a,b\n1,2\n"x" y,2\n', "record 2, which ends on line 3: .* quotes"),
        ('a,b\n1,2\n"x,2\n3,4\n', "record 2, which ends on line 4: .* quotes"),
        ("a,b,a\n1,2,3\n", "has the column 'a' twice"),
    ],
)
def test_damaged_csv_is_named_by_record(read, content, message):
    with pytest.raises(UserError, match=f"a.csv: {message}"):
        read(content, "a.csv")


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n", "\ufeff"])
def test_csv_without_records(read, content):
    assert read(content, "a.csv") == []


# Parquet and Arrow


def test_types_of_arrow_become_what_json_has(read):
    row = {
        "number": 1,
        "nan": float("nan"),
        "price": Decimal("1.50"),
        "count": Decimal("3"),
        "day": datetime.date(2026, 1, 2),
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "length": datetime.timedelta(seconds=90),
        "bytes": "é".encode(),
        "image": {"bytes": b"\xff\xd8", "path": None},
        "none": None,
    }
    expected = {
        "number": 1,
        "nan": None,
        "price": 1.5,
        "count": 3,
        "day": "2026-01-02",
        "time": "2026-01-02T03:04:05",
        "length": 90.0,
        "bytes": "é",
        "image": {"bytes": "/9g="},
        "none": None,
    }
    assert values(read(to_parquet([row]), "a.parquet")) == [expected]
    assert values(read(to_arrow([row]), "a.arrow")) == [expected]


def test_null_fields_of_structs_are_left_out(read):
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
    ]
    assert values(read(to_parquet(rows), "a.parquet")) == [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
    ]


def test_maps_and_repeated_texts(read):
    table = pa.table(
        {
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "text": pa.array(["x", "x"]).dictionary_encode(),
        }
    )
    assert values(read(to_parquet(None, table), "a.parquet")) == [
        {"map": {"a": 1}, "text": "x"},
        {"map": None, "text": "x"},
    ]


def test_classes_of_datasets_have_their_names(read):
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}, "text": {"_type": "V"}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, None]})
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    assert values(read(to_parquet(None, table), "a.parquet")) == [
        {"text": "a", "label": "good"},
        {"text": "b", "label": "bad"},
        {"text": "c", "label": None},
    ]


def test_rows_are_counted_over_batches_and_row_groups(read, monkeypatch):
    monkeypatch.setattr(tables, "BATCH_ROWS", 7)
    rows = [{"a": n} for n in range(50)]
    expected = list(enumerate(rows, 1))
    assert numbered(read(to_parquet(rows, row_group_size=20), "a.parquet")) == expected
    assert numbered(read(to_arrow(rows), "a.arrow")) == expected
    assert numbered(read(to_arrow_file(rows), "a.feather")) == expected


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow", "data.feather"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_table_that_is_cut_short_is_an_error(read, name, part):
    content = WRITERS[name]([{"text": f"{n} {'x' * 50}"} for n in range(500)])
    with pytest.raises(UserError, match="damaged after row .* fetch the file again"):
        read(content[: int(len(content) * part)], name)


# ZIP archives


def to_zip(members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def test_members_of_a_zip_archive(read):
    members = {
        "b/test.parquet": to_parquet(ROWS),
        "a.csv": to_csv(ROWS),
        "README.md": "# Data",
        "__MACOSX/._a.csv": "x",
        "c.jsonl.gz": gzip.compress(to_jsonl(ROWS)),
    }
    assert read(to_zip(members), "a.zip") == [
        (f"a.zip/{name}", number, row)
        for name in ("a.csv", "b/test.parquet", "c.jsonl.gz")
        for number, row in enumerate(ROWS, 1)
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.jsonl.zip", "a.jsonl"])
def test_a_zip_archive_under_any_name(read, name):
    assert values(read(to_zip({"a.jsonl": to_jsonl(ROWS)}), name)) == ROWS


def test_a_workbook_is_named(read):
    with pytest.raises(UserError, match="a.xlsx: a workbook"):
        read(to_zip({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "a.xlsx")


def test_a_damaged_zip_archive_is_named(read):
    content = to_zip({"a.jsonl": to_jsonl(ROWS * 100)})
    with pytest.raises(UserError, match="a.zip: a damaged ZIP archive"):
        read(content[:-30], "a.zip")
    broken = content[:60] + bytes(20) + content[80:]
    with pytest.raises(UserError, match="a.zip/a.jsonl: damaged after row"):
        read(broken, "a.zip")


@pytest.mark.parametrize("pack", [".bz2", ".xz"])
def test_packed_files_that_are_cut_short_are_errors(read, pack):
    packed = PACKERS[pack](to_jsonl([{"text": str(n)} for n in range(5000)]))
    with pytest.raises(UserError, match="damaged after row"):
        read(packed[: len(packed) // 2])


# Properties: whatever the rows hold, they come back the same, with their numbers


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
    rows = [{"question": a or None, "answer": b or None} for a, b in records]
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


def test_a_temporary_copy_serves_packed_tables(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abc"))
    with open(path, "rb", buffering=0) as file, unpack.seekable(unpack.unpack(file)) as copy:
        assert copy.seek(1) == 1 and copy.read() == b"bc"
