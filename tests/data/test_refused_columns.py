"""Rows that are refused for their keys, and what the message says."""

import pytest

from raw_rows import ANSWER, TURN_PAIR, USER, checked, rejected


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
     "conversations: is a list of texts; if they are the user's and the assistant's in turn, name"),
    ({"id": 1, "data": ["How is it?", "Good."], "tags": []}, "unknown_format",
     "`data` is a list of texts; if they are the user's and the assistant's in turn, name it as"),
    ({"system": "S", "chat": "USER: Hi\n\n\nASSISTANT: Hello\n\n"}, "unknown_format",
     "`chat` is a whole chat in one text; write its turns as `messages`"),
    ({"text": "<human>: Hi\n<bot>: Hello", "metadata": {}}, "unknown_format", "whole chat in one"),
    ({"chat": {"messages": [USER, ANSWER]}, "id": 1}, "unknown_format",
     "`chat` holds `messages`; a row needs them at its top"),
    ({"prompt": {"text": "Hi", "replies": []}}, "unknown_format", "`prompt` is an object, not a"),
    ({"input": {"messages": [USER], "tools": [1]}, "output": ANSWER}, "schema",
     "input: is an object, not a text; write its turns as `messages`"),
    ({"instruction": "Hi", "instances": [{"input": "", "output": "Hello"}]}, "schema",
     "`instances` holds its answers; write a row for each of them"),
    ({"query": "Hi", "answers": "[]", "tools": [{"name": "a"}]}, "unknown_format",
     "rows with functions need `messages`, with the calls in `tool_calls`"),
    ({"Query": "Hi", "Tools": '[{"name": "a"}]'}, "unknown_format", "rows with functions need"),
    ({"question": "How?", "tools": ["a saw"], "steps": "Cut."}, "unknown_format",
     "`question` looks like a question, but no key like its answer"),
    ({"Text": "Great", "Stars": 5}, "unknown_format",
     "its keys are Text, Stars: this looks like plain text"),
    ({"messages": [USER], "answer": "Hello"}, "ambiguous",
     "has `answer` beside turns that end with a question; if it is the answer, name both"),
    ({"Context": "Hi", "Response": "Hello"}, "unknown_format",
     "its keys are Context, Response: `Response` looks like an answer, but no key"),
    ({"Prompt": "Hi", "Ideal Response": "Hello"}, "unknown_format",
     "its keys are Prompt, Ideal Response: `Prompt` looks like a question, but no key"),
    ({"conversations": ["Hi"]}, "schema",
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
     "`chat_messages` is a list of objects; if it is a chat, write its turns as `messages`"),
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
    ({"Messages": None, "id": 3}, "no_turns", "`Messages` is null"),
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
    ({"contents": [{"parts": [{"text": "Hi"}]}]}, "unknown_format", "Gemini's format"),
    ({"x": "a", "y": "b"}, "unknown_format", "its keys are x, y"),
    ({"What is the time there?": "Is it late?", "It is noon.": "Yes."}, "unknown_format",
     "if the first line is a row, write the names of the columns above it; else name the columns"),
    ({"question": "a", "answer": [4]}, "schema", "answer: input should be a valid string; found"),
    ({"question": "a", "answer": 10**20}, "schema", "found 1e+20"),
    ({"question": "a", "answer": None}, "empty_turn", "turn 2 (gpt) has no text"),
    ({"question": "\u200b", "answer": "a"}, "empty_turn", "turn 1 (human) has no text"),
    ({"messages": "[{'role': 'user'}]"}, "schema", "this is written as Python"),
])  # fmt: skip
def test_what_is_refused_and_why(row, reason, part):
    found, message = rejected(row)
    assert found == reason and part in message


def test_many_keys_leave_room_for_the_advice():
    advice = "name the columns in data.columns: {user: the question's, assistant: the answer's}"
    message = rejected({f"a_long_name_of_a_key_{number}": "a" for number in range(20)})[1]
    assert message.endswith(advice)
    message = rejected({"\u200b" * 40: "a", "b": "c"})[1]
    assert message.startswith(r"its keys are '\u200b\u200b") and message.endswith(advice)


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
