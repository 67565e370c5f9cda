"""Columns that `data.columns` names: which are read, and what is left out on purpose."""

import json

import pytest

from gemma_finetune.data.validation import check_rows
from raw_rows import ALLOWED, ANSWER, TURNS, USER, checked, rejected

COLUMNS = {"user": "frage", "assistant": "antwort", "system": "rolle", "split": "fold"}


def test_an_empty_question_of_named_columns_is_named():
    row = {"frage": None, "antwort": "Hello"}
    assert rejected(row, COLUMNS) == ("empty_turn", "turn 1 (human) has no text")
    row |= {"mehr": "Hi"}
    assert checked(row, COLUMNS | {"input": "mehr"}).turns == TURNS


def test_named_columns():
    row = {"frage": "Hi", "antwort": "Hello", "rolle": "S", "fold": "test", "input": "x", "n": 1}
    result = checked(row, COLUMNS)
    assert result.turns == [("system", "S"), *TURNS]
    assert (result.format, result.split, result.ignored_keys) == ("columns", "test", {"input", "n"})


def test_named_columns_win_over_others():
    row = {"prompt": "no", "completion": "no", "instruction": "no", "q": "Hi", "chosen": "Hello",
           "rejected": "no", "choices": ["no"]}  # fmt: skip
    assert checked(row, {"user": "q", "assistant": "chosen"}).turns == TURNS


BAD = {"role": "assistant", "content": "No"}


@pytest.mark.parametrize("prompt", [[USER], json.dumps([USER]), "Hi"])
@pytest.mark.parametrize("chosen", [[ANSWER], [USER, ANSWER], json.dumps([USER, ANSWER]), ANSWER])
def test_the_better_answer_of_preference_data_can_be_named(prompt, chosen):
    row = {"prompt": prompt, "chosen": chosen, "rejected": [BAD], "label": False}
    result = checked(row, {"user": "prompt", "assistant": "chosen"})
    assert (result.turns, result.ignored_keys) == (TURNS, {"rejected", "label"})


def test_the_turns_of_preference_data_can_be_named():
    """A row of ultrafeedback_binarized."""
    row = {"prompt": "Hi", "messages": [USER, ANSWER], "chosen": [USER, ANSWER],
           "rejected": [USER, BAD], "score_chosen": 8.0}  # fmt: skip
    for name in ("messages", "chosen"):
        assert checked(row, {"messages": name}).turns == TURNS
    assert checked(row, {"user": "prompt", "assistant": "chosen"}).turns == TURNS
    for columns in ({}, {"messages": "dialog", "user": "q", "assistant": "a"}):
        reason, message = rejected(row, columns)
        assert reason == "preference" and "or name it in data.columns" in message
    assert rejected(row | {"chosen": [USER, BAD]}, {"messages": "chosen"})[0] == "ambiguous"


def test_an_answer_after_another_question_is_refused():
    other = json.dumps([{"role": "user", "content": "Ho"}])
    for prompt, chosen in (("Ho", [USER, ANSWER]), (other, json.dumps([USER, ANSWER]))):
        row = {"prompt": prompt, "chosen": chosen}
        assert rejected(row, {"user": "prompt", "assistant": "chosen"}) == (
            "ambiguous",
            "its answer begins with another question than the one that it has",
        )


def test_a_named_input_is_not_lost_beside_turns():
    columns = {"user": "prompt", "assistant": "completion", "input": "notes"}
    for row in ({"prompt": [USER], "completion": [ANSWER]}, {"messages": [USER, ANSWER]}):
        reason, message = rejected(row | {"notes": "a b"}, columns)
        assert reason == "lost_text" and "has `notes`" in message


def test_rows_without_the_named_columns_lose_nothing():
    row = {"question": "Q", "passage": "a b", "answer": "A"}
    assert rejected(row, {"user": "q", "assistant": "a"})[0] == "lost_text"


@pytest.mark.parametrize("mark", [
    {"is_correct": False}, {"status": "discarded"}, {"deleted": True}, {"train": False},
    {"metadata": {"train": False}}, {"meta": {"is_correct": False}},
])  # fmt: skip
def test_rows_with_named_columns_may_be_set_aside(mark):
    columns = {"user": "q", "assistant": "a"}
    assert rejected({"q": "Hi", "a": "Hello"} | mark, columns)[0] == "untrained"


