"""Rows with functions: read from three shapes, refused by name, and compared by calls and tools."""

import copy
import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function_cases import ACTIVATION, objects, values
from gemma_finetune.config import FUNCTION_PIECES, load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import (
    canonical,
    content_id,
    to_chatml,
    to_messages,
    to_sharegpt,
)
from gemma_finetune.data.dedup import features
from gemma_finetune.data.evidence import SharedText, evidence_of, evidence_similarity
from gemma_finetune.data.formatter import format_lines, split_conversation
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.tool_rows import plain
from gemma_finetune.data.validation import check, check_rows
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

SOURCE = {"file": "a.jsonl", "line": 3, "format": "chatml"}
TOOL = {
    "name": "set_light",
    "description": "Sets a light.",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "level": {"type": "number"}},
        "required": ["room"],
    },
}
CAPITALS = {
    "type": "OBJECT",
    "properties": {"room": {"type": "STRING"}, "level": {"type": "NUMBER", "enum": None}},
    "required": ["room"],
}
ARGUMENTS = {"room": "hall", "level": 1.0}
OPENAI = {
    "tools": [{"type": "function", "function": TOOL}],
    "messages": [
        {"role": "user", "content": "Hall light"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "set_light", "arguments": json.dumps(ARGUMENTS)},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"ok": true}'},
        {"role": "assistant", "content": "Done."},
    ],
}
LLAMA_FACTORY = {
    "tools": json.dumps([TOOL]),
    "conversations": [
        {"from": "human", "value": "Hall light"},
        {
            "from": "function_call",
            "value": json.dumps({"name": "set_light", "arguments": ARGUMENTS}),
        },
        {"from": "observation", "value": '{"ok": true}'},
        {"from": "gpt", "value": "Done."},
    ],
}
MOBILE_ACTIONS = {
    "metadata": "eval",
    "tools": [{"function": TOOL | {"parameters": CAPITALS}}],
    "messages": [
        {"role": "developer", "content": f"Day of week is Friday\n{ACTIVATION}\n"},
        {"role": "user", "content": "Hall light"},
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "set_light", "arguments": ARGUMENTS}}],
        },
    ],
}
CALLS_AS_TEXT = [
    "<tool_call>{}</tool_call>", "<|tool_call|>[]", "<function_calls>", "<function=f>{}",
    "[TOOL_CALLS] []", "<|python_tag|>f()", "```tool_code\nf()\n```",
    "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    json.dumps({"name": "set_light", "arguments": {}}),
    json.dumps([{"name": "set_light", "parameters": {}}]),
]  # fmt: skip
USER = {"role": "user", "content": "?"}
CALL = [{"name": "set_light", "arguments": {"room": "hall", "level": 1}}]
TURNS = [
    {"from": "human", "value": "Hall light"},
    {"from": "function_call", "value": CALL},
    {"from": "observation", "value": [{"name": "set_light", "response": {"ok": True}}]},
    {"from": "gpt", "value": "Done."},
]


def checked(row):
    return check(orjson.dumps(row), "auto", REPAIRS)


def conversation(row):
    found = checked(row)
    return canonical(found.turns, found.split, SOURCE, found.tools)


def changed(change, row=OPENAI):
    row = copy.deepcopy(row)
    change(row)
    return row


def function(row):
    return row["messages"][1]["tool_calls"][0]["function"]


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


@pytest.mark.parametrize("row", [OPENAI, LLAMA_FACTORY, MOBILE_ACTIONS])
def test_the_canonical_form_is_read_again(row):
    found = conversation(row)
    assert conversation(to_sharegpt(found))["id"] == found["id"]
    assert conversation(to_chatml(found))["id"] == found["id"]


def test_text_and_calls_of_one_message_stay_one_message():
    row = changed(lambda row: row["messages"][1].update(content="Wait."))
    found = conversation(row)
    assert [turn["from"] for turn in found["conversations"]] == [
        "human", "gpt", "function_call", "observation", "gpt",
    ]  # fmt: skip
    messages = to_messages(found)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] == "Wait." and len(messages[1]["tool_calls"]) == 1


