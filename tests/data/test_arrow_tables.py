"""Parquet and Arrow files, as pyarrow and `datasets` write them."""

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from gemma_finetune.data import arrow_tables
from gemma_finetune.data.readers import read_rows
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check
from gemma_finetune.utils.errors import UserError
from row_files import WRITERS, numbered, to_arrow, to_arrow_file, to_parquet, values


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
    monkeypatch.setattr(arrow_tables, "BATCH_ROWS", 7)
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
    content = to_parquet(None, pa.table({"text": ["a", "b"], "when": years}))
    with pytest.raises(UserError, match="a.parquet: row 2: the column 'when' holds .* as text"):
        read_content(content, "a.parquet")
    maps = pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    content = to_parquet(None, pa.table({"text": ["a"], "map": maps}))
    with pytest.raises(UserError, match="a.parquet: row 1: the column 'map' holds .* as text"):
        read_content(content, "a.parquet")
