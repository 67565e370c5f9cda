"""Text under keys that are not read: refused as lost, unless it repeats what is read."""

import time

import pytest

from gemma_finetune.data import schemas
from gemma_finetune.data.extra_keys import check_extra_keys
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_keys import prepare
from raw_rows import ANSWER, TURNS, USER, checked, rejected

HUMAN, GPT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def check(human=(), gpt=(), **row):
    row = {"messages": [HUMAN | dict(human), GPT | dict(gpt)], **row}
    return check_extra_keys(schemas.read(prepare(row), "chatml"))


def test_a_text_that_repeats_the_conversation_is_counted():
    repeats = {"prompt": "Hi", "answer": "Hello", "text": "Hi Hello", "instruction": "Hi",
               "dialog": [HUMAN, GPT], "query": [HUMAN], "context": "User: Hi Assistant: Hello",
               "conversations": [{"from": "human", "value": "Hi"}]}  # fmt: skip
    assert check(**repeats) == repeats.keys()


def test_instructions_are_no_system_text_where_one_is_read():
    assert check(instructions="Be brief.", system="S") == {"instructions"}
    im_text = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    read = schemas.read({"text": im_text, "instructions": "Be brief."}, "chatml")
    assert check_extra_keys(read) == {"instructions"}
    turns = [{"role": "system", "content": "S"}, HUMAN, GPT]
    read = schemas.read({"messages": turns, "instructions": "Be brief."}, "chatml")
    assert check_extra_keys(read) == {"instructions"}


LOST_BESIDE_A_TURN = (
    "context documents retrieved_context input text system code options parts message passage "
    "history prompt instructions system_prompt background contents utterance chat_history"
)


@pytest.mark.parametrize("key", LOST_BESIDE_A_TURN.split())
def test_text_beside_a_users_turn_is_not_lost(key):
    for value in ("a b c", ["a b c"], [{"title": "T", "text": "a b c"}]):
        with pytest.raises(Rejection, match=rf"turn 1 \(user\) has `{key}`") as rejection:
            check(human={key: value})
        assert rejection.value.reason == "lost_text"
        read = check(human={key: value, "content": "T: a b c"})
        assert read == {f"turn.{key}"}
    assert check(human={key: 3, "sys": "linux"}) == {f"turn.{key}", "turn.sys"}


def test_text_beside_a_system_turn_and_an_answer():
    turns = [{"role": "system", "content": "S", "text": "a b c"}, HUMAN, GPT]
    with pytest.raises(Rejection, match=r"system text \(system\) has `text`"):
        check_extra_keys(schemas.read({"messages": turns}, "chatml"))
    for key in ("text", "message", "response", "output"):
        with pytest.raises(Rejection, match="turn 2 .* next to another key") as rejection:
            check(gpt={key: "a b c"})
        assert rejection.value.reason == "ambiguous"
        assert check(gpt={key: "Hello"}) == {f"turn.{key}"}


def test_the_same_text_of_a_turn_in_another_form_is_counted():
    """Rows of ShareGPT's, of the AI SDK and of LibreChat."""
    html = {"role": "assistant", "content": "<div>Paris <b>is</b> big &amp; old.</div>"}
    parts = [{"type": "text", "text": "Paris is", "state": "done"}, {"text": "big & old."}]
    forms = {"markdown": "Paris **is** big & old.", "text": "paris is big &old", "parts": parts,
             "completion": "stop", "output": "stop",
             "response": {"id": "r1", "status": "all done"}}  # fmt: skip
    user = {"text": " hi!", "message": {"id": "abc", "author": "x y"}}
    read = schemas.read({"messages": [HUMAN | user, html | forms]}, "chatml")
    assert check_extra_keys(read) == {f"turn.{key}" for key in {**forms, **user}}


def test_more_text_than_a_turn_has_is_none_of_its_forms():
    for text in ("Hi there you", "<b>Hi</b> there you"):
        with pytest.raises(Rejection, match="has `text`, which would be lost"):
            check(human={"content": "Hi", "text": text}, gpt={"content": "Hello"})


def test_keys_of_many_turns_take_linear_time():
    turns = [HUMAN | {"content": f"a b {n}", "text": f"A b, {n}"} for n in range(3000)]
    read = schemas.read({"messages": turns}, "chatml")
    start = time.process_time()
    assert check_extra_keys(read) == {"turn.text"} and time.process_time() - start < 1


def test_metadata_of_turns_are_counted():
    of_user = {"country": "US", "header": {"a": "b"}, "timestamp": "2024", "documents": ["a.pdf"],
               "language": "English", "text": None, "context": "", "speaker": "Ada"}  # fmt: skip
    of_answer = {"context": "a b", "citations": ["a b"], "refusal": "a b", "prompt": "a b"}
    known = of_user.keys() - {"text", "context"} | of_answer.keys()
    assert check(human=of_user, gpt=of_answer) == {f"turn.{key}" for key in known}