def test_calls_that_are_not_trained_on_stay_so():
    found = conversation(changed(lambda row: row["messages"][1].update(weight=0)))
    assert found["conversations"][1]["train"] is False
    assert to_messages(found)[1]["train"] is False
    assert conversation(to_sharegpt(found))["id"] == found["id"]


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
    ([{"type": "error", "text": "no"}], {"result": [{"type": "error", "text": "no"}]}),
    ([{"type": "text", "text": "done", "annotations": []}], {"result": "done"}),
    ([{"type": "text", "text": "1", "cache_control": {"type": "ephemeral"}}], {"result": 1}),
])  # fmt: skip
def test_a_result_is_an_object(content, response):
    row = changed(lambda row: row["messages"][2].update(content=content))
    assert conversation(row)["conversations"][2]["value"][0]["response"] == response


def test_reasoning_before_a_call_leaves_the_call():
    row = changed(lambda row: row["messages"][1].update(content="<think>Hm</think>"))
    found = check(orjson.dumps(row), "auto", REPAIRS, rule="drop")
    assert [role for role, _ in found.turns] == ["human", "function_call", "observation", "gpt"]


def two_calls(*observed):
    tools = [TOOL, TOOL | {"name": "get_time", "parameters": {}}]
    calls = [
        {"id": "a", "function": {"name": "set_light", "arguments": {"room": "x"}}},
        {"id": "b", "function": {"name": "get_time"}},
    ]
    messages = [OPENAI["messages"][0], {"role": "assistant", "tool_calls": calls}, *observed]
    return copy.deepcopy({"tools": tools, "messages": [*messages, OPENAI["messages"][3]]})


@pytest.mark.parametrize("observed", [
    [{"tool_call_id": "b", "content": "ten"}, {"tool_call_id": "a", "content": "on"}],
    [{"name": "get_time", "content": "ten"}, {"name": "set_light", "content": "on"}],
    [{"content": "on"}, {"content": "ten"}],
    [{"content": '["on", "ten"]'}],
    [{"tool_call_id": "", "content": "on"}, {"tool_call_id": " ", "content": "ten"}],
])  # fmt: skip
def test_responses_follow_their_calls(observed):
    row = two_calls(*({"role": "tool"} | message for message in observed))
    assert conversation(row)["conversations"][2]["value"] == [
        {"name": "set_light", "response": {"result": "on"}},
        {"name": "get_time", "response": {"result": "ten"}},
    ]


def test_nulls_that_arrow_filled_in_are_dropped():
    arguments = {"room": "hall", "level": None, "other": None}
    found = conversation(changed(lambda row: function(row).update(arguments=arguments)))
    assert found["conversations"][1]["value"][0]["arguments"] == {"room": "hall"}


