"""Rows of CSV, Parquet and Arrow: their types, their numbers, and damage named by its record."""

import csv
import datetime
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gemma_finetune.data import tables
from gemma_finetune.data.readers import read_rows
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_json import parse_row
from gemma_finetune.data.validation import check
from gemma_finetune.utils.errors import UserError
from row_files import TURNS, WRITERS, numbered, to_arrow, to_arrow_file, to_csv, to_parquet, values

# CSV


def test_csv_counts_records_not_lines(read_content):
    content = 'text,label\n"a\nb\n\nc",1\r\n\n"d ""e""",\n007,NA\n'
    assert numbered(read_content(content, "a.csv")) == [
        (1, {"text": "a\nb\n\nc", "label": "1"}),
        (2, {"text": 'd "e"', "label": None}),
        (3, {"text": "007", "label": "NA"}),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_other_programs(read_content, separator, mark, end):
    content = f'{mark}"prompt"{separator}completion{end}a{separator}"b{end}c"{end}'
    assert values(read_content(content, "a.csv")) == [{"prompt": "a", "completion": f"b{end}c"}]


def test_excel_names_its_separator(read_content):
    assert values(read_content("sep=;\r\na;b,c\r\n1;2\r\n", "a.csv")) == [{"a": "1", "b,c": "2"}]


def test_one_column_and_an_index_column(read_content):
    assert values(read_content("text\nHi\n", "a.csv")) == [{"text": "Hi"}]
    assert values(read_content(",text\n0,Hi\n", "a.csv")) == [{"column 1": "0", "text": "Hi"}]


def test_lists_in_cells_are_json(read_content):
    content = to_csv(
        [{"messages": json.dumps(TURNS), "text": "[1]"}, {"messages": "[", "text": "x"}]
    )
    assert values(read_content(content, "a.csv")) == [
        {"messages": TURNS, "text": "[1]"},
        {"messages": "[", "text": "x"},
    ]


def test_long_cells(read_content):
    assert (
        len(values(read_content(f'text,label\n"{"x" * 1_000_000}",1\n', "a.csv"))[0]["text"])
        == 1_000_000
    )


@pytest.mark.parametrize(
    "content, message",
    [
        ('a,b\n1,2\n"x" y,2\n', "record 2, which ends on line 3: .* quotes"),
        ('a,b\n1,2\n"x,2\n3,4\n', "record 2, which ends on line 4: .* quotes"),
        ("a,b,a\n1,2,3\n", "has the column 'a' twice"),
        ('a, "b"\n1,2\n', "the header has a blank between a separator and a quote"),
        ('a\tb\n"x"y\t1\nz\n', "record 1, .* plain characters here: .*JSON Lines"),
        ('a\tb\nx\ny\t"p\nq\tr"\n', "record 2, .* a tab and a line break, so quotes seem"),
    ],
)
def test_damaged_csv_is_named_by_record(read_content, content, message):
    with pytest.raises(UserError, match=f"a.csv: {message}"):
        read_content(content, "a.csv")


def test_code_with_tabs_in_a_cell_of_tsv_is_text(read_content):
    written = io.StringIO()
    code = 'func main() {\n\tfmt.Println("x")\n}'
    csv.writer(written, dialect="excel-tab").writerows([["q", "a"], ["Write Go", code]])
    assert values(read_content(written.getvalue(), "a.tsv")) == [{"q": "Write Go", "a": code}]


def test_a_line_before_the_header_is_named(read_content):
    _, (_, _, record) = read_content("# Export\nprompt,completion\nHi,Hello\n", "a.csv")
    with pytest.raises(Rejection, match="remove the lines before the header"):
        parse_row(json.dumps(record).encode(), "auto")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("1,2,3", "has 3 cells, but the header has 2; put quotes around cells that hold ','"),
        ("4", "has 1 cells, but the header has 2"),
        ('"x, a", "y, b"', "has a blank between a separator and a quote"),
        ('"x", "y"', "has a blank between a separator and a quote"),
    ],
)
def test_a_record_of_another_shape_is_rejected_by_number(tmp_path, record, message):
    path = tmp_path / "a.csv"
    path.write_text(f'prompt,completion\n"q\n1",a1\n{record}\nq3," a ""b"""\n')
    (_, first), (number, second), (_, third) = read_rows(path)
    assert number == 2
    with pytest.raises(Rejection, match=message) as rejection:
        parse_row(second, "auto")
    assert rejection.value.reason == "misshapen"
    assert list(parse_row(first, "auto").values()) == ["q\n1", "a1"]
    assert list(parse_row(third, "auto").values()) == ["q3", ' a "b"']


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['"To be\tSein', 'that is"\tdas ist'], [('"To be', "Sein"), ('that is"', "das ist")]),
        (['"quoted\tstart', "plain\tend"], [('"quoted', "start"), ("plain", "end")]),
        (['"Hi" she said\tja', '"No"\tnein'], [('"Hi" she said', "ja"), ('"No"', "nein")]),
        (['"No"\tnein', "x\ty"], [("No", "nein"), ("x", "y")]),  # as csv writes them
        (['"a\tb"\tnein'], [("a\tb", "nein")]),
        (['"a""b\nc"\tnein', "x\ty"], [('a"b\nc', "nein"), ("x", "y")]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_quotes_in_tsv_are_plain_where_each_line_has_the_cells_of_the_header(
    read_content, lines, expected, end, name
):
    content = end.join(["en\tde", *lines, "", ""])
    rows = values(read_content(content, name))
    assert [(row["en"], row["de"]) for row in rows] == expected


def test_empty_records_of_excel_are_blank_lines(read_content):
    content = "a;b;\n1;2;\n;;\n ;;\n;;;;\n3;;\n"
    first, second = {"a": "1", "b": "2", "column 3": None}, {"a": "3", "b": None, "column 3": None}
    assert numbered(read_content(content, "a.csv")) == [(1, first), (2, second)]


@pytest.mark.parametrize("header", ["prompt,completion", '"prompt","completion"', ",prompt"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_header_of_a_joined_file_is_rejected_by_name(tmp_path, header, mark):
    path = tmp_path / "a.csv"
    path.write_text(f"{mark}{header}\nq1,a1\n{mark}{header}\nq2,a2\n", encoding="utf-8")
    (_, first), (number, second), (_, third) = read_rows(path)
    assert number == 2
    with pytest.raises(Rejection, match="repeats the header"):
        parse_row(second, "auto")
    assert list(parse_row(first, "auto").values()) == ["q1", "a1"]
    assert list(parse_row(third, "auto").values()) == ["q2", "a2"]


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n", "\ufeff"])
def test_csv_without_records(read_content, content):
    assert read_content(content, "a.csv") == []


# Parquet and Arrow


def test_types_of_arrow_become_what_json_has(read_content):
    row = {
        "number": 1,
        "nan": float("nan"),
        "price": Decimal("1.50"),
        "count": Decimal("3"),
        "whole": Decimal("5.00"),
        "call": {"arguments": {"price": Decimal("1.50")}},
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
        "price": "1.50",
        "count": 3,
        "whole": "5.00",
        "call": {"arguments": {"price": 1.5}},
        "day": "2026-01-02",
        "time": "2026-01-02T03:04:05",
        "length": 90.0,
        "bytes": "é",
        "image": {"bytes": {"bytes that are not UTF-8": "/9g="}},
        "none": None,
    }
    assert values(read_content(to_parquet([row]), "a.parquet")) == [expected]
    assert values(read_content(to_arrow([row]), "a.arrow")) == [expected]


def test_null_fields_of_structs_are_left_out(read_content):
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
    ]
    assert values(read_content(to_parquet(rows), "a.parquet")) == [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
    ]


def test_null_arguments_of_calls_are_kept(read_content):
    """A function may require a null; those that Arrow filled in are dropped by its schema."""
    calls = [{"arguments": {"a": None, "b": [{"c": None, "d": 1}]}}, {"arguments": {"e": 2}}]
    rows = [{"messages": [{"tool_calls": [{"function": call}]}]} for call in calls]
    first, second = values(read_content(to_parquet(rows), "a.parquet"))
    assert first["messages"][0]["tool_calls"][0]["function"] == {
        "arguments": {"a": None, "b": [{"c": None, "d": 1}], "e": None}
    }
    assert second["messages"][0]["tool_calls"][0]["function"]["arguments"]["e"] == 2


def test_maps_and_repeated_texts(read_content):
    table = pa.table(
        {
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "text": pa.array(["x", "x"]).dictionary_encode(),
        }
    )
    assert values(read_content(to_parquet(None, table), "a.parquet")) == [
        {"map": {"a": 1}, "text": "x"},
        {"map": None, "text": "x"},
    ]


def test_classes_of_datasets_have_their_names(read_content):
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}, "text": {"_type": "V"}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, None]})
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    assert values(read_content(to_parquet(None, table), "a.parquet")) == [
        {"text": "a", "label": "good"},
        {"text": "b", "label": "bad"},
        {"text": "c", "label": None},
    ]


