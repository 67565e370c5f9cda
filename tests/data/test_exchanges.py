"""Turns that are written as exchanges, or as texts alone."""

import json

import pytest

from gemma_finetune.data.exchanges import is_text_list, is_transcript
from raw_rows import TURN_PAIR, checked, rejected

TURNS = [("human", "Hi"), ("gpt", "Hello"), ("human", "Why?"), ("gpt", "So.")]
TEXTS = ["Hi", "Hello", "Why?", "So."]


@pytest.mark.parametrize("question, answer", [
    ("input", "output"), ("human", "assistant"), ("Human", "Assistant"), ("question", "answer"),
    ("user", "bot"), ("prompt", "response"),
])  # fmt: skip
@pytest.mark.parametrize("key", ["conversation", "Conversation", "conversations", "messages"])
def test_exchanges(key, question, answer):
    row = {
        key: [{question: "Hi", answer: "Hello"}, {question: "Why?", answer: "So.", "system": None}]
    }
    assert checked(row).turns == TURNS


def test_exchanges_under_another_key_are_to_be_named():
    row = {"rounds": [{"human": "Hi", "assistant": "Hello"}, {"human": "Why?", "assistant": "So."}]}
    for rounds in (row["rounds"], json.dumps(row["rounds"])):
        message = rejected({"rounds": rounds, "id": 1})[1]
        assert "`rounds` is a list of turns; name it as `messages`" in message
    assert checked(row, {"messages": "rounds"}).turns == TURNS


def test_a_system_text_of_the_first_exchange():
    first, second = ({"input": "Hi", "output": "Hello"}, {"input": "Why?", "output": "So."})
    assert checked({"conversation": [first | {"system": "S"}, second]}).turns == [
        ("system", "S"),
        *TURNS,
    ]
    found = rejected({"conversation": [first, second | {"system": "S"}]})
    assert found == (
        "system_inside",
        "a system text follows turn 2 (gpt); it may only be at the start",
    )


@pytest.mark.parametrize("extra", [
    {"instruction": "a"}, {"output_with_loss": False}, {"context": "a"}, {"response": "b"},
])  # fmt: skip
def test_exchanges_with_more_in_them_are_refused(extra):
    row = {"conversation": [{"input": "Hi", "output": "Hello"} | extra]}
    assert rejected(row)[0] == "unknown_format"
    assert rejected({"messages": row["conversation"]})[0] == "schema"


def test_an_exchange_without_its_answer_is_empty():
    assert rejected({"conversation": [{"input": "Hi", "output": ""}]})[0] == "empty_turn"


def test_conversation_beside_other_turns_is_another_key():
    turns = [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "Hum"}]
    row = {"messages": [{"human": "Hi", "assistant": "Hello"}], "conversation": turns}
    reason, message = rejected(row)
    assert reason == "ambiguous" and "has `conversation`, which says something else" in message
    columns = {"messages": "messages"}
    assert checked(row, columns).ignored_keys == {"conversation"}
    row = {"q": "Hi", "a": "Hello", "conversation": turns}
    assert checked(row, {"user": "q", "assistant": "a"}).ignored_keys == {"conversation"}
    assert checked({"conversation": turns}, {"user": "q", "assistant": "a"}).format == "chatml"


def test_one_of_two_keys_called_conversation_is_not_lost():
    turns = [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "Hum"}]
    row = {"conversation": TURN_PAIR, "Conversation": turns}
    for columns in (row, dict(reversed(row.items()))):
        assert rejected(columns)[0] == "ambiguous"
    assert checked(row | {"Conversation": TURN_PAIR}).ignored_keys == {"Conversation"}


def test_conversation_as_a_table_holds_it():
    rows = [TURN_PAIR, [{"human": "Hi", "assistant": "Hello"}]]
    for turns in rows:
        assert checked({"conversation": json.dumps(turns), "id": "1"}).turns == TURNS[:2]


@pytest.mark.parametrize("key", ["conversations", "messages", "data"])
def test_texts_in_turn_are_read_where_data_columns_says_so(key):
    """Rows of LIMA and of UltraChat."""
    assert rejected({key: TEXTS})[0] in ("schema", "unknown_format")
    assert checked({key: TEXTS, "id": 1}, {"messages": key}).turns == TURNS
    assert checked({key: json.dumps(TEXTS)}, {"messages": key}).turns == TURNS


@pytest.mark.parametrize("texts", [
    ["User: Hi", "Assistant: Hello"], ["### Human: Hi", "### Assistant: Hello"], ["AI: Hi", "Ho"],
    ['{"role": "user"}', '{"role": "assistant"}'], ["Hi"], ["Hi", None], "Hi",
])  # fmt: skip
def test_what_is_no_list_of_plain_texts(texts):
    assert not is_text_list(texts)
    assert rejected({"data": texts}, {"messages": "data"})[0] in ("schema", "unknown_format")


@pytest.mark.parametrize("text", [
    "### Human: Hi### Assistant: Hello", "\n\nHuman: Hi\n\nAssistant: Hello",
    "USER: Hi\n\n\nASSISTANT: Hello", "<human>: Hi\n<bot>: Hello", "<user> Hi\n<assistant> Hello",
    "The AI helps.\n[|Human|] Hi\n[|AI|] Hello", "<|user|>\nHi</s>\n<|assistant|>\nHello</s>",
])  # fmt: skip
def test_a_chat_in_one_text(text):
    assert is_transcript(text)


@pytest.mark.parametrize("text", [
    "The user asks the assistant.", "Amanda: Hi\nJerry: Hello", "user: Ada", "An AI: a machine", 7,
    '[{"human": "Hi", "assistant": "Hello"}]',
])  # fmt: skip
def test_no_chat_in_one_text(text):
    assert not is_transcript(text)
