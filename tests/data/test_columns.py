"""Rows with a column for the question and one for the answer, whatever these are called."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check, check_rows

ALLOWED = ["line_breaks", "trim", "join_system", "merge_turns", "drop_trailing_user"]
TURNS = [("human", "Hi"), ("gpt", "Hello")]
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURN_PAIR = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def checked(row, columns=None, format="auto"):
    return check(json.dumps(row).encode(), format, ALLOWED, columns or {})


def rejected(row, columns=None, format="auto"):
    with pytest.raises(Rejection) as rejection:
        checked(row, columns, format)
    return rejection.value.reason, rejection.value.message


@pytest.mark.parametrize("question, answer", [
    ("prompt", "completion"), ("prompt", "response"), ("question", "answer"),
    ("query", "response"), ("instruction", "response"), ("input", "output"),
    ("prompt", "answer"), ("question", "response"), ("instruction", "completion"),
    ("query", "answer"), ("prompt", "output"), ("input", "response"), ("instruction", "answer"),
    ("Question", "Answer"), ("PROMPT", "Completion"), (" question ", "answer\t"),
    ("Instruction", "Response"),
])  # fmt: skip
def test_pairs_of_columns(question, answer):
    result = checked({"id": 7, question: "Hi", answer: "Hello", "split": "test"})
    assert (result.format, result.turns, result.split) == ("columns", TURNS, "test")
    assert result.ignored_keys == {"id"} and result.repairs == []


def test_alpaca_stays_alpaca():
    for row in (
        {"instruction": "Hi", "output": "Hello"},
        {"instruction": "Hi", "input": "", "output": "Hello", "text": "Below is Hi: Hello"},
        {"Instruction": "Hi", "Output": "Hello"},
        {"instruction": "", "input": "Hi", "output": "Hello"},
    ):
        assert checked(row)[:2] == ("alpaca", TURNS)


@pytest.mark.parametrize("row", [
    {"instruction": "Add", "context": "1 2", "response": "3"},
    {"instruction": "Add", "context": "1 2", "output": "3"},
    {"instruction": "Add", "input": "", "context": "1 2", "output": "3"},
    {"instruction": "Add", "input": "1 2", "context": None, "response": "3"},
    {"question": "Add", "context": "1 2", "answer": "3"},
    {"prompt": "Add", "input": "1 2", "completion": "3"},
    {"instruction": "Add", "input": "null", "context": "1 2", "response": "3"},
    {"instruction": "Add", "input": "1 2", "context": 7, "response": "3"},
    {"input": "Add", "context": "1 2", "output": "3"},
])  # fmt: skip
def test_a_context_follows_the_question(row):
    assert checked(row).turns == [("human", "Add\n\n1 2"), ("gpt", "3")]


def test_system_and_history_beside_columns():
    row = {"system_prompt": "S", "history": [["a", "b"]], "prompt": "Hi", "response": "Hello"}
    assert checked(row).turns == [("system", "S"), ("human", "a"), ("gpt", "b"), *TURNS]


def test_a_text_and_its_label():
    result = checked({"text": "I love it", "label": "positive"})
    assert (result.format, result.turns) == (
        "columns",
        [("human", "I love it"), ("gpt", "positive")],
    )
    assert rejected({"text": "I love it", "label": 1}) == (
        "schema",
        "label: input should be a valid string; found 1; write the class's name",
    )


def test_empty_columns_of_other_formats_do_not_matter():
    nothing = {"conversations": None, "messages": [], "text": "", "instruction": None, "query": ""}
    assert checked({**nothing, "prompt": "Hi", "completion": "Hello"}).turns == TURNS
    assert checked({"prompt": None, "completion": "", "messages": [USER, ANSWER]}).turns == TURNS
    assert checked({"system": None, "system_prompt": "S", "messages": [USER, ANSWER]}).turns == [
        ("system", "S"),
        *TURNS,
    ]


@pytest.mark.parametrize("row", [
    {"prompt": [USER], "completion": [ANSWER]},
    {"prompt": [USER], "response": "Hello"},
    {"prompt": "Hi", "completion": [ANSWER]},
    {"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])},
    {"prompt": json.dumps(TURN_PAIR[:1]), "response": "Hello"},
    {"prompt": USER, "completion": ANSWER},
    {"messages": json.dumps([USER, ANSWER])},
    {"conversations": json.dumps([USER, ANSWER])},
    {"messages": [{"Role": "User", "Content": "Hi"}, ANSWER]},
    [USER, ANSWER],
    [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
])  # fmt: skip
def test_lists_of_turns(row):
    assert checked(row).turns == TURNS


@pytest.mark.parametrize("text", [
    json.dumps([ANSWER | {"role": "user"}, ANSWER]), '[{"from": "Berlin", "to": "Paris"}]',
    '[{"type": "a", "n": 1}]', str([USER, ANSWER]), str([{"type": "text", "text": "a"}]),
    '[{"role": "Engineer", "content": "b"}]', "[{'a': 1}]",
    "[{'text': 'Google', 'label': 'ORG'}]", "[{'type': 'fruit', 'name': 'apple'}]",
    '[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]',
])  # fmt: skip
def test_an_answer_in_json_or_python_is_text(text):
    for row in ({"prompt": "Hi", "completion": text}, {"instruction": "Hi", "output": text},
                {"messages": [USER, ANSWER | {"content": text}]}):  # fmt: skip
        assert checked(row).turns == [TURNS[0], ("gpt", text)]


def test_turns_that_were_asked_for_are_text():
    text = json.dumps([ANSWER])
    row = {"instruction": "Write a chat as JSON", "output": text}
    assert checked(row).turns == [("human", "Write a chat as JSON"), ("gpt", text)]
    assert checked({"prompt": "Hi", "completion": text}).turns == TURNS


@pytest.mark.parametrize("chat", [[USER], [USER, ANSWER]])
@pytest.mark.parametrize("write", [json.dumps, str])
def test_turns_that_a_question_is_about_are_text(chat, write):
    text = write(chat)
    for keys in (("instruction", "output"), ("question", "answer"), ("query", "response")):
        assert checked(dict(zip(keys, (text, "toxic"), strict=True))).turns == [
            ("human", text),
            ("gpt", "toxic"),
        ]
    row = {"instruction": "Is it toxic?", "input": text, "output": "no"}
    assert checked(row).turns == [("human", f"Is it toxic?\n\n{text}"), ("gpt", "no")]


def test_a_prompt_that_ends_with_an_answer_is_text():
    text = json.dumps([USER, ANSWER])
    assert checked({"prompt": text, "completion": "Hello"}).turns == [("human", text), TURNS[1]]


def test_data_in_python_is_text():
    row = {"instruction": "Sum up", "input": "[{'value': 3}, {'value': 1}]", "output": "4"}
    assert checked(row).turns[0] == ("human", "Sum up\n\n[{'value': 3}, {'value': 1}]")
    content = "[{'type': 'fruit', 'name': 'apple'}]"
    assert checked({"messages": [USER | {"content": content}, ANSWER]}).turns[0][1] == content


def test_a_list_of_turns_as_python_prints_it_is_refused():
    for row in ({"prompt": str([USER]), "completion": str([ANSWER])},
                {"prompt": str([USER]), "response": "Hello"},
                {"instruction": str(TURN_PAIR[:1]), "output": str(TURN_PAIR[1:])},
                {"messages": [USER | {"content": str([{"type": "text", "text": "Hi"}])}, ANSWER]},
                ):  # fmt: skip
        reason, message = rejected(row)
        assert (
            reason == "schema" and "a list written as Python: write it with json.dumps" in message
        )


def test_a_bare_list_in_a_stated_format():
    assert checked([USER, ANSWER], format="chatml").format == "chatml"
    assert checked([USER, ANSWER], format="sharegpt").format == "sharegpt"


COLUMNS = {"user": "frage", "assistant": "antwort", "system": "rolle", "split": "fold"}


@pytest.mark.parametrize("name", [
    "System Prompt", "system-prompt", "systemInstruction", "SYSTEMPROMPT", "sysMsg",
    "system.message", "pre_prompt", "developer_message",
])  # fmt: skip
def test_names_of_a_system_text(name):
    turns = [("system", "S"), *TURNS]
    assert checked({"messages": [USER, ANSWER], name: "S"}).turns == turns
    assert checked({"prompt": "Hi", "completion": "Hello", name: "S"}).turns == turns


def test_sys_is_a_system_text_if_it_is_more_than_a_word():
    rows = [{"messages": [USER, ANSWER], "sys": value} for value in ("Be brief.", "linux", 3)]
    found = [checked(row).turns for row in rows]
    assert found == [[("system", "Be brief."), *TURNS], TURNS, TURNS]


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


def test_marks_of_rows_with_named_columns_do_not_count():
    row = {"q": "Hi", "a": "Hello", "label": False, "is_correct": False, "status": "discarded"}
    assert checked(row, {"user": "q", "assistant": "a"}).turns == TURNS


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


@pytest.mark.parametrize("row, reason, part", [
    ({"conversations": [USER, ANSWER], "instruction": "a", "output": "b"}, "ambiguous", "instruct"),
    ({"conversations": [USER, ANSWER], "messages": [ANSWER, ANSWER, USER, {"role": "gpt",
     "content": "Ho"}]}, "ambiguous", "messages"),
    ({"prompt": "a", "Chosen": "b", "Rejected": "c"}, "preference", "has no answer"),
    ({"instruction": "a", "output": "[]", "response": "c"}, "ambiguous", "has `response`"),
    ({"instruction": "a", "output": "[]", "Output": "c"}, "ambiguous", "has `Output`"),
    ({"messages": [USER | {"content": "[]", "Content": "Hi"}, ANSWER]}, "ambiguous",
     "turn 1 has `Content`"),
    ({"messages": [USER | {"Value": 3}, ANSWER]}, "ambiguous", "turn 1 has `Value`"),
    ({"messages": [USER | {"From": "x"}, ANSWER]}, "ambiguous", "turn 1 has `From`"),
    ({"conversations": [USER, TURN_PAIR[1] | {"Role": "x"}]}, "ambiguous", "turn 2 has `Role`"),
    ({"prompt": "a", "completion": "b", "Persona": "A cat"}, "lost_text", "has `Persona`"),
    ({"prompt": "a", "completion": "b", "option_a": 4}, "lost_text", "has `option_a`"),
    ({"prompt": "a", "completion": "b", "A": 0.1, "B": "c"}, "lost_text", "has `A`"),
    ({"prompt": "a", "completion": "b", "code": ["c"]}, "lost_text", "has `code`"),
    ({"instruction": "a", "input": [], "output": "c"}, "schema",
     "input: input should be a valid string; found []; write it as text"),
    ({"question": "a", "answer": {"text": "b"}}, "schema", "; write it as text"),
    ({"conversations": ["Hi", "Hello"]}, "schema",
     "conversations.0: input should be a turn, an object with `from` and `value`; found 'Hi'"),
    ({"messages": ["Hi"]}, "schema",
     "messages.0: input should be a turn, an object with `role` and `content`; found 'Hi'"),
    ({"conversations": [{"value": "Hi"}]}, "schema",
     "conversations.0: a turn needs `from` and `value`; found {'value': 'Hi'}"),
    ({"conversations": [{"content": "Hi"}]}, "schema",
     "conversations.0: a turn needs `role` and `content`; found {'content': 'Hi'}"),
    ({"text": "Great", "sentiment": "positive"}, "unknown_format",
     "this looks like plain text; if another column holds its answer, name the columns"),
    ({"text": "### Human: Hi"}, "schema", "write the turns as `messages`"),
    ({"chat_messages": [{"sender": "human", "text": "Hi"}]}, "unknown_format",
     "`chat_messages` is a list of objects; if it is a conversation, write it as"),
    ({"messages": [{"type": "human", "content": "Hi"}]}, "schema",
     "messages.0: a turn needs `role` and `content`; found"),
    ({"messages": [{"role": "user", "text": "Hi"}, ANSWER]}, "empty_turn",
     "turn 1 (user) has no text, but `text`; write it as `content`"),
    ({"question": "a", "answer": "#NAME?"}, "schema", "answer: holds '#NAME?', an error of Excel"),
    ({"instruction": "a", "input": "#REF!", "output": "b"}, "schema", "input: holds '#REF!'"),
    ({"question": "a", "answer": "b", "system": "#N/A"}, "schema", "system: holds '#N/A'"),
    ({"messages": [USER, ANSWER], "System Prompt": "#REF!"}, "schema", "system: holds '#REF!'"),
    ({"prompt": [USER], "completion": [ANSWER], "documents": ["The tower is 324 m tall."]},
     "lost_text", "write it into the question; with `user` and `assistant` in data.columns"),
    ({"prompt": [USER], "completion": [ANSWER], "response": "x"}, "ambiguous",
     "keep one of them, or name those to read in data.columns"),
    ({"prompt": "a", "question": "b", "answer": "c"}, "ambiguous", "has `question`"),
    ({"instruction": "a", "output": "b", "response": "c"}, "ambiguous", "has `response`"),
    ({"question": "a", "input": "b", "context": "c", "answer": "d"}, "ambiguous", "has `context`"),
    ({"question": "a", "choices": ["b", "c"], "answer": "b"}, "lost_text", "has `choices`"),
    ({"question": "a", "passage": "b", "answer": "c"}, "lost_text", "as `input` in data.columns"),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference",
     "its keys are prompt, chosen, rejected: this looks like preference data"),
    ({"prompt": "a", "completion": "b", "label": False}, "preference", "has `label` False"),
    ({"instruction": "a", "chosen": "b"}, "preference", "DPO"),
    ({"messages": None}, "no_turns", "`messages` is null"),
    ({"conversations": None, "id": 3}, "no_turns", "`conversations` is null"),
    ({"a": None, "b": []}, "unknown_format", "holds nothing: a, b are empty"),
    ({}, "unknown_format", "is an empty object"),
    ({"prompt": None, "completion": "b"}, "empty_turn",
     "`prompt`, the question, is empty; `completion` has text"),
    ({"text": None, "label": "b"}, "empty_turn", "`text`, the question, is empty"),
    ({"prompt": "a", "response": "b", "response_b": "c", "preference": 0}, "preference",
     "has `response_b`"),
    ({"prompt": "a", "response": "b", "bad_output": "c"}, "preference", "has `bad_output`"),
    ({"prompt": "a", "response": "b", "desired": False}, "preference", "has `desired` False"),
    ({"prompt": "a", "response": "b", "completion_mask": [0, 1]}, "weight", "`completion_mask`"),
    ({"prompt": "a", "Response_A": "b", "Response_B": "c"}, "preference", "has no answer"),
    ({"prompt": "a", "response": "b", "bot_persona": "c"}, "lost_text", "has `bot_persona`"),
    ({"prompt": "a", "id": 1}, "unknown_format", "its keys are prompt, id: `prompt` looks like"),
    ({"answer": "a"}, "unknown_format", "`answer` looks like an answer"),
    ({"dialog": [USER, ANSWER]}, "unknown_format", "name it as `messages` in data.columns"),
    ({"role": "user", "content": "Hi"}, "unknown_format", "this looks like one turn"),
    ({"contents": [{"role": "user", "parts": []}]}, "unknown_format", "Gemini's format"),
    ({"x": "a", "y": "b"}, "unknown_format", "its keys are x, y"),
    ({"question": "a", "answer": [4]}, "schema", "answer: input should be a valid string; found"),
    ({"question": "a", "answer": 10**20}, "schema", "found 1e+20"),
    ({"question": "a", "answer": None}, "empty_turn", "turn 2 (gpt) has no text"),
    ({"question": "\u200b", "answer": "a"}, "empty_turn", "turn 1 (human) has no text"),
    ({"messages": "[{'role': 'user'}]"}, "schema", "this is written as Python"),
])  # fmt: skip
def test_what_is_refused_and_why(row, reason, part):
    found, message = rejected(row)
    assert found == reason and part in message


def test_other_columns_are_named_as_the_row_has_them():
    message = rejected({"Frage": [5], "antwort": "Hello"}, COLUMNS | {"user": "Frage"})[1]
    assert message == "Frage: input should be a valid string; found [5]; write it as text"


LOST = (
    "text article Paragraph code sql_context chat_history option_a Choice1 opa text2 aspect inputs "
    "input_text user_input ctx context_text additional_context chunks retrieved_docs "
    "source_documents text_b"
)


@pytest.mark.parametrize("name", LOST.split())
def test_a_part_of_the_question_is_not_lost(name):
    for row in ({"question": "Q", "answer": "R"}, {"text": "Q", "label": "R"}):
        row = {name: "The tower is 324 m tall."} | row
        if row[name] != "Q":
            reason, message = rejected(row)
            assert reason == "lost_text" and f"has `{name}`, which would be lost" in message
        assert checked(row | {name: row.get("question", "Q")}).turns == [
            ("human", "Q"),
            ("gpt", "R"),
        ]


def test_options_in_columns_of_one_letter():
    row = {"id": 0, "prompt": "Which is a star?", "A": "Mars", "B": "Sun", "answer": "B"}
    assert rejected(row)[0] == "lost_text"
    one = {"prompt": "Which is a star?", "A": "Mars", "answer": "B"}
    assert checked(one).ignored_keys == {"A"}


@pytest.mark.parametrize("text", ["[]", "{}", "[1]"])
def test_json_as_text_is_text(text):
    turns = [("human", f"How many?\n\n{text}"), ("gpt", text)]
    assert checked({"instruction": "How many?", "input": text, "output": text}).turns == turns
    assert checked({"question": "How many?", "context": text, "answer": text}).turns == turns
    assert checked({"query": text, "response": "A"}).turns == [("human", text), ("gpt", "A")]


@pytest.mark.parametrize("said", ["nano", "None of it", "No input?", "none", "n"])
def test_an_input_that_only_begins_like_an_empty_one_is_text(said):
    row = {"instruction": "Hi", "input": said, "output": "x"}
    assert checked(row).turns[0] == ("human", f"Hi\n\n{said}")


@pytest.mark.parametrize("row", [
    {"instruction": "Hi", "input": "null", "output": "null"},
    {"question": "Hi", "context": " null", "answer": "null"},
    {"instruction": "Hi", "input": "null", "context": "null", "response": "null"},
    {"text": "Hi", "label": "null", "input": "null"},
    {"instruction": "Hi", "input": "nan", "output": "null", "system": "N/A"},
    {"instruction": "Hi", "input": "<noinput>", "output": "null", "system_prompt": "NaN"},
    {"prompt": "Hi", "input": "No Input", "context": "null", "response": "null"},
    {"instruction": "Hi", "input": "N/A", "context": "NaN", "output": "null"},
])  # fmt: skip
def test_null_as_text_is_an_empty_input(row):
    assert checked(row).turns == [("human", "Hi"), ("gpt", "null")]
    named = {"q": "Hi", "c": "null", "a": "null"}
    columns = {"user": "q", "assistant": "a", "input": "c"}
    assert checked(named, columns).turns == [("human", "Hi"), ("gpt", "null")]


@pytest.mark.parametrize("value, text", [
    (4, "4"), (3.5, "3.5"), (True, "true"), (False, "false"), (0, "0"), (-1.5e-7, "-1.5e-07"),
])  # fmt: skip
def test_numbers_and_booleans_are_text_as_json_writes_them(value, text):
    row = {"instruction": "Which?", "input": value, "output": value}
    assert checked(row).turns == [("human", f"Which?\n\n{text}"), ("gpt", text)]
    assert checked({"question": value, "answer": "A"}).turns == [("human", text), ("gpt", "A")]


@pytest.mark.parametrize("data, name", [
    (b'{"prompt": NaN}', "NaN"), (b'{"a": [Infinity]}', "Infinity"), (b'{"a": -Infinity}', "-Inf"),
])  # fmt: skip
def test_numbers_that_are_not_json_are_named(data, name):
    with pytest.raises(Rejection, match=f"holds {name}.*write null"):
        check(data, "auto", ALLOWED)


def test_python_is_not_json():
    with pytest.raises(Rejection, match="is written as Python"):
        check(b"{'prompt': 'a'}", "auto", ALLOWED)
    with pytest.raises(Rejection, match="is not valid JSON"):
        check(b'{"text": "NaN"', "auto", ALLOWED)


word = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).map(
    lambda text: f"w {text} w".replace("<", "")
)
questions = st.sampled_from(["prompt", "question", "query", "instruction", "input", "Prompt"])
answers = st.sampled_from(["completion", "response", "answer", "output", "Answer"])


@settings(derandomize=True, deadline=None)
@given(questions, answers, word, word, st.none() | word, st.none() | word, st.booleans())
def test_every_text_of_a_row_is_in_its_conversation(question, answer, q, a, system, context, named):
    """Whatever the columns are called, each text is in the conversation, whole."""
    row, columns = {question: q, answer: a}, {}
    if named:
        row = {"q": q, "a": a}
        columns = {"user": "q", "assistant": "a", "system": "s", "input": "c"}
    row |= {"s" if named else "system": system, "c" if named else "context": context}
    turns = checked(row, columns).turns
    expected = [("system", system.strip())] if system else []
    asked = f"{q}\n\n{context}" if context else q
    assert turns == [*expected, ("human", asked.strip()), ("gpt", a.strip())]