REFUSED = [
    (lambda row: row["messages"].pop(2), "no_response", "turn 3 comes before"),
    (lambda row: row["messages"].insert(2, {"role": "user", "content": "?"}), "no_response", ""),
    (lambda row: row["messages"].insert(3, {"role": "tool", "content": "x"}), "tool_response", ""),
    (lambda row: row["messages"].insert(1, row["messages"][2]), "tool_response", "turn 2"),
    (lambda row: row["messages"].insert(3, {"role": "user", "content": "x"}), "no_answer", ""),
    (lambda row: function(row).update(name="play"), "tool_call", "'play', which is not declared"),
    (lambda row: row.pop("tools"), "tool_call", "`tools` has none"),
    (lambda row: function(row).update(arguments="{}"), "tool_call", "'room' is a required"),
    (lambda row: function(row).update(arguments={"room": 3}), "tool_call", "at room: 3 is not"),
    (lambda row: function(row).update(arguments="{"), "tool_call", "not valid JSON"),
    (lambda row: function(row).update(arguments="[]"), "tool_call", "no object"),
    (lambda row: function(row).update(arguments='{"room": "a", "room": "b"}'), "duplicate_key", ""),
    (lambda row: function(row).update(arguments={"room": "a", "b c": 1}), "tool_call", "'b c'"),
    (
        lambda row: function(row).update(arguments={"room": "a", "Room": 1}),
        "tool",
        "turn 2, a call of set_light, has the names 'Room' and 'room', which differ in case alone",
    ),
    (
        lambda row: row["tools"][0]["function"]["parameters"]["properties"].update(LEVEL={}),
        "tool",
        "the tool set_light has the names 'level' and 'LEVEL', which differ in case alone",
    ),
    (
        lambda row: row["messages"][2].update(content={"a": [{"ok": 1, "oK": 2}]}),
        "tool",
        "turn 3 has the names 'oK' and 'ok', which differ in case alone",
    ),
    (lambda row: function(row).update(arguments={"room": "a", "x": 1e300}), "tool_call", "64 bits"),
    (lambda row: row["tools"][0]["function"].update(name="true"), "tool", "'true'"),
    (lambda row: row["tools"][0]["function"].update(name="a b"), "tool", "'a b'"),
    (lambda row: row["tools"].append(row["tools"][0]), "tool", "`tools` declares set_light twice"),
    (lambda row: row["tools"][0]["function"]["parameters"].update(type="dict"), "tool", "Schema"),
    (
        lambda row: row["tools"][0]["function"]["parameters"].update({"$ref": "http://x.y/z"}),
        "tool",
        "cannot be followed",
    ),
    (lambda row: function(row).update(arguments="{}", input={"room": "x"}), "tool_call", "`input`"),
    (
        lambda row: function(row).update(arguments='{"room": ' + "[" * 300 + "]" * 300 + "}"),
        "tool_call",
        "levels of nesting",
    ),
    (
        lambda row: row["messages"][1].update(
            tool_calls=None, content="Wait.", function_calls="f()"
        ),
        "tool_call",
        "function_calls",
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
    (lambda row: row["messages"][0].update(tool_calls=[{"name": "x"}]), "tool_call", "turn 1"),
    (lambda row: row["messages"][2].update(role="function"), "tool_role", "turn 3"),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_what_is_refused_by_name(change, reason, message):
    with pytest.raises(Rejection) as rejection:
        checked(changed(change))
    assert rejection.value.reason == reason
    assert message in rejection.value.message


def with_text(row):
    row["messages"][1].update(content="Wait.")


def with_another_system(row):
    row["messages"].insert(0, {"role": "system", "content": "Be brief."})


@pytest.mark.parametrize("before", [lambda row: None, with_text, with_another_system])
@pytest.mark.parametrize("change, message", [
    (lambda row: row["messages"][-1].update(content="a <escape>"), "turn 4 holds <escape>"),
    (lambda row: row["messages"][-1].update(content="a \0"), "turn 4 holds "),
    (lambda row: row["messages"].insert(-1, row["messages"][-2]), "turn 4 has a response to no"),
    (lambda row: row["messages"][-2].update(content="<eos>"), "turn 3 holds <eos>"),
    (lambda row: row["messages"].pop(-2), "turn 3 comes before the response to set_light"),
    (lambda row: row["messages"].extend([USER, {"role": "assistant", "content": ""}]), "turn 6 ("),
    (
        lambda row: row["messages"].append({"role": "system", "content": "x"}),
        "a system text follows turn 4 (gpt)",
    ),
])  # fmt: skip
def test_messages_count_turns_as_the_row_does(before, change, message):
    """Text and calls of one message are one turn there, and several responses are several."""
    row = changed(change, changed(before))
    with pytest.raises(Rejection) as rejection:
        check(orjson.dumps(row), "auto", [])
    assert rejection.value.message.startswith(message)


@pytest.mark.parametrize("rule", ["drop", "keep"])
def test_reasoning_that_is_left_out_does_not_move_the_turns(rule):
    row = changed(lambda row: row["messages"][1].update(content="<think>Hm</think>"))
    row["messages"][-1]["content"] = "<escape>"
    with pytest.raises(Rejection, match=r"^turn 4 holds <escape>"):
        check(orjson.dumps(row), "auto", REPAIRS, rule=rule)
    text = {"from": "gpt", "value": "<think>Hm</think>"}
    row = changed(lambda row: row["conversations"].insert(1, text), LLAMA_FACTORY)
    row["conversations"][-1]["value"] = "<escape>"
    with pytest.raises(Rejection, match=r"^turn 5 holds <escape>"):
        check(orjson.dumps(row), "auto", REPAIRS, rule=rule)


def test_each_of_several_responses_has_its_turn():
    row = two_calls(
        {"role": "tool", "tool_call_id": "a", "content": "on"},
        {"role": "tool", "tool_call_id": "b", "content": "<eos>"},
        {"role": "tool", "tool_call_id": "b", "content": "ten"},
    )
    with pytest.raises(Rejection, match="^turn 5 has a response to no call"):
        checked(row)
    del row["messages"][4]
    with pytest.raises(Rejection, match="^turn 4 holds <eos>"):
        checked(row)
    row["messages"][3]["content"], row["messages"][4]["content"] = "ten", ""
    with pytest.raises(Rejection, match=r"^turn 5 \(gpt\) has no text"):
        check(orjson.dumps(row), "auto", [])


PART = {"type": "text", "text": "see"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


@pytest.mark.parametrize("content", [
    [PICTURE],
    PICTURE,
    [PART, PICTURE],
    [PART | {"image_url": None}, PICTURE | {"text": None}],  # as a table has them
    [PART, {"type": "image", "source": {"type": "base64", "data": "AA"}}],
    [{"type": "image", "data": "AA", "mimeType": "image/png"}],
    [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}],
    [{"type": "file", "file": {"file_id": "f"}}],
])  # fmt: skip
@pytest.mark.parametrize("row, turns, key", [
    (OPENAI, "messages", "content"), (LLAMA_FACTORY, "conversations", "value"),
])  # fmt: skip
def test_a_picture_in_a_result_is_refused_by_name(content, row, turns, key):
    with pytest.raises(Rejection, match="^turn 3 ") as rejection:
        checked(changed(lambda row: row[turns][2].update({key: content}), row))
    assert rejection.value.reason == "non_text_part"


@pytest.mark.parametrize("piece", [*FUNCTION_PIECES, "<end_of_turn>"])
@pytest.mark.parametrize("place", [
    lambda row, piece: row["messages"][0].update(content=f"a {piece}"),
    lambda row, piece: row["messages"][2].update(content={piece: 1}),
    lambda row, piece: row["messages"][2].update(content={"a": [f"b {piece}"]}),
    lambda row, piece: function(row).update(arguments={"room": piece}),
    lambda row, piece: row["tools"][0]["function"].update(description=piece),
    lambda row, piece: row["tools"][0]["function"]["parameters"].update({"enum": [{piece: 1}]}),
])  # fmt: skip
def test_a_control_piece_in_any_string_or_key_is_refused(place, piece):
    with pytest.raises(Rejection) as rejection:
        checked(changed(lambda row: place(row, piece)))
    assert rejection.value.reason == "control_token"


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
])  # fmt: skip
def test_an_answer_that_only_looks_like_a_call_is_kept(text):
    row = changed(lambda row: row["messages"][3].update(content=text))
    assert checked(row).turns[-1] == ("gpt", text)


