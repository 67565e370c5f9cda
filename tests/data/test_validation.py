"""Whatever is wrong with a row, it ends as a rejection with a reason, never as a crash."""

import json
import subprocess
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.converter import content_id
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.validation import check, check_rows, convert_lines
from imports import ROOT

GOOD = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


def reason(data, format="auto"):
    with pytest.raises(Rejection) as rejection:
        check(data, format, REPAIRS)
    return rejection.value.reason, rejection.value.message


def row(**changes):
    return json.dumps(GOOD | changes).encode()


def turns(value, key="value"):
    return row(conversations=[{"from": "human", key: "Hi"}, {"from": "gpt", key: value}])


def test_good_row():
    checked = check(row(split="test", topic="greetings"), "auto", REPAIRS)
    assert checked.format == "sharegpt"
    assert checked.turns == [("human", "Hi"), ("gpt", "Hello")]
    assert checked.split == "test"
    assert checked.repairs == []
    assert checked.ignored_keys == {"topic"}


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"hello", "invalid_json"),
        (b'{"conversations": [', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": Infinity}', "invalid_json"),
        (b'{"a": "\x00"}', "invalid_json"),
        (b'{"a": "\xff\xfe"}', "invalid_json"),
        (rb'{"a": "\ud800"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 400 + b"1" + b"}" * 400, "invalid_json"),
        (b'{"text": "a", "text": "b"}', "duplicate_key"),
        (
            b'{"text": "\\u0022\\u0022\\u0022\\u0022", "split": "test", "split": "train"}',
            "duplicate_key",
        ),
        (b'{"conversations": [{"from": "human", "from": "gpt", "value": "x"}]}', "duplicate_key"),
        (b"[]", "not_an_object"),
        (b"5", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"question": "x"}', "unknown_format"),
        (b'{"messages": null}', "no_turns"),
        (b'[{"instruction": "x", "output": "y"}]', "not_an_object"),
        (b"{}", "unknown_format"),
        (b'{"conversations": {}}', "schema"),
        (b'{"conversations": [1]}', "schema"),
        (b'{"conversations": [{"value": "x"}]}', "schema"),
        (b'{"conversations": []}', "no_turns"),
        (b'{"instruction": "x"}', "schema"),
        (b'{"instruction": "x", "output": "y", "history": [["a"]]}', "schema"),
        (row(split="holdout"), "schema"),
        (row(system=5), "schema"),
        (turns(5), "schema"),
        (turns(None), "empty_turn"),
        (turns(""), "empty_turn"),
        (turns(" \u3000"), "empty_turn"),
        (turns("x\0y"), "control_character"),
        (turns("x<end_of_turn>"), "control_token"),
        (turns("x", key="text"), "empty_turn"),
        (b'"just a string"', "schema"),
    ],
)
def test_bad_rows_are_rejected_by_reason(data, expected):
    assert reason(data)[0] == expected


def test_schema_message_names_the_key_and_what_was_found():
    _, message = reason(turns(5))
    assert message == "conversations.1.value: input should be a valid string; found 5"
    _, message = reason(row(split="holdout"))
    assert message == (
        "split: input should be 'train', 'validation' or 'test'; found 'holdout'; write one of "
        "these, or give the key another name if it says something else"
    )
    _, message = reason(b'{"instruction": "x"}')
    assert message == (
        "output: field required; the row's keys are instruction: "
        "this looks like alpaca without its answer"
    )


