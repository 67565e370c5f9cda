"""Rows from every kind of file come back with their numbers, whatever the file is packed in."""

import bz2
import gzip
import json

import pytest

from gemma_finetune.utils.errors import UserError
from row_files import PACKERS, ROWS, TURNS, WRITERS, numbered, to_jsonl, values


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_in_every_packing(read_content, name, pack):
    content = PACKERS[pack](WRITERS[name](ROWS))
    assert numbered(read_content(content, name + pack)) == [(1, ROWS[0]), (2, ROWS[1])]
    assert numbered(read_content(content, (name + pack).upper())) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize("name", ["data.json", "data.parquet", "data.arrow", "data.feather"])
def test_the_bytes_decide_where_the_name_lies(read_content, name):
    assert values(read_content(WRITERS[name](ROWS), "data.jsonl")) == ROWS
    assert values(read_content(bz2.compress(WRITERS[name](ROWS)), "data.jsonl")) == ROWS


def test_json_lines_may_be_named_csv_or_parquet(read_content):
    assert values(read_content(to_jsonl(ROWS), "data.csv")) == ROWS
    assert values(read_content(to_jsonl(ROWS), "data.parquet")) == ROWS


def test_packed_twice(read_content):
    assert (
        values(read_content(gzip.compress(gzip.compress(to_jsonl(ROWS))), "data.jsonl.gz")) == ROWS
    )


def test_rows_under_keys_that_name_splits(read_content):
    content = json.dumps({"train": ROWS, "test": ROWS[:1]}, indent=1)
    assert read_content(content, "a.json") == [
        ("a.json#train", 1, ROWS[0]),
        ("a.json#train", 2, ROWS[1]),
        ("a.json#test", 1, ROWS[0]),
    ]


def test_arrays_under_two_keys_are_refused(read_content):
    with pytest.raises(UserError, match="under two keys, 'a' and 'b'"):
        read_content('{"a": [{"x": 1}], "b": [{"y": 1}]}', "a.json")


@pytest.mark.parametrize("turns", [TURNS, [{"from": "human", "value": "Hi"}]])
def test_bare_lists_of_messages(read_content, turns):
    row = {"messages": turns}
    assert numbered(read_content(to_jsonl([turns, turns]))) == [(1, row), (2, row)]
    assert numbered(read_content(to_jsonl([turns]))) == [(1, row)]
    assert numbered(read_content(json.dumps([turns, turns], indent=2), "a.json")) == [
        (1, row),
        (2, row),
    ]
    assert numbered(read_content(json.dumps(turns, indent=2), "a.json")) == [(1, row)]


def test_other_lists_stay_lists(read_content):
    assert values(read_content('{"a": 1}\n["a", "b"]\n[]\n[{"a": 1}]')) == [
        {"a": 1},
        ["a", "b"],
        [],
        [{"a": 1}],
    ]
