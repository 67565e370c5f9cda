"""Turns that are not written as objects with roles: as exchanges, or as texts alone.

[{"human": "Hi", "assistant": "Hello"}]  as Firefly has it; XTuner has input, output and system
["Hi", "Hello"]                          as LIMA has it: the user and the assistant in turn
"""

import re
from typing import Any

from gemma_finetune.data.roles import role_of
from gemma_finetune.data.turn_list import small

_QUESTIONS = frozenset("instruction prompt question query input".split())
_ANSWERS = frozenset("output completion response answer".split())
# The name of a speaker with a mark after it, as in `### Human: `, `<bot>`, `[|AI|]` and `USER: `.
_ASKER = re.compile(r"(?:^|\W)(?:human|user|prompter)\W{0,3}[:>\]]", re.IGNORECASE)
_ANSWERER = re.compile(r"(?:^|\W)(?:assistant|ai|bot|gpt|model)\W{0,3}[:>\]]", re.IGNORECASE)


def as_turn_list(turns: list) -> list:
    """The turns of a list of exchanges; other lists as they are."""
    found: list = []
    for item in turns:
        exchange = _exchange(item)
        if exchange is None:
            return turns
        found += exchange
    return found


def is_exchange_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and as_turn_list(value) is not value


def _exchange(item: Any) -> list[dict] | None:
    """The turns of one exchange: a question, its answer, and maybe a system text before them."""
    if not isinstance(item, dict) or "role" in item or "from" in item:
        return None
    full = {small(key): text for key, text in item.items() if text is not None}
    system = full.pop("system", None)
    asked = [name for name in full if name in _QUESTIONS or role_of(name) == "human"]
    said = [name for name in full if name in _ANSWERS or role_of(name) == "gpt"]
    if len(asked) != 1 or len(said) != 1 or len(full) != 2:
        return None
    turns = [{"role": "user", "content": full[asked[0]]}]
    turns.append({"role": "assistant", "content": full[said[0]]})
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def texts_in_turn(value: Any) -> Any:
    """A list of texts as turns, of which the user's come first; other values as they are."""
    if not is_text_list(value):
        return value
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(value)]


def is_text_list(value: Any) -> bool:
    """Whether a value is a list of plain texts that do not say who speaks, nor hold JSON."""
    if not isinstance(value, list) or len(value) < 2:
        return False
    if not all(isinstance(text, str) for text in value):
        return False
    first = value[0].lstrip()
    speaker = first.lstrip("#<[|* ")
    return not (first.startswith("{") or _ASKER.match(speaker) or _ANSWERER.match(speaker))


def is_transcript(value: Any) -> bool:
    """Whether a value is a whole chat in one text, with the speakers' names in it."""
    if not isinstance(value, str) or value.lstrip().startswith(("{", "[{")):
        return False
    return bool(_ASKER.search(value) and _ANSWERER.search(value))
