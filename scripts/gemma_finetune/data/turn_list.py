"""Names of keys, and how to know the list of a conversation's turns, whatever key holds it."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from gemma_finetune.data.blank import is_missing, is_nothing

AS_PYTHON = " written as Python: write it with json.dumps"
TURN_KEYS = frozenset("from role value content name tool_calls tool_call_id".split())

# Of turns in JSON text, which may also be data: `[{"from": "Berlin", "to": "Paris"}]`.
_CHAT_ROLES = frozenset("user system developer assistant gpt model ai bot chatbot tool".split())
_CHAT_TEXTS = frozenset(("content", "value", "tool_calls", "text", "parts"))
# TRL's names of columns that hold turns.
_PROMPT, _COMPLETIONS = "prompt", ("completion", "chosen")
# A list of turns, or of content parts, as Python prints it.
_PYTHON_TURNS = re.compile(
    r"\s*\[\{'(?:role|from)': '(?:system|user|human|assistant|gpt|model|tool)', "
    r"'(?:content|value)': .*\}\]\s*",
    re.DOTALL,
)
_PYTHON_PARTS = re.compile(
    r"\s*\[\{'type': '(?:text|image|thinking|reasoning|tool_use)', .*\}\]\s*", re.DOTALL
)


def is_turn_list(value: Any) -> bool:
    """Whether a value is a list of turns: objects, the first of them with a role."""
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(turn, dict) for turn in value):
        return False
    return any(known_name(key, TURN_KEYS) in ("from", "role") for key in value[0])


def unpacked(value: Any) -> Any:
    """The list that JSON text holds; other values as they are."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def is_python_turns(text: Any) -> bool:
    """Whether it is text of a list of turns, as Python prints it."""
    return isinstance(text, str) and _PYTHON_TURNS.fullmatch(text) is not None


def asks_in_python(turn: dict) -> bool:
    """Whether the content of a question is a list of parts, as Python prints it."""
    _, content = _said(turn)
    is_text = isinstance(content, str) and asks(turn)
    return is_text and _PYTHON_PARTS.fullmatch(content) is not None


def asks(turn: dict) -> bool:
    """Whether a raw turn is a question or a system text."""
    return _said(turn)[0] in ("user", "system")


def as_turns(question: Any, answer: Any, keys: Mapping[str, str]) -> tuple[Any, Any]:
    """Question and answer, each as a list of turns if it is one: a list, one object, or JSON text
    as in tables.

    JSON text may also be what the row is about. It is a list of turns if the other one is, too, if
    the answer repeats the question, or under TRL's names. keys: {field: key}.
    """
    asked, said = _listed(question), _listed(answer)
    if is_turn_list(asked) and is_turn_list(said):
        return asked, said

    is_prompt = keys.get("instruction") == _PROMPT and _ends_with_question(asked)
    if isinstance(question, str) and not is_prompt:
        asked = question
    is_completion = keys.get("output") in _COMPLETIONS and _begins_with_answer(said)
    if isinstance(answer, str) and not (is_completion or begins_with(said, asked)):
        said = answer
    return asked, said


def _listed(value: Any) -> Any:
    """A list of turns that is one object, or JSON text of a chat; other values as they are."""
    if isinstance(value, dict):
        return [value] if is_turn_list([value]) else value
    turns = unpacked(value)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        turns = unpacked(f"[{value}]")
    if turns is value or not is_turn_list(turns):
        return value
    return turns if all(map(_is_of_a_chat, turns)) else value


def _ends_with_question(turns: Any) -> bool:
    return is_turn_list(turns) and _said(turns[-1])[0] in ("user", "tool")


def _begins_with_answer(turns: Any) -> bool:
    return is_turn_list(turns) and _said(turns[0])[0] not in ("user", "system")


def _is_of_a_chat(turn: dict) -> bool:
    names = {known_name(key, TURN_KEYS) for key in turn}
    return _said(turn)[0] in _CHAT_ROLES and not _CHAT_TEXTS.isdisjoint(names)


def begins_with(turns: Any, question: Any) -> bool:
    """Whether a list of turns begins with those of the question, or has its text as the first
    user's turn.
    """
    if isinstance(question, str):
        question = [{"role": "user", "content": question}]
    if not is_turn_list(turns) or not is_turn_list(question):
        return False
    said = [_said(turn) for turn in turns]
    asked = [_said(turn) for turn in question]
    if said[0][0] == "system" and asked[0][0] != "system":
        said = said[1:]
    return said[: len(asked)] == asked


def asks_again(question: Any, answer: Any) -> bool:
    """Whether a list of turns ends, and the next one begins, with different words of the user."""
    if not is_turn_list(question) or not is_turn_list(answer):
        return False
    both = (_said(question[-1])[0], _said(answer[0])[0])
    return both == ("user", "user") and not begins_with(answer, question)


def _said(turn: dict) -> tuple[str, Any]:
    """Role and content of a raw turn; the user is `user` in every format."""
    names = {known_name(key, TURN_KEYS): value for key, value in turn.items()}
    role = str(names.get("role") or names.get("from")).strip().lower()
    role = "user" if role in ("human", "prompter") else role
    content = names.get("content") if names.get("content") is not None else names.get("value")
    return role, content.strip() if isinstance(content, str) else content


def known_name(key: str, names: frozenset[str]) -> str:
    """The name that a key stands for, in any case and with spaces around it; or the key."""
    if key in names:
        return key
    found = small(key)
    return found if found in names else key


@lru_cache(1000)
def small(key: str) -> str:
    """A key as the lists of known names have it: they hold in any case."""
    return key.strip().lower()


def renamed(row: dict, names: Mapping[str, str], texts: frozenset[str]) -> dict:
    """The row under other names: {key: name}. A name that holds something stays as it is, and the
    key that would have taken it, too: `extra_keys` refuses that key.

    texts: the names under which `"[]"` is text.
    """
    other = {key: name for key, name in names.items() if name != key}
    result = {key: value for key, value in row.items() if key not in other}
    for key, name in other.items():
        value = result.get(name)
        is_text = name in texts and isinstance(value, str)
        is_free = is_missing(value) if is_text else is_nothing(value)
        result[name if is_free else key] = row[key]
    return result
