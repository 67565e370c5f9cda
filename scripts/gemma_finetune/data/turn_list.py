"""How to know the list of a conversation's turns, whatever key of a row holds it."""

from typing import Any

TURN_KEYS = frozenset(("from", "role", "value", "content"))


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
    small = key.strip().lower()
    return small if small in names else key
