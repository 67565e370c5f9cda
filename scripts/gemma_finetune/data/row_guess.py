"""What a row may be that is in no format, for the person who has to mend it."""

from collections.abc import Iterable
from itertools import accumulate

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.exchanges import is_exchange_list, is_text_list, is_transcript
from gemma_finetune.data.preferences import is_second_answer
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.turn_list import is_turn_list, small, unpacked

MOST_KEYS = 12  # names that a message lists, and the characters in all of them:
LONGEST_LIST = 70

AS_TURNS = "write its turns as `messages` with `role` and `content`"
TEXT_LIST = (
    "a list of texts; if they are the user's and the assistant's in turn, name it as `messages` in "
    "data.columns"
)
ADVICE = "name the columns in data.columns: {user: the question's, assistant: the answer's}"
# The first key that a row has says what it looks like.
LOOKS = {
    "truncated_cells": "the viewer of Hugging Face cut its cells; fetch the dataset's own files",
    "role": "this looks like one turn; a row must hold a whole conversation",
    "from": "this looks like one turn; a row must hold a whole conversation",
    "contents": "this looks like Gemini's format; a row needs `messages` with `role` and `content`",
    "mapping": "this looks like an export of ChatGPT; a row needs `messages`",
    "text": f"this looks like plain text; if another column holds its answer, {ADVICE}",
}


def unknown_format(row: dict, question: str | None, answer: str | None) -> Rejection:
    """The rejection of a row in no format. question, answer: its columns of these, if any."""
    keys = listed(row)
    if not row:
        return Rejection("unknown_format", "is an empty object")
    if _has_preferences(row):
        return Rejection(
            "preference",
            f"has no answer: its keys are {keys}: this looks like preference data (DPO); "
            "keep the better answer under `completion`, or name it in data.columns",
        )
    for key, value in row.items():
        if small(key) in ("conversations", "messages") and value is None:
            return Rejection("no_turns", f"`{key}` is null: the row holds no conversation")
    if question and answer and not is_nothing(row[answer]):
        return Rejection("empty_turn", f"`{question}`, the question, is empty; `{answer}` has text")
    if all(map(is_nothing, row.values())):
        return Rejection("unknown_format", f"holds nothing: {keys} are empty")

    return Rejection("unknown_format", f"its keys are {keys}: {_guess(row, question, answer)}")


def _guess(row: dict, question: str | None, answer: str | None) -> str:
    for key, value in row.items():
        if small(key) == "tools" and _are_objects(unpacked(value)):
            return "rows with functions need `messages`, with the calls in `tool_calls`"
        if isinstance(value, dict) and is_turn_list(value.get("messages")):
            return f"`{key:.40}` holds `messages`; a row needs them at its top"
        if is_transcript(value):
            return f"`{key:.40}` is a whole chat in one text; {AS_TURNS}"
    for key in filter(None, (question, answer)):
        if isinstance(row[key], dict):
            return f"`{key}` is an object, not a text; {AS_TURNS}"
    if question:
        return f"`{question}` looks like a question, but no key like its answer; {ADVICE}"
    if answer:
        return f"`{answer}` looks like an answer, but no key like its question; {ADVICE}"
    names = set(map(small, row))
    for name, look in LOOKS.items():
        if name in names:
            return look
    if len(row) > 1 and all(map(is_turn_list, row.values())):
        return 'each is a list of turns; write one row for each: {"messages": […]}'
    if len(row) > 1 and all(isinstance(value, dict) for value in row.values()):
        return "each is an object; if these are the rows, write each on its own line"
    for key, value in row.items():
        value = unpacked(value)
        if is_turn_list(value) or is_exchange_list(value):
            return f"`{key:.40}` is a list of turns; name it as `messages` in data.columns"
        if is_text_list(value) and any(" " in text for text in value):
            return f"`{key:.40}` is {TEXT_LIST}, else {ADVICE}"
    for key, value in row.items():
        if _are_objects(value):
            return f"`{key:.40}` is a list of objects; if it is a chat, {AS_TURNS}, else {ADVICE}"
    if len(row) > 1 and any(map(_is_sentence, row)):
        return f"if the first line is a row, write the names of the columns above it; else {ADVICE}"
    return f"no format has these; {ADVICE}"


def _is_sentence(key: str) -> bool:
    return len(key.split()) > 2 and key.rstrip().endswith((".", "?", "!"))


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def missing(key: str, row: dict, detected: str | None) -> Rejection:
    """The rejection of a row that lacks a key of its format. detected: the format it looks like."""
    if _has_preferences(row):
        return unknown_format(row, None, None)
    guess = f"this looks like {detected or 'no format'}; see data.format and data.columns"
    if key == "output" and detected == "alpaca":
        guess = "this looks like alpaca without its answer"
        if held := next((name for name, value in row.items() if _holds_answers(value)), None):
            guess = f"`{held:.40}` holds its answers; write a row for each of them"
    return Rejection("schema", f"{key}: field required; the row's keys are {listed(row)}: {guess}")


def _holds_answers(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and "output" in item for item in items)


def _has_preferences(row: dict) -> bool:
    return any(is_second_answer(key, value) and not is_nothing(value) for key, value in row.items())


def listed(keys: Iterable[str]) -> str:
    """Names of keys, as a message lists them."""
    keys = list(keys)
    names = [(key if key.isprintable() else ascii(key))[:40] for key in keys[:MOST_KEYS]]
    lengths = accumulate(map(len, names))
    shown = names[: sum(length <= LONGEST_LIST for length in lengths)]
    more = ", …" if len(shown) < len(keys) else ""
    return ", ".join(shown) + more