def test_a_response_with_the_id_of_one_call_and_the_name_of_another_is_refused():
    row = two_calls(
        {"role": "tool", "tool_call_id": "a", "name": "a title", "content": "on"},
        {"role": "tool", "tool_call_id": "b", "name": "set_light", "content": "ten"},
    )
    with pytest.raises(Rejection, match="^turn 4 has the id of a call of get_time, and the name"):
        checked(row)
    row["messages"][3]["name"] = "get_time"
    assert len(json.loads(checked(row).turns[2][1])) == 2


def test_a_response_to_no_call_is_named():
    row = changed(lambda row: row["messages"][2].update(tool_call_id="c9", name="play"))
    with pytest.raises(Rejection, match="turn 3 has a response .*, id 'c9', name 'play'$"):
        checked(row)


def test_a_plain_row_with_a_piece_of_calls_is_a_row():
    row = {"messages": [{"role": "user", "content": "<escape>"}, OPENAI["messages"][3]]}
    assert checked(row).turns[0] == ("human", "<escape>")


def test_rows_with_functions_are_counted_and_those_without_the_activation_too():
    rows = [("a", 1, orjson.dumps(OPENAI)), ("a", 2, orjson.dumps(MOBILE_ACTIONS))]
    counts = check_rows(rows, "auto", REPAIRS).counts["rows"]
    assert (counts["with_tools"], counts["without_activation"]) == (2, 1)


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


def other(change):
    return conversation(changed(change))


