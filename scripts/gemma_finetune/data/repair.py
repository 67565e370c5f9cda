"""The rules of a conversation: what is repaired if `data.repairs` allows it, and what is rejected.

A valid conversation is an optional system text, then human and gpt in turn. Human speaks first and
gpt last. Between them there may be calls and their responses, any number of times, and a call may
be last. Every text is trimmed, not empty, and free of control characters and of Gemma's control
pieces.
"""

import re
from collections.abc import Collection, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

from gemma_finetune.config import find_control
from gemma_finetune.data.blank import is_blank
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import ANSWERS, CALLS, UNTRAINED, UNTRAINED_CALL, Turns, count_turns

# Each repair, and the reason a row is rejected for where the repair is not allowed:
# - line_breaks writes \r\n and \r as \n, also where Excel has `_x000D_` for \r;
# - trim removes white space around a text, as Gemma's template does anyway, and empty system texts;
# - join_system joins system texts at the start into one, with a blank line between them;
# - cut_at_empty ends a conversation before the question that has an empty answer;
# - merge_turns joins neighbours of the same role into one text, with a blank line between them;
# - drop_leading_assistant removes answers before the first question;
# - drop_trailing_user removes a last question, or last responses, with no answer to learn from.
REPAIRS = {
    "line_breaks": "carriage_return",
    "trim": "outer_space",
    "join_system": "system_twice",
    "cut_at_empty": "empty_turn",
    "merge_turns": "same_role_twice",
    "drop_leading_assistant": "starts_with_gpt",
    "drop_trailing_user": "no_answer",
}
# For text that is trained on, calls that are not, and the other way round: one message cannot be.
_CALL_APART = {"gpt": UNTRAINED_CALL, UNTRAINED: "function_call"}
_EXCEL_CR = "_x000D_"
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def repair(
    turns: Turns, allowed: Collection[str], numbers: Sequence[int] | None = None
) -> tuple[Turns, list[str]]:
    """Valid turns, and the names of the repairs that were needed.

    numbers: of the turns in the row's own list; by default each is a message of its own.
    Rejection if a repair is needed that is not allowed, or if the repairs are not enough.
    """
    if numbers is None:
        numbers = count_turns(turns)
    # Until texts are joined, turns are only removed at the end, and system texts at the start.
    named = [number for number, (role, _) in zip(numbers, turns, strict=True) if role != "system"]
    done: list[str] = []
    for name, step in _STEPS.items():
        repaired = step(turns)
        if repaired != turns:
            if name not in allowed:
                raise _not_allowed(name, turns, named)
            done.append(name)
        turns = repaired
        if name == "cut_at_empty":  # before texts are joined
            _check_texts(turns, named)
    _check_order(turns)
    return turns, done


def _not_allowed(name: str, turns: Turns, named: Sequence[int]) -> Rejection:
    message = f"needs the repair `{name}`, which data.repairs does not allow"
    if name == "cut_at_empty":
        empty = _place(turns, _first_empty_answer(turns), named)
        message = f"{empty} has no text; `{name}` in data.repairs would keep what is before it"
    if name == "drop_leading_assistant":
        message = f"starts with the assistant; `{name}` in data.repairs would remove this answer"
    return Rejection(REPAIRS[name], message)


def _unify_line_breaks(turns: Turns) -> Turns:
    if not any("\r" in text or f"{_EXCEL_CR}\n" in text for _, text in turns):
        return turns
    unified = []
    for role, text in turns:
        text = text.replace("\r\n", "\n").replace(f"{_EXCEL_CR}\n", "\n")
        unified.append((role, text.replace("\r", "\n")))
    return unified


def _trim(turns: Turns) -> Turns:
    trimmed = [(role, text.strip()) for role, text in turns]
    return [(role, text) for role, text in trimmed if role != "system" or not is_blank(text)]


