"""Every format to the canonical conversation and back, and nothing is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raw_formats
from gemma_finetune.config import find_control
from gemma_finetune.data.converter import (
    canonical,
    content_id,
    ids_of_beginnings,
    to_messages,
    to_turns,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import UNTRAINED, UNTRAINED_OF
from gemma_finetune.data.row_keys import detect, prepare
from gemma_finetune.data.schemas import read

TURNS = [("human", "Hi"), ("gpt", "Hello")]


def turns_of(row):
    row = prepare(row)
    return to_turns(read(row, detect(row)))


def test_system_beside_and_first():
    beside = {"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}]}
    first = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    }
    assert turns_of(beside) == turns_of(first) == [("system", "Be brief."), ("human", "Hi")]


@pytest.mark.parametrize(
    "name", ["system_prompt", "systemPrompt", "System_Message", "system_instruction", "preprompt"]
)
def test_a_system_prompt_is_a_system_text(name):
    row = {name: "Be brief.", "system": None, "instruction": "Hi", "output": "Hello"}
    assert turns_of(row) == [("system", "Be brief."), *TURNS]


def test_columns_that_are_null_tell_no_format():
    row = {"conversations": None, "messages": None, "instruction": "Hi", "output": "Hello"}
    assert turns_of(row) == TURNS
    im_text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"
    assert turns_of({"messages": None, "text": im_text}) == TURNS


def test_an_empty_system_text_is_left_out():
    row = {"system": "", "conversations": [{"from": "human", "value": "Hi"}]}
    assert turns_of(row) == [("human", "Hi")]


def test_alpaca_with_input_history_and_system():
    row = {
        "instruction": "Add",
        "input": "1 2",
        "output": "3",
        "history": [["Hi", "Hello"]],
        "system": "S",
        "text": "…",
    }
    assert turns_of(row) == [("system", "S"), *TURNS, ("human", "Add\n\n1 2"), ("gpt", "3")]
    assert turns_of({"instruction": "Hi", "input": " ", "output": "Hello"}) == TURNS


def test_im_text_as_a_row_and_as_a_string():
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    assert turns_of({"text": text}) == TURNS


def test_im_text_with_crlf():
    text = (
        "<|im_start|>user \r\nHi\r\nyou<|im_end|>\r\n<|im_start|>assistant\r\nHello<|im_end|>\r\n"
    )
    assert turns_of({"text": text}) == [("human", "Hi\r\nyou"), ("gpt", "Hello")]


MISSING_END = "<|im_start|>user\nHi<|im_start|>assistant\nHello<|im_end|>"


@pytest.mark.parametrize(
    "text",
    [
        MISSING_END,
        "Hi",
        "<|im_start|>user\nHi",
        "<|im_start|>user\nHi<|im_end|>\nmore",
        "<|im_start|>",
    ],
)
def test_im_text_that_is_not_turns_is_rejected(text):
    with pytest.raises(Rejection, match="is not `<|im_start|>"):
        turns_of({"text": text})


def test_id_is_told_by_roles_and_texts_alone():
    assert content_id(TURNS) == canonical(TURNS, "test", {"line": 9})["id"]
    others = [
        [("human", "Hi"), ("gpt", "hello")],
        [("gpt", "Hi"), ("human", "Hello")],
        [("human", "HiHello")],
    ]
    assert len({content_id(turns) for turns in [TURNS, *others]}) == 4
    assert content_id(TURNS) == "3eb37290fd14da98"  # must never change: splits depend on it


@pytest.mark.parametrize("turns, tools", [
    ([("system", "S"), *TURNS, *TURNS, *TURNS], ()),
    ([("human", "Hi"), ("function_call", "[]"), ("observation", "[]"), ("gpt", "Done"), *TURNS],
     [{"name": "f"}]),
])  # fmt: skip
def test_the_ids_of_what_a_conversation_was_before_it_grew(turns, tools):
    """A row may also end with a call, as in the log of an agent that has a row a request."""
    places = [n for n, (role, _) in enumerate(turns, start=1) if role in ("gpt", "function_call")]
    *before, _ = (canonical(turns[:n], None, {}, tools)["id"] for n in places)
    masked = [(UNTRAINED_OF.get(role, role), text) for role, text in turns]
    for shown in (turns, masked):
        assert list(ids_of_beginnings(canonical(shown, "test", {}, tools))) == before


def test_the_beginnings_of_a_long_conversation_take_one_pass():
    conversation = canonical([*TURNS, ("human", "x" * 1000), ("gpt", "y")] * 20_000, None, {})
    start = time.process_time()
    assert len(set(ids_of_beginnings(conversation))) == 39_999
    assert time.process_time() - start < 5


def is_content(text):
    return text and not find_control(text) and "<|im_" not in text


text = st.text(min_size=1).map(str.strip).filter(is_content)


@st.composite
def conversations(draw, masked=False):
    turns = [("system", draw(text))] if draw(st.booleans()) else []
    roles = ("gpt", UNTRAINED) if masked else ("gpt",)
    for _ in range(draw(st.integers(1, 4))):
        turns += [("human", draw(text)), (draw(st.sampled_from(roles)), draw(text))]
    split = draw(st.sampled_from([None, "train", "validation", "test"]))
    return canonical(turns, split, {"file": "f", "line": 1, "format": "sharegpt"})


def back_from(format, conversation):
    """The conversation that is read from its row in a format."""
    row = getattr(raw_formats, f"to_{format}")(conversation)
    found = read(row, detect(row))
    return canonical(to_turns(found), found.split, conversation["source"])


@pytest.mark.parametrize("format", ["sharegpt", "chatml", "chatml_text", "alpaca"])
@settings(derandomize=True, deadline=None)
@given(conversation=conversations())
def test_canonical_to_a_format_and_back_loses_nothing(format, conversation):
    assert back_from(format, conversation) == conversation


@pytest.mark.parametrize("format", ["sharegpt", "chatml"])
@settings(derandomize=True, deadline=None)
@given(conversation=conversations(masked=True))
def test_answers_that_are_not_trained_on_stay_so(format, conversation):
    assert back_from(format, conversation) == conversation


def test_another_mask_is_another_conversation():
    assert content_id([*TURNS, *TURNS]) != content_id([TURNS[0], (UNTRAINED, "Hello"), *TURNS])


def test_messages_of_a_conversation():
    conversation = canonical([("system", "S"), *TURNS], None, {})
    assert [m["role"] for m in to_messages(conversation)] == ["system", "user", "assistant"]


@pytest.mark.parametrize("third, message", [
    ("<|im_start|>tool\nx<|im_end|>", "^turn 3 is a tool's"),
    ("<|im_start|>user\nx", r"^text: turn 3 is not"),
])  # fmt: skip
def test_system_texts_are_not_counted_in_plain_text(third, message):
    texts = [("system", "a"), ("user", "b"), ("assistant", "c")]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in texts)
    with pytest.raises(Rejection, match=message):
        turns_of({"text": text + third})
