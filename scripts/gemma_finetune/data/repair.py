"""The rules of a conversation: what is mended, if `data.repairs` allows it, and what no repair can
mend.

A valid conversation is an optional system text, then human and gpt in turn, human first and gpt
last, every text trimmed and not empty, and free of control characters and of Gemma's control
pieces.
"""

import re
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter

from gemma_finetune.config import find_control
from gemma_finetune.data.rejection import Rejection

Turns = list[tuple[str, str]]

# What each repair is for, and the reason a row is rejected for where the repair is not allowed.
REPAIRS = {
    "trim": "outer_space",  # white space around a text, which Gemma's template trims anyway; an empty system text
    "merge_turns": "same_role_twice",  # neighbours of the same role become one text, a blank line between
    "drop_trailing_user": "no_answer",  # a last question without an answer has nothing to learn from
}
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def repair(turns: Turns, allowed: Collection[str]) -> tuple[Turns, list[str]]:
    """Valid turns and the names of the repairs it took. Rejection where a repair is not allowed or
    not enough.
    """
    steps = (("trim", _trim), ("merge_turns", _merge), ("drop_trailing_user", _drop_trailing_user))
    done = []
    for name, step in steps:
        mended = step(turns)
        if mended != turns:
            if name not in allowed:
                raise Rejection(
                    REPAIRS[name], f"needs the repair `{name}`, which data.repairs does not allow"
                )
            done.append(name)
        turns = mended
        if name == "trim":
            _check_texts(turns)
    _check_order(turns)
    return turns, done


def _trim(turns):
    return [(role, text.strip()) for role, text in turns if role != "system" or text.strip()]


def _merge(turns):
    merged = []
    for role, group in groupby(turns, key=itemgetter(0)):
        texts = [text for _, text in group]
        merged += (
            [(role, text) for text in texts] if role == "system" else [(role, "\n\n".join(texts))]
        )
    return merged


def _drop_trailing_user(turns):
    return turns[:-1] if turns and turns[-1][0] == "human" else turns


def _check_texts(turns):
    for number, (role, text) in enumerate(turns, 1):
        if not text:
            raise Rejection("empty_turn", f"turn {number} ({role}) has no text")
        if found := _CONTROL_CHARACTER.search(text):
            raise Rejection("control_character", f"turn {number} ({role}) holds {found.group()!r}")
        if found := find_control(text):
            raise Rejection(
                "control_token",
                f"turn {number} ({role}) holds {found}, which Gemma reads as a command",
            )


def _check_order(turns):
    for number, (role, _) in enumerate(turns, 1):
        if role == "system" and number > 1:
            raise Rejection(
                "system_inside", f"turn {number} is a system text; only the first may be"
            )
    roles = [role for role, _ in turns if role != "system"]
    if not roles:
        raise Rejection("no_turns", "has no question with an answer")
    if roles[0] != "human":
        raise Rejection(
            "starts_with_gpt", "starts with the assistant; a conversation starts with the user"
        )
