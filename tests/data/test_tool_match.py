"""Each response finds its call: by id, by name, or in order; others are refused by name."""

import json

import pytest

from function_rows import assert_refused, changed, checked, conversation, two_calls
from gemma_finetune.data.rejection import Rejection


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


REFUSED = [
    (lambda row: row["messages"].insert(3, {"role": "tool", "content": "x"}), "tool_response", ""),
    (lambda row: row["messages"].insert(1, row["messages"][2]), "tool_response", "turn 2"),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_a_response_without_its_call_is_refused(change, reason, message):
    assert_refused(change, reason, message)


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


def test_a_response_to_a_call_in_a_text_says_where_calls_are_read():
    """Rows of ToolACE."""
    said = {"role": "assistant", "content": "[set_light(room='hall')]"}
    row = changed(lambda row: row["messages"].__setitem__(1, said))
    with pytest.raises(Rejection, match="; calls are read from `tool_calls` and turns"):
        checked(row)
