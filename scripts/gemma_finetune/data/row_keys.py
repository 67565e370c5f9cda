"""Which keys of a raw row mean what, and which format a row is in by them.

    {"Question": "…", "Response": "…", "fold": "dev"}  ->  the columns of a question, an answer, …

What a row of no format may be instead is said by `row_guess`.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeGuard

from gemma_finetune.data.blank import is_missing, is_missing_input, is_nothing
from gemma_finetune.data.exchanges import is_exchange_list, texts_in_turn
from gemma_finetune.data.key_words import words
from gemma_finetune.data.row_guess import unknown_format
from gemma_finetune.data.turn_list import is_turn_list, known_name, renamed, small, unpacked

# The columns of a question, of an answer, and of a text that belongs to the question. In rows with
# several of a kind the first that holds something counts; `extra_keys` refuses the others unless
# they repeat what is read.
QUESTIONS = ("instruction", "prompt", "question", "query")
ANSWERS = ("output", "completion", "response", "answer")
INPUTS = ("input", "context")

CONVERSATIONS = {"conversations": "sharegpt", "messages": "chatml"}
LISTS = (*CONVERSATIONS, "history")
COLUMNS = frozenset((*QUESTIONS, *ANSWERS, *INPUTS))
TEXT_KEYS = COLUMNS | {"system"} | frozenset(LISTS)
ROW_KEYS = TEXT_KEYS | {"text", "label", "split", "tools"}
# The words of a system text's key, written together: `systemPrompt`, `sys`, `System Message`.
_SYSTEM = re.compile(
    "sys(tem)?(prompt|message|msg|instructions?|text|content)?|preprompt"
    "|developer(prompt|message|instructions?)"
)

Columns = Mapping[str, str]  # `data.columns`: {user, assistant, input, system, split, messages}
NO_COLUMNS: Columns = {}
Holds = Callable[[str], bool]  # whether a row holds something under a key


def prepare(row: dict, columns: Columns = NO_COLUMNS) -> dict:
    """The row under the names that this module knows.

    A column that `data.columns` names for system, split or messages takes that name; known keys in
    capitals get small letters, and all names of a system text become `system`; a list that a table
    holds as JSON text becomes a list. A list of turns under `conversation`, or Gemini's `contents`,
    becomes `messages`.
    """
    if "_task_hash" in row and "answer" not in columns.values():
        row = _without_prodigys_answer(row)
    prepared = renamed(row, {key: _own_name(key, row[key], columns) for key in row}, COLUMNS)
    for key in LISTS:
        if key in prepared:
            prepared[key] = unpacked(prepared[key])
    if columns.get("messages") in row and "messages" in prepared:
        prepared["messages"] = texts_in_turn(prepared["messages"])
    elif not (is_named_pair(row, columns) or any(map(prepared.get, CONVERSATIONS))):
        _take_conversation(prepared)
    _take_contents(prepared, columns)
    return prepared


def _without_prodigys_answer(row: dict) -> dict:
    """The row; a person's answer in Prodigy, whether a row is good, gets a name of its own."""
    if row.get("answer") not in ("accept", "reject", "ignore"):
        return row
    return {"prodigy_answer" if key == "answer" else key: row[key] for key in row}


def _take_conversation(prepared: dict) -> None:
    """Writes the list of turns under `conversation`, the first of that name, as `messages`."""
    for key, value in prepared.items():
        turns = unpacked(value) if small(key) == "conversation" else None
        if is_turn_list(turns) or is_exchange_list(turns):
            del prepared[key]
            prepared["messages"] = turns
            return


def _take_contents(prepared: dict, columns: Columns) -> None:
    """Writes Gemini's list of turns, `[{"role": "user", "parts": [{"text": "Hi"}]}]`, as `messages`
    with content parts, and its system text as these. A named question or answer keeps its key.
    """
    system = prepared.get("system")
    if isinstance(system, dict) and _has_parts(system):
        prepared["system"] = _parts_of(system)
    if is_named_pair(prepared, columns):
        for key in (columns["user"], columns["assistant"]):
            if _are_contents(prepared[key]):
                prepared[key] = _with_content(prepared[key])
        return
    key = "messages" if "messages" in prepared else "contents"
    turns = unpacked(prepared.get(key))
    if any(prepared.get(name) for name in CONVERSATIONS if name != key):
        return
    if _are_contents(turns):
        del prepared[key]
        prepared["messages"] = _with_content(turns)


def _are_contents(turns: object) -> TypeGuard[list[dict]]:
    if not isinstance(turns, list) or not is_turn_list(turns):
        return False
    return all(turn.keys() == {"role", "parts"} and _has_parts(turn) for turn in turns)


def _with_content(turns: list[dict]) -> list[dict]:
    return [
        {"role": turn["role"], "content": list(map(_as_part, _parts_of(turn)))} for turn in turns
    ]


def _has_parts(turn: dict) -> bool:
    return isinstance(turn.get("parts"), list | dict | str)


def _parts_of(turn: dict) -> list:
    return turn["parts"] if isinstance(turn["parts"], list) else [turn["parts"]]


def _as_part(part: object) -> object:
    """A part of Gemini as a content part: other parts than text are named by their one key."""
    if isinstance(part, str):
        return {"text": part}
    if not isinstance(part, dict) or "text" in part or "type" in part or not part:
        return part
    return {"type": next(iter(part))}