PASSAGE = "It stands in Paris, France"


@pytest.mark.parametrize("key, value", [
    ("documents", [{"title": "T", "text": PASSAGE, "lang": "en"}]), ("docs", ["3", PASSAGE]),
    ("passage", PASSAGE), ("background", PASSAGE), ("retrieved_docs", PASSAGE), ("docs", "It is."),
    ("article", "巴黎奥运会于今年七月二十六日开幕"),
    ("article", PASSAGE), ("transcript", PASSAGE), ("previous_turns", ["Who?", "Ada."]),
    ("choices", ["Paris", "France"]), ("options", [{"label": "A", "text": "Paris"}]),
    ("choices", [7, 8]),
])  # fmt: skip
def test_text_beside_the_turns_is_not_lost(key, value):
    with pytest.raises(Rejection, match=f"^has `{key}`, which would be lost") as rejection:
        check(**{key: value})
    assert rejection.value.reason == "lost_text"
    end = "or name `messages` in data.columns, which leaves the others out"
    assert rejection.value.message.endswith(end)
    question = f"{PASSAGE.replace(',', ' -').upper()}. It is. Who? Ada. 3 (1) Paris (7) 8"
    question += "巴黎奥运会于今年七月二十六日开幕"
    assert check(human={"content": question}, **{key: value}) == {key}


def test_named_turns_leave_other_columns_out():
    row = {"dialog": [HUMAN, GPT], "document": PASSAGE, "prompt": "Ho", "history": [["a", "b"]],
           "instructions": "Be brief.", "conversation": [GPT]}  # fmt: skip
    columns = {"messages": "dialog"}
    read = schemas.read(prepare(row, columns), "chatml", columns)
    assert check_extra_keys(read, columns=columns) == row.keys() - {"dialog"}
    read = schemas.read(prepare(row | {"deleted": True}, columns), "chatml", columns)
    with pytest.raises(Rejection, match="people set it aside"):
        check_extra_keys(read, columns=columns)


def test_metadata_beside_the_turns_are_counted():
    metadata = {"documents": ["a.pdf"], "docs": [{"id": "d_1", "score": 0.4}], "knowledge": "a b",
                "text": "a b", "document_id": "a b", "evidence": "a b", "A": "a b",
                "B": "c", "source_document": "User manual, v2", "seed_document": "a b",
                "section_text": "Introduction", "transcript": "call_0012", "article": "France",
                "schema": "concert_singer", "table": "orders", "sentence": "巴黎",
                "chunks": [{"text": "Annual Report 2023"}],
                "file": {"path": "a.py", "language": "a b c d e"}}  # fmt: skip
    assert check(**metadata) == metadata.keys()


@pytest.mark.parametrize("key", (
    "target expected_output expectedResponse ideal final_answer reply generated_text gold_answer "
    "ground_truth assistant next_response output_text model_output reference_answer response"
).split())  # fmt: skip
def test_the_answer_to_the_last_question_is_not_lost(key):
    for turns in ([USER], [USER, ANSWER, {"role": "user", "content": "And now?"}]):
        reason, message = rejected({"messages": turns, key: "Now we go."})
        assert reason == "ambiguous" and f"`{key}` beside turns that end with a question" in message
        assert message.endswith("; if not, name the turns as `messages` there")
        columns = {"user": "messages", "assistant": key}
        row = {"messages": turns, key: "Now we go."}
        assert checked(row, columns).turns[-1] == ("gpt", "Now we go.")


@pytest.mark.parametrize("key, value", [
    ("choices", [{"index": 0, "message": ANSWER}]), ("response", {"choices": []} | ANSWER),
])  # fmt: skip
def test_an_object_with_the_answer_is_to_be_written_as_a_turn(key, value):
    reason, message = rejected({"messages": [USER], key: value})
    assert reason == "ambiguous" and "write it as the last turn; if not, name" in message
    turns = {"messages": [USER, ANSWER, USER], key: value}
    assert checked(turns, {"messages": "messages"}).turns == TURNS


def test_what_only_looks_like_the_answer_to_the_last_question_is_ignored():
    turns = [USER, ANSWER, {"role": "user", "content": "And now?"}]
    more = {"model": "x", "target_lang": "German", "answer_type": "a b", "output_tokens": 3,
            "ideal": None, "reply": "Hello", "expected": 4}  # fmt: skip
    assert checked({"messages": turns} | more).turns == TURNS
    assert checked({"messages": [USER, ANSWER], "target": "Now we go."}).turns == TURNS
