"""Rows of CSV and TSV: their types, their numbers, and damage named by its record."""

import csv
import io
import json

import pytest

from gemma_finetune.data.readers import read_rows
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_json import parse_row
from gemma_finetune.utils.errors import UserError
from row_files import TURNS, numbered, to_csv, values


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
