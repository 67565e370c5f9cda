"""Rows from every kind of file come back with their numbers, whatever the file is packed in."""

import bz2
import datetime
import gzip
import io
import json
import zipfile
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from gemma_finetune.data import tables, unpack
from gemma_finetune.data.readers import read_file
from gemma_finetune.utils.cli import UserError
from row_files import PACKERS, WRITERS, to_arrow, to_arrow_file, to_csv, to_jsonl, to_parquet

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


def test_null_arguments_of_calls_are_kept(read):
    """A function may require a null; those that Arrow filled in are dropped by its schema."""
    calls = [{"arguments": {"a": None, "b": [{"c": None, "d": 1}]}}, {"arguments": {"e": 2}}]
    rows = [{"messages": [{"tool_calls": [{"function": call}]}]} for call in calls]
    first, second = values(read(to_parquet(rows), "a.parquet"))
    assert first["messages"][0]["tool_calls"][0]["function"] == {
        "arguments": {"a": None, "b": [{"c": None, "d": 1}], "e": None}
    }
    assert second["messages"][0]["tool_calls"][0]["function"]["arguments"]["e"] == 2


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


def test_a_temporary_copy_serves_packed_tables(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abc"))
    with open(path, "rb", buffering=0) as file, unpack.seekable(unpack.unpack(file)) as copy:
        assert copy.seek(1) == 1 and copy.read() == b"bc"
