"""One turn of a row: its role, and where its text may stand."""

import orjson
import pytest

from gemma_finetune.data.converter import to_turns
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_keys import detect
from gemma_finetune.data.schemas import read
from gemma_finetune.data.validation import check

TURNS = [("human", "Hi"), ("gpt", "Hello")]


def turns_of(row):
    return to_turns(read(row, detect(row)))


@pytest.mark.parametrize("human", ["human", "user", "User", "HUMAN", "prompter"])
@pytest.mark.parametrize(
    "gpt", ["gpt", "assistant", "chatgpt", "model", "ASSISTANT", "ai", "AI", "bot", "Chatbot "]
)
@pytest.mark.parametrize(
    "keys", [("conversations", "from", "value"), ("messages", "role", "content")]
)
def test_role_names_of_both_spellings(human, gpt, keys):
    turns, role, text = keys
    assert turns_of({turns: [{role: human, text: "Hi"}, {role: gpt, text: "Hello"}]}) == TURNS


def test_a_developer_text_is_a_system_text():
    row = {"messages": [{"role": "developer", "content": "Be brief."}]}
    assert turns_of(row) == [("system", "Be brief.")]


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_text_parts_are_joined(kind):
    parts = [{"type": kind, "text": "Hel"}, {"type": kind, "text": "lo"}]
    assert turns_of({"messages": [{"role": "assistant", "content": parts}]}) == [("gpt", "Hello")]


@pytest.mark.parametrize(
    "turn, reason",
    [
        ({"role": "function", "content": "4"}, "tool_role"),
        ({"role": "narrator", "content": "x"}, "unknown_role"),
        ({"role": "Ipython", "content": "x"}, "tool_role"),
        ({"role": "user", "content": None}, "empty_turn"),
        ({"role": "user", "text": "x"}, "empty_turn"),
        ({"role": "user", "content": "", "text": "x"}, "empty_turn"),
        ({"role": "assistant", "content": None, "refusal": "x"}, "empty_turn"),
        ({"role": "assistant", "content": [{"type": "thinking"}]}, "reasoning"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "non_text_part"),
        ({"role": "user", "content": [{"type": "text"}]}, "non_text_part"),
    ],
)
def test_what_has_no_place_is_rejected_by_name_and_turn(turn, reason):
    with pytest.raises(Rejection, match="turn 2") as rejection:
        turns_of({"messages": [{"role": "user", "content": "Hi"}, turn]})
    assert rejection.value.reason == reason


@pytest.mark.parametrize("last", [
    {"text": "x"}, {"content": None, "refusal": "x"}, {"content": "", "parts": [{"text": "x"}]},
    {"content": " ", "message": "x"}, {"response": "x"}, {"content": [], "output": "x"},
])  # fmt: skip
@pytest.mark.parametrize("allowed", [[], ["cut_at_empty"]])
def test_an_answer_with_its_text_under_another_key_is_not_cut(last, allowed):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}] * 2
    turns[-1] = {"role": "assistant", **last}
    with pytest.raises(
        Rejection, match=rf"^turn 4 .* has no text, but `{[*last][-1]}`"
    ) as rejection:
        check(orjson.dumps({"messages": turns}), "auto", allowed)
    assert rejection.value.reason == "empty_turn"

    turns[-1] = {"role": "assistant", "content": "", "name": "x", "refusal": None, "text": ""}
    cut = check(orjson.dumps({"messages": turns}), "auto", ["cut_at_empty"])
    assert cut.turns == TURNS and cut.repairs == ["cut_at_empty"]
