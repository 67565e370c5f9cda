"""Turns with calls: their way to messages and back, and their number where they are refused."""

import orjson
import pytest

from function_rows import (
    LLAMA_FACTORY,
    MOBILE_ACTIONS,
    OPENAI,
    USER,
    changed,
    checked,
    conversation,
    refusal,
    two_calls,
)
from gemma_finetune.data.converter import to_messages
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.validation import check
from raw_formats import to_chatml, to_sharegpt


@pytest.mark.parametrize("row", [OPENAI, LLAMA_FACTORY, MOBILE_ACTIONS])
def test_the_canonical_form_is_read_again(row):
    found = conversation(row)
    assert conversation(to_sharegpt(found))["id"] == found["id"]
    assert conversation(to_chatml(found))["id"] == found["id"]


@pytest.mark.parametrize("call, response", [
    ("tool_call", "tool_response"), ("function-call", "function-response"),
    ("Tool Call", "tool response"),
])  # fmt: skip
def test_other_names_of_the_roles_of_calls(call, response):
    """MS-Swift writes `tool_call` and `tool_response`."""

    def rename(row):
        row["conversations"][1]["from"] = call
        row["conversations"][2]["from"] = response

    assert conversation(changed(rename, LLAMA_FACTORY)) == conversation(LLAMA_FACTORY)


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


def test_reasoning_before_a_call_leaves_the_call():
    row = changed(lambda row: row["messages"][1].update(content="<think>Hm</think>"))
    found = check(orjson.dumps(row), "auto", REPAIRS, rule="drop")
    assert [role for role, _ in found.turns] == ["human", "function_call", "observation", "gpt"]


REFUSED = [
    (
        lambda row: row["messages"][1].update(
            tool_calls=None, content="Wait.", function_calls="f()"
        ),
        "tool_call",
        "function_calls",
    ),
    (lambda row: row["messages"][0].update(tool_calls=[{"name": "x"}]), "tool_call", "turn 1"),
    (lambda row: row["messages"][2].update(role="function"), "tool_role", "turn 3"),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_calls_and_results_elsewhere_are_refused(change, reason, message):
    found = refusal(changed(change))
    assert found.reason == reason
    assert message in found.message


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