def test_messages_stay_short_whatever_the_row_holds():
    long = "x" * 10_000
    for data in (
        turns(5, key=long),
        row(split=long),
        row(conversations=[{"from": long, "value": "x"}]),
        json.dumps({long: 1}).encode(),
        turns([{"type": long}]),
    ):
        assert len(reason(data)[1]) < 500


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_deep_row_is_rejected_whatever_a_library_made_of_the_recursion_limit(deep):
    """litert_converter raises it to 100,000; Python's own parser then overflows the stack."""
    code = (
        f"import sys; sys.path.append({str(ROOT / 'scripts')!r}); sys.setrecursionlimit(200_000)\n"
        "from gemma_finetune.data import row_json\n"
        "try: row_json.parse_row(sys.stdin.buffer.read(), 'auto')\n"
        "except row_json.Rejection as error: print(error.message)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=deep, capture_output=True, timeout=120)
    assert done.stdout == b"is nested more than 1,024 levels deep\n", done.stderr[-2000:]


def test_a_row_of_50_mb_is_rejected_unread():
    assert reason(b'{"text": "' + b"x" * 50_000_000 + b'"}')[0] == "too_long"


def test_large_rows_take_time_in_proportion():
    """When a step took quadratic time, these rows took minutes."""
    keys = ",".join(f'"k{n}":1' for n in range(100_000))
    assert reason(f'{{{keys},"k0":2}}'.encode())[0] == "duplicate_key"
    turns = [{"from": "human", "value": "x"}] * 100_000 + [{"from": "gpt", "value": "y"}]
    assert check(row(conversations=turns), "auto", REPAIRS).repairs == ["merge_turns"]


def test_stated_format_is_the_only_one_taken():
    assert check(row(), "sharegpt", REPAIRS).format == "sharegpt"
    assert reason(row(), "alpaca") == (
        "schema",
        "instruction: field required; the row's keys are conversations: "
        "this looks like sharegpt; see data.format and data.columns",
    )


def test_escaped_quotes_are_no_duplicate_key():
    data = turns('say "x"').replace(b'\\"x', b"\\u0022x")
    assert check(data, "auto", REPAIRS).turns[1] == ("gpt", 'say "x"')


def test_numbers_of_any_length_are_read_where_keys_are_checked():
    data = rb'{"instruction": "a", "output": "\u0022", "n": 12345678901234567890123}'
    assert check(data, "auto", REPAIRS).turns == [("human", "a"), ("gpt", '"')]


def parsed(lines):
    return [json.loads(line) for line in lines.splitlines()]


def test_every_row_is_counted_once_and_names_its_place():
    rows = [
        ("a.jsonl", 1, row()),
        ("a.jsonl", 2, b"oops"),
        ("a.jsonl", 4, turns("Hello ")),
        ("a.jsonl", 5, b'{"a": "<bos>"}'),
    ]
    outcome = check_rows(rows, "auto", REPAIRS)
    records = [(r["file"], r["line"], r["repairs"]) for r in parsed(outcome.records)]
    assert records == [("a.jsonl", 1, []), ("a.jsonl", 4, ["trim"])]
    rejected = [(r["file"], r["line"], r["reason"], r["starts"]) for r in parsed(outcome.rejected)]
    assert rejected == [
        ("a.jsonl", 2, "invalid_json", "oops"),
        ("a.jsonl", 5, "unknown_format", '{"a": "<bos>"}'),
    ]
    assert outcome.counts["rows"] == {
        "read": 4, "accepted": 2, "rejected": 2, "named_train": 0,
    }  # fmt: skip
    assert outcome.counts["repairs"] == {"trim": 1}
    assert outcome.counts["formats"] == {"sharegpt": 2}


def test_a_record_holds_the_repaired_turns():
    data = row(split="test", system="Be brief.", topic="greetings")
    outcome = check_rows([("a.jsonl", 3, data)], "auto", REPAIRS)
    assert parsed(outcome.records) == [
        {
            "file": "a.jsonl",
            "line": 3,
            "format": "sharegpt",
            "repairs": [],
            "split": "test",
            "turns": [["system", "Be brief."], ["human", "Hi"], ["gpt", "Hello"]],
        }
    ]


def test_the_name_of_a_file_is_the_split_of_its_rows():
    rows = [
        ("raw/test.jsonl", 1, row()),
        ("raw/test.jsonl", 2, row(split="test")),
        ("raw/test.jsonl", 3, row(split="train")),
        ("raw/a.jsonl", 1, row(split="dev")),
    ]
    outcome = check_rows(rows, "auto", REPAIRS, raw="raw")
    assert [record["split"] for record in parsed(outcome.records)] == ["test", "test", "validation"]
    (rejected,) = parsed(outcome.rejected)
    assert (rejected["line"], rejected["reason"]) == (3, "split_conflict")


def test_records_convert_to_canonical_conversations():
    rows = [("f", 7, turns("Hello ")), ("f", 8, row(split="test", system="Be brief."))]
    outcome = check_rows(rows, "auto", REPAIRS)
    first, second = parsed(convert_lines(outcome.records.splitlines()))
    assert first == {
        "id": content_id([("human", "Hi"), ("gpt", "Hello")]),
        "conversations": GOOD["conversations"],
        "source": {"file": "f", "line": 7, "format": "sharegpt"},
    }
    assert second["system"] == "Be brief." and second["split"] == "test"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
roles = st.sampled_from(["human", "gpt", "user", "assistant", "system", "tool"])
turn = st.fixed_dictionaries({}, optional={
    **dict.fromkeys(("from", "role"), roles | json_values),
    **dict.fromkeys(("value", "content"), st.text() | json_values),
    **dict.fromkeys(("tool_calls", "weight", "masked", "thinking"), json_values),
})  # fmt: skip
raw_rows = json_values | st.fixed_dictionaries({}, optional={
    **dict.fromkeys(("conversations", "messages"), st.lists(turn, max_size=5) | json_values),
    **dict.fromkeys(("instruction", "output", "input", "system", "text"), st.text() | json_values),
    **dict.fromkeys(("prompt", "answer", "context", "a", "b"), st.text() | json_values),
    **dict.fromkeys(("history", "split", "tools", "label", "weight", "cot"), json_values),
})  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    raw_rows,
    st.sampled_from(["auto", "sharegpt", "alpaca", "chatml", "columns"]),
    st.sampled_from([{}, {"user": "a", "assistant": "text"}, {"messages": "a", "split": "b"}]),
    st.sampled_from(["refuse", "drop", "keep"]),
)
def test_any_json_is_a_record_that_converts_or_a_rejection(value, format, columns, rule):
    rows = [("f", 1, json.dumps(value).encode())]
    outcome = check_rows(rows, format, REPAIRS, columns, rule)
    counts = outcome.counts["rows"]
    assert counts["accepted"] + counts["rejected"] == counts["read"] == 1
    converted = convert_lines(outcome.records.splitlines())
    assert converted.count(b"\n") == counts["accepted"]


