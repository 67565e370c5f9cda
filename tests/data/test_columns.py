"""Rows with a column for the question and one for the answer, whatever these are called."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check
from raw_rows import ALLOWED, ANSWER, TURN_PAIR, TURNS, USER, checked, rejected


@pytest.mark.parametrize("answer", [json.dumps(ANSWER), json.dumps([ANSWER]), ANSWER])
def test_turns_of_a_trace_as_json_text(answer):
    """Langfuse writes its traces so, to JSON and to CSV."""
    assert checked({"id": 1, "input": json.dumps([USER]), "output": answer}).turns == TURNS


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


@pytest.mark.parametrize("columns", [{}, {"messages": "conversation"}])
def test_turns_under_conversation_in_a_stated_format(columns):
    for turns in ([USER, ANSWER], TURN_PAIR, [{"human": "Hi", "assistant": "Hello"}]):
        for format in ("chatml", "sharegpt"):
            result = checked({"conversation": turns, "id": 1}, columns, format)
            assert (result.format, result.turns) == (format, TURNS)


@pytest.mark.parametrize("name", [
    "System Prompt", "system-prompt", "systemInstruction", "SYSTEMPROMPT", "sysMsg",
    "system.message", "pre_prompt", "developer_message",
])  # fmt: skip
def test_names_of_a_system_text(name):
    turns = [("system", "S"), *TURNS]
    assert checked({"messages": [USER, ANSWER], name: "S"}).turns == turns
    assert checked({"prompt": "Hi", "completion": "Hello", name: "S"}).turns == turns


@pytest.mark.parametrize("system", [
    [{"text": "Be brief."}], [{"type": "text", "text": "Be brief.", "cache_control": None}],
    [{"text": "Be"}, {"text": "brief."}], ["Be brief."],
    {"role": "system", "parts": [{"text": "Be brief."}]},
])  # fmt: skip
def test_a_system_text_in_parts(system):
    """As the interfaces of Anthropic, Bedrock and Gemini have it."""
    (role, text), *turns = checked({"system": system, "messages": [USER, ANSWER]}).turns
    assert (role, text.split(), turns) == ("system", ["Be", "brief."], TURNS)


@pytest.mark.parametrize("system", [
    [{"type": "image", "text": "x"}], [{"cachePoint": {"type": "default"}}], [3],
])  # fmt: skip
def test_a_system_text_in_other_parts_is_refused(system):
    reason, message = rejected({"system": system, "messages": [USER, ANSWER]})
    assert reason == "schema" and "system: input should be a valid string" in message


def gemini(*turns, **more):
    roles = ("user", "model")
    contents = [{"role": roles[n % 2], "parts": parts} for n, parts in enumerate(turns)]
    return {"contents": contents} | more


def test_contents_of_gemini():
    row = gemini([{"text": "H"}, {"text": "i"}], [{"text": "Hello"}])
    assert checked(row).turns == checked(row, {"messages": "contents"}).turns == TURNS
    assert checked(row | {"contents": json.dumps(row["contents"])}).turns == TURNS
    row |= {"systemInstruction": {"parts": [{"text": "Be brief."}]}}
    assert checked(row).turns == [("system", "Be brief."), *TURNS]
    one = {"contents": [{"role": "user", "parts": {"text": "Hi"}},
                        {"role": "model", "parts": {"text": "Hello"}}]}  # fmt: skip
    one |= {"system_instruction": {"parts": {"text": "Be brief."}}}
    assert checked(one).turns == [("system", "Be brief."), *TURNS]


def test_contents_of_gemini_as_its_python_library_writes_them():
    for parts in ("Hi", "Hello"), (["Hi"], ["Hello"]):
        assert checked(gemini(*parts)).turns == TURNS
        assert checked({"messages": gemini(*parts)["contents"]}).turns == TURNS


def test_contents_of_gemini_and_their_answer_as_named_columns():
    asked, said = gemini([{"text": "Hi"}])["contents"], {"role": "model", "parts": ["Hello"]}
    columns = {"user": "contents", "assistant": "answer"}
    for answer in ("Hello", [said]):
        row = {"contents": asked, "answer": answer, "system_instruction": {"parts": ["Be brief."]}}
        assert checked(row, columns).turns == [("system", "Be brief."), *TURNS]


def test_a_part_with_a_type_is_named_by_it():
    row = {"messages": gemini([{"type": "file", "url": "x"}], [{"text": "Hello"}])["contents"]}
    assert rejected(row)[1] == "turn 1 holds a part of type 'file', not text"


def test_contents_of_gemini_that_are_no_text_are_refused():
    image, call = [{"inlineData": {"data": "x"}}], [{"functionCall": {"name": "f", "args": {}}}]
    assert rejected(gemini(image, [{"text": "Hello"}])) == (
        "non_text_part",
        "turn 1 holds a part of type 'inlineData', not text",
    )
    assert rejected(gemini([{"text": "Hi"}], call))[0] == "non_text_part"
    thought = [{"text": "Hm", "thought": True}, {"text": "Hello"}]
    assert rejected(gemini([{"text": "Hi"}], thought))[0] == "reasoning"


def test_sys_is_a_system_text_if_it_is_more_than_a_word():
    rows = [{"messages": [USER, ANSWER], "sys": value} for value in ("Be brief.", "linux", 3)]
    found = [checked(row).turns for row in rows]
    assert found == [[("system", "Be brief."), *TURNS], TURNS, TURNS]


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
