"""Turns with keys in any case, and with content parts as tables hold them."""

import json

import pytest

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check

TURNS = [("human", "Hi"), ("gpt", "Hello")]
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def checked(row):
    return check(json.dumps(row).encode(), "auto", [])


def rejected(row):
    with pytest.raises(Rejection) as rejection:
        checked(row)
    return rejection.value.reason, rejection.value.message


def test_turns_with_the_keys_of_two_formats():
    turn = {"from": None, "role": "user", "value": None, "content": "Hi"}
    assert checked({"messages": [turn, ANSWER]}).turns == TURNS


def test_content_parts_as_json_text():
    hi, thought = {"type": "text", "text": "Hi"}, {"type": "thinking", "thinking": "hm"}
    hel, lo = {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}
    image = {"type": "image_url", "image_url": {"url": "a"}}

    def row(asked: list, said: list) -> dict:
        both = (USER | {"content": json.dumps(asked)}, ANSWER | {"content": json.dumps(said)})
        return {"messages": list(both)}

    assert checked(row([hi], [hel, lo])).turns == TURNS
    assert rejected(row([hi], [thought, hel]))[0] == "reasoning"
    assert rejected(row([image, hi], [hel]))[0] == "non_text_part"


def test_content_parts_of_an_answer_alone_are_what_it_says():
    blocks = '[{"type":"text","text":"Hello"},{"type":"text","text":"World"}]'
    for row in ({"messages": [USER, ANSWER | {"content": blocks}]},
                {"prompt": [USER], "completion": [ANSWER | {"content": blocks}]}):  # fmt: skip
        assert checked(row).turns == [TURNS[0], ("gpt", blocks)]


def test_a_question_in_content_parts_as_json_text_may_have_a_plain_answer():
    parts = [{"type": "text", "text": "Hi"}]
    assert checked({"messages": [USER | {"content": json.dumps(parts)}, ANSWER]}).turns == TURNS
    image = [{"type": "image_url", "image_url": {"url": "a"}}, *parts]
    found = rejected({"messages": [USER | {"content": json.dumps(image)}, ANSWER]})
    assert found[0] == "non_text_part"


@pytest.mark.parametrize("turn", [
    {"role": "user", "Content": "Hi"}, {"Role": "User", "content": "Hi"},
    {"role": "user", "Content": "Hi", "content": None}, {"From": "human", "Value": "Hi"},
])  # fmt: skip
def test_keys_of_turns_in_any_case(turn):
    assert checked({"Messages": [turn, ANSWER]}).turns == TURNS
