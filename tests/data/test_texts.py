"""Rows under a key of one object, and one object that is itself a row."""

import io
import json

import pytest

from gemma_finetune.data.texts import read_members
from gemma_finetune.utils.errors import UserError
from row_files import ROWS, TURNS, numbered, to_jsonl, values


@pytest.mark.parametrize("key", ["data", "rows", "examples", "my chats", "é\\u00e9"])
@pytest.mark.parametrize("before", ["", '"version": "1.0", "meta": {"a": [{"b": 1}]}, '])
@pytest.mark.parametrize("after", ["", ', "count": [1, 2], "ok": true'])
def test_rows_under_one_key(read_content, key, before, after):
    content = f'{{{before}"{key}": {json.dumps(ROWS)}{after}}}'
    assert read_content(content, "a.json") == [("a.json", 1, ROWS[0]), ("a.json", 2, ROWS[1])]


def test_rows_under_one_key_over_several_lines(read_content):
    assert values(read_content(json.dumps({"data": ROWS}, indent=2), "a.json")) == ROWS


@pytest.mark.parametrize("key", ["data", "conversations", "messages"])
def test_conversations_under_one_key(read_content, key):
    row = {"messages": TURNS}
    assert values(read_content(json.dumps({key: [row, row]}), "a.json")) == [row, row]
    assert values(read_content(json.dumps({key: [TURNS, TURNS]}), "a.json")) == [row, row]


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
def test_one_object_that_is_a_row(read_content, row, indent):
    assert values(read_content(json.dumps(row, indent=indent), "a.json")) == [row]


def test_json_lines_with_arrays_of_objects_are_rows(read_content):
    row = {"data": [{"a": 1}, {"b": 2}]}
    assert numbered(read_content(to_jsonl([row, row]))) == [(1, row), (2, row)]


def test_a_large_object_is_streamed(read_content, monkeypatch):
    monkeypatch.setattr("gemma_finetune.data.readers.BUFFER", 64)
    monkeypatch.setattr("gemma_finetune.data.texts.BUFFER", 64)
    rows = [{"a": str(n), "b": [n, {"c": "]}"}]} for n in range(200)]
    assert values(read_content(json.dumps({"v": 1, "rows": rows}), "a.json")) == rows
    row = {"messages": [{"role": "user", "content": "x" * 500}]}
    assert values(read_content(to_jsonl([row, row]))) == [row, row]


def test_features_of_a_table_are_not_rows(read_content):
    content = '{"features": [{"name": "a"}], "rows": [{"a": 1}], "columns": ["a"]}'
    assert values(read_content(content, "a.json")) == [{"a": 1}]


@pytest.mark.parametrize("before", [[], [None, "x"]])
def test_elements_that_are_no_objects_are_rows_of_their_array(read_content, before):
    rows = [*before, ROWS[0], "x", None, 5, ROWS[1], True]
    content = json.dumps({"ids": [1, 2], "test": rows, "train": ROWS})
    found = read_content(content, "a.json")
    expected = [("a.json#test", number, row) for number, row in enumerate(rows, 1)]
    assert found == [*expected, ("a.json#train", 1, ROWS[0]), ("a.json#train", 2, ROWS[1])]


def test_a_row_is_read_once_it_is_there(monkeypatch):
    """Only elements before the first row are held."""
    monkeypatch.setattr("gemma_finetune.data.texts.BUFFER", 64)
    content = b'{"rows": [null, {"a": 1}, ' + b'{"a": 2}, ' * 1000
    stream = io.BufferedReader(io.BytesIO(content))
    assert next(read_members(stream)) == ("rows", 1, b"null")
    assert stream.tell() <= 64


@pytest.mark.parametrize("content", ['{"data": [{"a": 1}, {"b"', '{"data": [{"a": 1}]'])
def test_an_object_that_is_cut_short_is_an_error(read_content, content):
    with pytest.raises(UserError, match="cut short: it does not end after row 1"):
        read_content(content, "a.json")