def _own_name(key: str, value: object, columns: Columns) -> str:
    """The name that this module has for a key; other keys have their own."""
    if key not in columns.values():
        name = known_name(key, ROW_KEYS)
        return "system" if name not in ROW_KEYS and holds_system(key, value) else name
    fields = [field for field in ("system", "split", "messages") if columns.get(field) == key]
    return fields[0] if fields else key


@lru_cache(10_000)
def is_system(key: str) -> bool:
    """Whether a key is a name of a system text."""
    return _SYSTEM.fullmatch("".join(words(key))) is not None


def holds_system(key: str, value: object) -> bool:
    """Whether a key holds a system text; `sys` may also hold the name of a platform, one word."""
    is_short = words(key) == ("sys",)
    return is_system(key) and not (is_short and len(str(value).split()) < 2)


def detect(row: dict, columns: Columns = NO_COLUMNS, raw: dict | None = None) -> str:
    """The format of a prepared row, by its keys. Rejection says what the row looks like.

    raw: the row before `prepare`, whose names of keys the message has.
    """
    if is_named_pair(row, columns):
        return "columns"

    # A table made of several sources has the columns of all of them, most of them empty.
    def is_full(key: str) -> bool:
        return not is_empty(key, row.get(key))

    for holds in (is_full, lambda key: row.get(key) is not None):
        found = _detect(row, holds)
        if found:
            return found
    question, answer = _question_and_answer(row)
    if not (question or answer) and {"text", "label"} <= row.keys():
        question, answer = "text", "label"
    if raw is None:
        raise unknown_format(row, question, answer)
    own: dict[str | None, str] = {_own_name(key, raw[key], columns): key for key in raw}
    raise unknown_format(raw, own.get(question), own.get(answer))


def is_empty(name: str, value: object) -> bool:
    """Whether a key of a row with columns holds nothing. In columns of text, `"[]"` is text."""
    if name in INPUTS:
        return is_missing_input(value)
    return is_missing(value) if name in COLUMNS else is_nothing(value)


def _detect(row: dict, holds: Holds) -> str | None:
    for key, format in CONVERSATIONS.items():
        if holds(key):
            return format
    question, answer = _question_and_answer(row)
    if question and holds(question):
        if row.get("instruction") is not None and answer in ("output", None):
            return "alpaca"
        return "columns" if answer else None
    if holds("text"):
        if _is_labelled_text(row):
            return "columns"
        return None if _is_plain_text(row["text"]) and len(row) > 1 else "chatml"
    return None


def is_named_pair(row: dict, columns: Columns) -> bool:
    """Whether `data.columns` names the question and the answer of this row."""
    return columns.get("user") in row and columns.get("assistant") in row


def used_columns(row: dict, format: str, columns: Columns) -> Columns:
    """The names of `data.columns` that a raw row has; `user` and `assistant` only together."""
    used = {name: key for name, key in columns.items() if key in row}
    if format == "columns" and {"user", "assistant"} <= used.keys():
        return used
    return {name: key for name, key in used.items() if name not in ("user", "assistant")}


def pair_keys(row: dict, format: str, columns: Columns) -> dict[str, str]:
    """{field of Alpaca: the row's key for it}, for the fields that the row has."""
    if format == "columns" and is_named_pair(row, columns):
        # Only the named columns are read.
        fields = {"instruction": "user", "output": "assistant", "input": "input"}
        keys = {field: columns.get(name) for field, name in fields.items()}
        return {field: key for field, key in keys.items() if key in row and key is not None}

    question, answer = _question_and_answer(row)
    if format == "alpaca":
        question, answer = "instruction", "output"
    elif not (question and answer) and _is_labelled_text(row):
        question, answer = "text", "label"
    inputs = (columns["input"],) if "input" in columns else _inputs(row)
    full = [key for key in inputs if key != question and not is_missing_input(row.get(key))]
    text = full[0] if full else None
    keys = {"instruction": question, "input": text, "output": answer, "history": "history"}
    return {field: key for field, key in keys.items() if key in row and key is not None}


def _inputs(row: dict) -> tuple[str, ...]:
    """The columns that may be the input. A number in `context` counts or names something."""
    is_number = isinstance(row.get("context"), int | float)
    return ("input",) if is_number else INPUTS


def _question_and_answer(row: dict) -> tuple[str | None, str | None]:
    """The columns of the question and of the answer: the first of each that hold something.

    A column that holds nothing if there is no better one; None if there is none.
    """
    question = _first_full(row, (*QUESTIONS, "input")) or _first(row, (*QUESTIONS, "input"))
    answer = _first_full(row, ANSWERS) or _first(row, ANSWERS)
    if row.get("instruction") is not None:  # Alpaca's, with an empty instruction too
        question = "instruction"
    return question, answer


def _first_full(row: dict, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if not is_missing(row.get(key))), None)


def _first(row: dict, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in row), None)


def _is_labelled_text(row: dict) -> bool:
    """Whether the row is a text to be classified and its label, not `<|im_start|>` text."""
    return row.get("label") is not None and _is_plain_text(row.get("text"))


def _is_plain_text(text: object) -> bool:
    return isinstance(text, str) and not text.lstrip().startswith("<|im_start|>")