def test_preferences_beside_named_columns_do_not_count():
    row = {"q": "Hi", "a": "Hello", "label": False, "liked": False, "metadata": {"label": 0}}
    assert checked(row, {"user": "q", "assistant": "a"}).turns == TURNS


def test_a_named_column_is_no_mark():
    row = {"q": "Is it so?", "is_correct": False}
    columns = {"user": "q", "assistant": "is_correct"}
    assert checked(row, columns).turns == [("human", "Is it so?"), ("gpt", "false")]


PRODIGY = {"_input_hash": 1, "_task_hash": 2, "_view_id": "text_input"}


@pytest.mark.parametrize("row, columns", [
    ({"text": "Hi", "label": "Hello"}, {}),
    ({"text": "Hi", "label": "Hello"}, {"user": "text", "assistant": "label"}),
    ({"prompt": "Hi", "response": "Hello"}, {}),
])  # fmt: skip
def test_what_people_answered_in_prodigy(row, columns):
    row |= PRODIGY
    assert checked(row | {"answer": "accept"}, columns).turns == TURNS
    for answer in ("reject", "ignore"):
        assert rejected(row | {"answer": answer}, columns)[0] == "untrained"


def test_an_answer_is_prodigys_only_beside_its_hashes():
    row = {"question": "Do I accept or reject?", "answer": "reject"}
    assert checked(row).turns[1] == ("gpt", "reject")
    row = {"prompt": "Do I accept or reject?", "answer": "reject"} | PRODIGY
    columns = {"user": "prompt", "assistant": "answer"}
    assert checked(row, columns).turns[1] == ("gpt", "reject")


def test_named_columns_of_rows_in_other_formats():
    row = {"dialog": [USER, ANSWER], "rolle": "S", "fold": "validation", "split": None}
    result = checked(row, {"messages": "dialog", "system": "rolle", "split": "fold"})
    assert result.turns == [("system", "S"), *TURNS] and result.split == "validation"
    assert checked({"prompt": "Hi", "completion": "Hello"}, COLUMNS).turns == TURNS
    passage = checked({"question": "Q", "passage": "P", "answer": "A"}, {"input": "passage"})
    assert passage.turns == [("human", "Q\n\nP"), ("gpt", "A")]


def test_a_named_column_beside_its_own_name_is_ambiguous():
    row = {"messages": [USER, ANSWER], "fold": "test", "split": "train"}
    assert rejected(row, {"split": "fold"})[0] == "ambiguous"


def test_named_columns_that_occur_are_counted():
    rows = [("f", n, json.dumps({"q": "Hi", "a": "Hello"}).encode()) for n in range(3)]
    columns = {"user": "q", "assistant": "a", "split": "fold"}
    assert check_rows(rows, "auto", ALLOWED, columns).counts["columns"] == {"q": 3, "a": 3}


def test_text_in_place_of_turns_is_to_be_written_as_turns():
    row = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi"}
    reason, message = rejected(row, {"messages": "chosen"})
    end = "; write its turns as `messages` with `role` and `content`"
    assert reason == "schema" and message.endswith(end)


def test_a_question_as_turns_and_its_answer_beside_them_can_be_named():
    row = {"messages": [USER], "answer": "Hello", "reasoning": "Hm."}
    assert checked(row, {"user": "messages", "assistant": "answer"}).turns == TURNS


def test_reasoning_in_columns_that_are_not_named_is_left_out():
    row = {"q": "Hi", "a": "Hello", "rationale": "Hm.", "thinking": ["Hm."]}
    result = checked(row, {"user": "q", "assistant": "a"})
    assert (result.turns, result.ignored_keys) == (TURNS, {"rationale", "thinking"})


def test_other_columns_are_named_as_the_row_has_them():
    message = rejected({"Frage": [5], "antwort": "Hello"}, COLUMNS | {"user": "Frage"})[1]
    assert message == "Frage: input should be a valid string; found [5]; write it as text"