@settings(derandomize=True, deadline=None)
@given(st.binary() | st.text().map(lambda t: orjson.dumps({"text": t})))
def test_any_bytes_are_a_record_or_a_rejection(data):
    assert check_rows([("f", 1, data)], "auto", REPAIRS).counts["rows"]["read"] == 1


@pytest.mark.parametrize("row", [
    {"row_idx": 0, "row": {"prompt": "Hi", "completion": "Hello"}, "truncated_cells": []},
    {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}},
    {"Conversations": {"from": ["human", "gpt"], "value": ["Hi", "Hello"], "id": [1, None]}},
])  # fmt: skip
def test_rows_in_the_shapes_of_hugging_face(row):
    assert check(json.dumps(row).encode(), "auto", ()).turns == [("human", "Hi"), ("gpt", "Hello")]


def test_a_row_that_the_viewer_cut_is_no_row():
    row = {"row_idx": 0, "row": {"prompt": "H", "completion": "H"}, "truncated_cells": ["prompt"]}
    assert "viewer of Hugging Face cut its cells" in reason(json.dumps(row).encode())[1]


@pytest.mark.parametrize("data, around", [
    (b'{"prompt": "caf\xe9", "completion": "b"}', r'{"prompt": "caf\xe9", "c'),
    (rb'{"prompt": "caf\udce9\ud83d\ude00"}', r'{"prompt": "caf\xe9\xf0\x9f\x98\x80"'),
])  # fmt: skip
def test_bytes_that_are_not_utf8_are_shown(data, around):
    assert (
        f"is not UTF-8: b'{around}'; convert the file with `iconv -f ENCODING -t UTF-8 OLD > NEW`"
        in reason(data)[1]
    )


def test_a_list_without_names_of_columns_has_advice():
    assert "a row must be an object; of a table, pandas" in reason(b'["q", "a"]')[1]


TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ROW = json.dumps({"prompt": "Hi", "completion": "Hello"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            json.dumps({"id1": TURNS, "id2": TURNS}),
            "its keys are id1, id2: each is a list of turns",
        ),
        ('{"a": {"q": "x"}, "b": {"q": "x", "n": 1}}', "each is an object; if these are"),
        (json.dumps({"conv": TURNS}), "its keys are conv: `conv` is a list of turns; name it"),
        (json.dumps(ROW), "a JSON string that holds the row, so it was encoded twice"),
        (json.dumps(json.dumps(TURNS)), "a JSON string that holds the row"),
        (f"{ROW},", "ends with a comma; in JSON Lines none stands between rows"),
        (f"{ROW} , ", "ends with a comma"),
        (f"{ROW}{ROW}", "holds more than one value; put each row on its own line"),
        (f"{ROW}, {ROW},", "holds more than one value; put each row on its own line"),
        (f"{ROW} x", "is not valid JSON: unexpected content"),
        (ROW[:-1], "is not valid JSON: "),
    ],
)
def test_a_message_says_what_the_row_is(data, message):
    with pytest.raises(Rejection, match=message):
        check(data.encode(), "auto", REPAIRS)
