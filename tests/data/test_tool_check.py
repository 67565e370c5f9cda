"""Calls fit the declared tools, and the conversation goes on only after their responses."""

import json

import pytest

from function_rows import USER, assert_refused, changed, checked, conversation, function
from gemma_finetune.data.rejection import Rejection

CALLS_AS_TEXT = [
    "<tool_call>{}</tool_call>", "<|tool_call|>[]", "<function_calls>", "<function=f>{}",
    "[TOOL_CALLS] []", "<|python_tag|>f()", "```tool_code\nf()\n```",
    "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "Sure.<tool_call>\n{}", "Sure. <tool_call>f\n<arg_key>room", "Sure. [TOOL_CALLS]f{}",
    "Sure. <|python_tag|>light.set(1)", "Sure. <function=f>{}", "Sure.\n<tool_call>",
    json.dumps({"name": "set_light", "arguments": {}}),
    json.dumps([{"name": "set_light", "parameters": {}}]),
]  # fmt: skip
REFUSED = [
    (lambda row: row["messages"].pop(2), "no_response", "turn 3 comes before"),
    (lambda row: row["messages"].insert(2, {"role": "user", "content": "?"}), "no_response", ""),
    (lambda row: row["messages"].insert(3, {"role": "user", "content": "x"}), "no_answer", ""),
    (lambda row: function(row).update(name="play"), "tool_call", "'play', which is not declared"),
    (lambda row: row.pop("tools"), "tool_call", "`tools` has none"),
    (lambda row: function(row).update(arguments="{}"), "tool_call", "'room' is a required"),
    (lambda row: function(row).update(arguments={"room": 3}), "tool_call", "at room: 3 is not"),
    (lambda row: row["tools"].append(row["tools"][0]), "tool", "`tools` declares set_light twice"),
    (lambda row: row["tools"][0]["function"]["parameters"].update(type="dict"), "tool", "Schema"),
    (
        lambda row: row["tools"][0]["function"]["parameters"].update({"$ref": "http://x.y/z"}),
        "tool",
        "cannot be followed",
    ),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_what_does_not_fit_is_refused_by_name(change, reason, message):
    assert_refused(change, reason, message)


def test_nulls_that_arrow_filled_in_are_dropped():
    arguments = {"room": "hall", "level": None, "other": None}
    found = conversation(changed(lambda row: function(row).update(arguments=arguments)))
    assert found["conversations"][1]["value"][0]["arguments"] == {"room": "hall"}


@pytest.mark.parametrize("text", CALLS_AS_TEXT)
def test_a_call_as_text_is_refused_where_there_are_functions(text):
    row = changed(lambda row: row["messages"][3].update(content=f"\n{text}"))
    with pytest.raises(Rejection, match="^turn 4 holds a call as text") as rejection:
        checked(row)
    assert rejection.value.reason == "tool_call"
    assert checked({"messages": [USER, {"role": "assistant", "content": text}]})


@pytest.mark.parametrize("text", [
    '{"name": "play", "arguments": {}}', '{"name": "set_light", "room": 1}', "[1]", "{x}",
    "Use <b>tool_call</b>, or function_call().",
    "Read about <tool_call> tags (in the manual).", "A line that holds `<tool_call>` is none.",
    "Between [TOOL_CALLS] and the end.", "Hermes ends it with <tool_call>",
    "std::vector<function=…> is none",
])  # fmt: skip
def test_an_answer_that_only_looks_like_a_call_is_kept(text):
    row = changed(lambda row: row["messages"][3].update(content=text))
    assert checked(row).turns[-1] == ("gpt", text)
