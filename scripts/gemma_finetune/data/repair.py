"""The rules of a conversation: what is repaired if `data.repairs` allows it, and what is rejected.

A valid conversation is an optional system text, then human and gpt in turn. Human speaks first and
gpt last. Every text is trimmed, not empty, and free of control characters and of Gemma's control
pieces.
"""

import re
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter

from gemma_finetune.config import find_control
from gemma_finetune.data.converter import Turns
from gemma_finetune.data.rejection import Rejection

# Each repair, and the reason a row is rejected for where the repair is not allowed:
# - trim removes white space around a text, as Gemma's template does anyway, and empty system texts;
# - merge_turns joins neighbours of the same role into one text, with a blank line between them;
# - drop_trailing_user removes a last question that has no answer to learn from.
REPAIRS = {
    "trim": "outer_space",
    "merge_turns": "same_role_twice",
    "drop_trailing_user": "no_answer",
}
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def repair(turns: Turns, allowed: Collection[str]) -> tuple[Turns, list[str]]:
    """Valid turns, and the names of the repairs that were needed.

    Rejection if a repair is needed that is not allowed, or if the repairs are not enough.
    """
    steps = (("trim", _trim), ("merge_turns", _merge), ("drop_trailing_user", _drop_trailing_user))
    done = []
    for name, step in steps:
        repaired = step(turns)
        if repaired != turns:
            if name not in allowed:
                raise Rejection(
                    REPAIRS[name], f"needs the repair `{name}`, which data.repairs does not allow"
                )
            done.append(name)
        turns = repaired
        if name == "trim":  # before texts are joined
            _check_texts(turns)
    _check_order(turns)
    return turns, done


def _trim(turns: Turns) -> Turns:
    trimmed = [(role, text.strip()) for role, text in turns]
    return [(role, text) for role, text in trimmed if text or role != "system"]


def _merge(turns: Turns) -> Turns:
    merged = []
    for role, group in groupby(turns, key=itemgetter(0)):
        texts = [text for _, text in group]
        if role != "system":
            texts = ["\n\n".join(texts)]
        merged += [(role, text) for text in texts]
    return merged


def _drop_trailing_user(turns: Turns) -> Turns:
    return turns[:-1] if turns and turns[-1][0] == "human" else turns


def _check_texts(turns: Turns) -> None:
    for number, (role, text) in enumerate(turns, 1):
        if not text:
            raise Rejection("empty_turn", f"turn {number} ({role}) has no text")
        if found := _CONTROL_CHARACTER.search(text):
            raise Rejection("control_character", f"turn {number} ({role}) holds {found.group()!r}")
        if piece := find_control(text):
            raise Rejection(
                "control_token",
                f"turn {number} ({role}) holds {piece}, which Gemma reads as a command",
            )


def _check_order(turns: Turns) -> None:
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
