"""Tools, calls and responses are read from three shapes into one form, or refused by name."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function_cases import ACTIVATION, objects, values
from function_rows import (
    LLAMA_FACTORY,
    MOBILE_ACTIONS,
    OPENAI,
    TOOL,
    TURNS,
    assert_refused,
    changed,
    checked,
    conversation,
    function,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_rows import plain
from raw_formats import to_sharegpt


@pytest.mark.parametrize("row", [OPENAI, LLAMA_FACTORY])
def test_one_form_of_two_shapes(row):
    found = conversation(row)
    assert found["conversations"] == TURNS
    assert found["tools"] == [TOOL]


def as_text(row):
    """The row with every tool and call as JSON text, one by one."""
    row["tools"] = [json.dumps(tool) for tool in row["tools"]]
    row["messages"][1]["tool_calls"] = [json.dumps(row["messages"][1]["tool_calls"][0])]


def as_inner_text(row):
    row["tools"][0]["function"] = json.dumps(row["tools"][0]["function"])
    call = row["messages"][1]["tool_calls"][0]
    call["function"] = json.dumps(call["function"])


def as_bare(row):
    row["tools"] = [TOOL | {"function": None}]
    row["messages"][1]["tool_calls"] = [function(row) | {"function": None, "id": "c1"}]


@pytest.mark.parametrize("change", [as_text, as_inner_text, as_bare])
def test_tools_and_calls_as_json_text_one_by_one_or_without_their_wrapping(change):
    assert conversation(changed(change))["id"] == conversation(OPENAI)["id"]


def test_mobile_actions_names_the_split_and_ends_with_a_call():
    found = conversation(MOBILE_ACTIONS)
    assert found["split"] == "test"
    assert found["system"] == f"Day of week is Friday\n{ACTIVATION}"
    assert found["conversations"] == TURNS[:2]
    assert found["tools"] == [TOOL]


@pytest.mark.parametrize("content, response", [
    ('{"ok": true}', {"ok": True}),
    ({"level": 2.0, "x": [0.5]}, {"level": 2, "x": [0.5]}),
    ("done", {"result": "done"}),
    ("12.0", {"result": 12}),
    ("1.10", {"result": "1.10"}),  # a version
    ("491701234567890123456", {"result": "491701234567890123456"}),
    ("[" * 300 + "]" * 300, {"result": "[" * 300 + "]" * 300}),
    ('{"a": 1, "a": 2}', {"result": '{"a": 1, "a": 2}'}),
    (r'{"a\u0022": "\"", "b": "\u0022"}', {'a"': '"', "b": '"'}),
    ('{"name": "Bob", "response": "hi"}', {"name": "Bob", "response": "hi"}),
    (None, {"result": None}),  # of a function that returns nothing
    ([{"type": "text", "text": '{"a": 1}', "image_url": None}], {"a": 1}),
    ("[1, 2]", {"result": [1, 2]}),
    ([{"type": "text", "text": "done"}], {"result": "done"}),
    ([{"name": "set_light", "response": {"ok": None}}], {"ok": None}),
    (12.0, {"result": 12}), (0.5, {"result": 0.5}), (False, {"result": False}),
    # Data whose items have a type, too, and text parts with more keys.
    ([{"type": "image", "name": "a.png"}], {"result": [{"type": "image", "name": "a.png"}]}),
    ([{"type": "file", "path": "/a"}], {"result": [{"type": "file", "path": "/a"}]}),
    ({"type": "document", "source": "kb/faq.md", "content": "9-5"},
     {"type": "document", "source": "kb/faq.md", "content": "9-5"}),
    ([{"type": "image", "url": "https://a.b/c", "title": "cat"}],
     {"result": [{"type": "image", "url": "https://a.b/c", "title": "cat"}]}),
    ({"type": "video", "path": "/m.mp4", "length": 3},
     {"type": "video", "path": "/m.mp4", "length": 3}),
    ({"type": "file", "file": "a.txt"}, {"type": "file", "file": "a.txt"}),
    (1e-7, {"result": 1e-7}), (0.00001, {"result": 0.00001}),
    ([{"type": "error", "text": "no"}], {"result": [{"type": "error", "text": "no"}]}),
    ([{"type": "text", "text": "done", "annotations": []}], {"result": "done"}),
    ([{"type": "text", "text": "1", "cache_control": {"type": "ephemeral"}}], {"result": 1}),
])  # fmt: skip
def test_a_result_is_an_object(content, response):
    row = changed(lambda row: row["messages"][2].update(content=content))
    assert conversation(row)["conversations"][2]["value"][0]["response"] == response


REFUSED = [
    (lambda row: function(row).update(arguments="{"), "tool_call", "not valid JSON"),
    (lambda row: function(row).update(arguments="[]"), "tool_call", "no object"),
    (lambda row: function(row).update(arguments='{"room": "a", "room": "b"}'), "duplicate_key", ""),
    (lambda row: function(row).update(arguments={"room": "a", "x": 1e300}), "tool_call", "64 bits"),
    (lambda row: function(row).update(arguments="{}", input={"room": "x"}), "tool_call", "`input`"),
    (
        lambda row: function(row).update(arguments='{"room": ' + "[" * 300 + "]" * 300 + "}"),
        "tool_call",
        "levels of nesting",
    ),
    (
        lambda row: row["tools"][0]["function"].update(input_schema={"type": "object"}),
        "tool",
        "input_schema",
    ),
    (
        lambda row: row["tools"][0]["function"].update(parameters={"room": {"type": "str"}}),
        "tool",
        "under `properties`",
    ),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(change, reason, message):
    assert_refused(change, reason, message)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(objects(values), values)
def test_any_arguments_and_results_come_back(arguments, result):
    tool = {"name": "f", "description": ""}
    call = {"function": {"name": "f", "arguments": json.dumps(arguments)}}
    row = {"tools": [tool], "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": json.dumps(result)},
        {"role": "assistant", "content": "y"},
    ]}  # fmt: skip
    found = conversation(row)
    assert conversation(to_sharegpt(found)) == found
    (made,) = found["conversations"][1]["value"]
    kept = {key: value for key, value in plain(arguments, "").items() if value is not None}
    assert made["arguments"].keys() == kept.keys()
    expected = plain(result, "")
    response = found["conversations"][2]["value"][0]["response"]
    assert response == (expected if isinstance(expected, dict) else {"result": expected})


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    st.recursive(
        st.none() | st.text(max_size=3) | st.integers(0, 9),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["name", "arguments", "function", "type"]), x)
        ),
    )
)
def test_nonsense_is_a_rejection_and_nothing_else(nonsense):
    for change in (
        lambda row: row.update(tools=nonsense),
        lambda row: row["messages"][1].update(tool_calls=nonsense),
        lambda row: row["messages"][2].update(content=nonsense),
        lambda row: function(row).update(arguments=nonsense),
        lambda row: row["tools"][0]["function"].update(parameters=nonsense),
    ):
        try:
            checked(changed(change))
        except Rejection:
            pass
