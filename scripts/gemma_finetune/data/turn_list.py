"""Names of keys, and how to know the list of a conversation's turns, whatever key holds it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gemma_finetune.data.blank import is_missing, is_nothing

TURN_KEYS = frozenset("from role value content name tool_calls tool_call_id".split())


def is_turn_list(value: Any) -> bool:
    """Whether a value is a list of turns: objects, the first of them with a role."""
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(turn, dict) for turn in value):
        return False
    return any(known_name(key, TURN_KEYS) in ("from", "role") for key in value[0])


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