def _join_system(turns: Turns) -> Turns:
    count = 0
    while count < len(turns) and turns[count][0] == "system":
        count += 1
    if count < 2:
        return turns
    texts = dict.fromkeys(text for _, text in turns[:count])  # the same text twice is one
    return [("system", "\n\n".join(texts)), *turns[count:]]


def _cut_at_empty(turns: Turns) -> Turns:
    end = _first_empty_answer(turns)
    while 0 < end < len(turns) and turns[end - 1][0] == "human":
        end -= 1
    kept = turns[:end]
    # Where the first answer is empty nothing would be left, and the answer is to be named.
    return kept if any(role in (*ANSWERS, *CALLS) for role, _ in kept) else turns


def _first_empty_answer(turns: Turns) -> int:
    """The place of the first answer without text, or the number of turns."""
    for number, (role, text) in enumerate(turns):
        if role in ANSWERS and is_blank(text):
            return number
    return len(turns)


def _merge(turns: Turns) -> Turns:
    merged = []
    for role, group in groupby(turns, key=itemgetter(0)):
        texts = [text for _, text in group]
        if role != "system":
            texts = ["\n\n".join(texts)]
        merged += [(role, text) for text in texts]
    return merged


def _drop_leading_assistant(turns: Turns) -> Turns:
    system = turns[:1] if turns and turns[0][0] == "system" else []
    rest = turns[len(system) :]
    while rest and rest[0][0] in ANSWERS:
        rest = rest[1:]
    return system + rest if rest else turns


def _drop_trailing_user(turns: Turns) -> Turns:
    end = len(turns)
    while end and turns[end - 1][0] in ("human", "observation"):
        end -= 1
    return turns[:end]


_STEPS = {
    "line_breaks": _unify_line_breaks,
    "trim": _trim,
    "join_system": _join_system,
    "cut_at_empty": _cut_at_empty,
    "merge_turns": _merge,
    "drop_leading_assistant": _drop_leading_assistant,
    "drop_trailing_user": _drop_trailing_user,
}


def _check_texts(turns: Turns, named: Sequence[int]) -> None:
    for index, (role, text) in enumerate(turns):
        if is_blank(text):
            raise Rejection("empty_turn", f"{_place(turns, index, named)} has no text")
        if found := _CONTROL_CHARACTER.search(text):
            where = _place(turns, index, named)
            raise Rejection(
                "control_character", f"{where} holds {found.group()!r}; remove it from the text"
            )
        if piece := find_control(text):
            where = _place(turns, index, named)
            raise Rejection(
                "control_token", f"{where} holds {piece}, which Gemma reads as a command"
            )
        if role == "system" and index:
            before = _place(turns, index - 1, named)
            raise Rejection(
                "system_inside", f"a system text follows {before}; it may only be at the start"
            )


def _place(turns: Turns, index: int, named: Sequence[int]) -> str:
    """Which turn it is, as messages name it.

    named: the number in the row's own list of each turn that is no system text.
    """
    role = turns[index][0]
    if role == "system":
        return "the system text"
    before = sum(role != "system" for role, _ in turns[:index])
    return f"turn {named[before]} ({role.partition(',')[0]})"


def _check_order(turns: Turns) -> None:
    roles = [role for role, _ in turns if role != "system"]
    if not roles:
        raise Rejection("no_turns", "has no question with an answer")
    if roles[0] != "human":
        raise Rejection(
            "starts_with_gpt", "starts with the assistant; a conversation starts with the user"
        )
    for before, after in pairwise(roles):
        if before in ANSWERS and (after in ANSWERS or after == _CALL_APART[before]):
            raise Rejection(
                "same_role_twice",
                "has neighbouring answers of which only one is trained on; they cannot be joined",
            )
        if before == "observation" and after == "human":
            raise Rejection("no_answer", "has a question after a response that has no answer")
    if "gpt" not in roles and "function_call" not in roles:
        raise Rejection("untrained", "has no answer that is to be trained on")