def test_rows_are_counted_over_batches_and_row_groups(read_content, monkeypatch):
    monkeypatch.setattr(tables, "BATCH_ROWS", 7)
    rows = [{"a": n} for n in range(50)]
    expected = list(enumerate(rows, 1))
    assert numbered(read_content(to_parquet(rows, row_group_size=20), "a.parquet")) == expected
    assert numbered(read_content(to_arrow(rows), "a.arrow")) == expected
    assert numbered(read_content(to_arrow_file(rows), "a.feather")) == expected


def test_two_columns_of_one_name_are_named(read_content):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["prompt", "prompt"])
    with pytest.raises(UserError, match="a.parquet: has the column 'prompt' twice"):
        read_content(to_parquet(None, table), "a.parquet")


def test_bytes_that_are_not_text_are_no_answer(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(to_parquet([{"prompt": b"q", "completion": b"a\xff"}]))
    ((_, row),) = read_rows(path)
    with pytest.raises(Rejection, match="^completion: .* found {'bytes that are not UTF-8': "):
        check(row, "auto", ())


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow", "data.feather"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_table_that_is_cut_short_is_an_error(read_content, name, part):
    content = WRITERS[name]([{"text": f"{n} {'x' * 50}"} for n in range(500)])
    with pytest.raises(UserError, match="damaged after row .* fetch the file again"):
        read_content(content[: int(len(content) * part)], name)


def test_a_value_that_python_cannot_hold_is_named_by_row_and_column(read_content):
    years = pa.array([0, 600_000_000_000], pa.timestamp("s"))
    content = to_parquet_table(pa.table({"text": ["a", "b"], "when": years}))
    with pytest.raises(UserError, match="a.parquet: row 2: the column 'when' holds .* as text"):
        read_content(content, "a.parquet")
    maps = pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    content = to_parquet_table(pa.table({"text": ["a"], "map": maps}))
    with pytest.raises(UserError, match="a.parquet: row 1: the column 'map' holds .* as text"):
        read_content(content, "a.parquet")


def to_parquet_table(table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