def test_calls_responses_and_tools_decide_the_id_and_with_it_the_split():
    row = conversation(OPENAI)
    ids = {row["id"]}
    ids.add(other(lambda row: function(row).update(arguments={"room": "attic"}))["id"])
    ids.add(other(lambda row: row["messages"][2].update(content="no"))["id"])
    ids.add(other(lambda row: row["tools"][0]["function"].update(description="x"))["id"])
    assert len(ids) == 4
    found = checked(OPENAI)
    assert content_id(found.turns, found.tools) != content_id(found.turns)


def test_twins_have_the_same_calls_and_the_same_tools(nothing_shared):
    shared = SharedText(20, np.zeros(0, np.uint32))
    row = conversation(OPENAI)
    more = {"type": "function", "function": {"name": "other"}}
    rows = [
        row,
        other(lambda row: function(row).update(arguments={"room": "attic", "level": 7})),
        other(lambda row: row["tools"].append(more)),
        conversation(LLAMA_FACTORY),
    ]
    first, call, tools, same = evidence_of(rows, shared)
    assert evidence_similarity(first, same) == 1
    assert evidence_similarity(first, call) < 0.8
    assert evidence_similarity(first, tools) == 0.5
    lines = [orjson.dumps(row) for row in rows]
    exact = features(lines, 0.8, nothing_shared).exact.tolist()
    assert len(set(exact)) == 3 and exact[0] == exact[3]


@pytest.fixture
def config(write_params):
    write_params({})
    return load_section("data", DataConfig)


def test_a_base_without_the_pieces_refuses_rows_with_functions(
    config, tokenizer_path, nothing_shared
):
    line = orjson.dumps(conversation(OPENAI))
    with pytest.raises(UserError, match=r"a.jsonl:3: .* take function_gemma_instruct_270m"):
        format_lines([line], config, str(tokenizer_path), nothing_shared, 400)


def test_a_base_without_the_pieces_takes_them_for_text(config, tokenizer_path, nothing_shared):
    turns = [("human", "What is <escape>?"), ("gpt", "A <start_function_call>.")]
    line = orjson.dumps(canonical(turns, None, SOURCE))
    formatted = format_lines([line], config, str(tokenizer_path), nothing_shared, 400)
    assert json.loads(formatted.lines[0])["messages"][0]["content"] == "What is <escape>?"


def test_function_gemma_refuses_them_in_a_plain_row(
    config, function_tokenizer_path, nothing_shared
):
    line = orjson.dumps(canonical([("human", "<escape>"), ("gpt", "x")], None, SOURCE))
    with pytest.raises(UserError, match=r"a.jsonl:3: content holds the control piece <escape>"):
        format_lines([line], config, str(function_tokenizer_path), nothing_shared, 400)


def test_a_formatted_row_has_messages_tools_and_their_text(
    config, function_tokenizer_path, nothing_shared
):
    plain_row = canonical([("system", "Be brief."), ("human", "Hi"), ("gpt", "x")], None, SOURCE)
    lines = [orjson.dumps(conversation(MOBILE_ACTIONS)), orjson.dumps(plain_row)]
    formatted = format_lines(lines, config, str(function_tokenizer_path), nothing_shared, 999)
    row, second = map(json.loads, formatted.lines)
    assert row["tools"] == [{"type": "function", "function": TOOL}]
    assert row["messages"][2]["tool_calls"] == [{"type": "function", "function": CALL[0]}]
    assert row["text"].endswith(
        "<start_of_turn>user\nHall light<end_of_turn>\n<start_of_turn>model\n"
        "<start_function_call>call:set_light{level:1,room:<escape>hall<escape>}<end_function_call>"
        "<start_function_response>"
    )
    assert second["tools"] == []
    assert second["text"].startswith("<start_of_turn>developer\nBe brief.<end_of_turn>\n")


def test_a_long_conversation_is_cut_between_exchanges_never_at_a_call(function_tokenizer_path):
    tokenizer = GemmaTokenizer(function_tokenizer_path)
    row = conversation(OPENAI)
    row["conversations"] = row["conversations"] * 3
    pieces = split_conversation(row, 1, tokenizer)
    assert [piece["conversations"] for piece in pieces] == [TURNS] * 3
    assert all(piece["tools"] == [TOOL] for piece in pieces)
