"""What names and strings of tools, calls and responses may be."""

import re
from collections.abc import Iterator
from typing import Any

from gemma_finetune.config import find_control, find_function_piece
from gemma_finetune.data.rejection import Rejection

# What LiteRT-LM's grammar reads as a name; the words mean something else there.
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
RESERVED = frozenset(("call", "true", "false", "null"))
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_name(name: str, reason: str, what: str) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise Rejection(
            reason,
            f"{what} has the name {name[:40]!r}: a name is letters, digits, _ . and -, begins with "
            f"a letter or _, and is none of {', '.join(sorted(RESERVED))}",
        )


def check_case(names: dict, where: str) -> None:
    """Rejection for names that differ in case alone: templates sort without it."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Rejection(
                "tool",
                f"{where} has the names {other[:40]!r} and {name[:40]!r}, which differ in case "
                "alone: the template cannot order them",
            )


def check_strings(value: Any, where: str) -> None:
    """Rejection for a string or a key that holds a control piece or a control character."""
    for text in _strings(value):
        piece = find_control(text) or find_function_piece(text)
        if piece:
            raise Rejection(
                "control_token", f"{where} holds {piece}, which Gemma reads as a command"
            )
        if found := _CONTROL_CHARACTER.search(text):
            raise Rejection("control_character", f"{where} holds {found.group()!r}")


def _strings(value: Any) -> Iterator[str]:
    """All strings and keys of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)


def objects(value: Any) -> Iterator[dict]:
    """All objects in a JSON value, at every depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects(item)
