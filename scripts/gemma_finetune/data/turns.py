"""One turn of a row as turns of a conversation: its role, its text, its calls or their responses.

A turn that has no place in a conversation raises a Rejection, and no part of one is dropped.
"""

from collections.abc import Iterable, Iterator

from gemma_finetune.data import schemas
from gemma_finetune.data.blank import is_blank, is_nothing
from gemma_finetune.data.loss_mask import wants_training
from gemma_finetune.data.question_parts import is_text_of_turn
from gemma_finetune.data.raw_turns import TEXT_PARTS
from gemma_finetune.data.reasoning import with_reasoning
from gemma_finetune.data.reasoning_keys import (
    HINT,
    REASONING_PARTS,
    is_reasoning_part,
    reasoning_of,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import (
    ANSWERS,
    CALLS,
    ROLES,
    UNTRAINED_CALL,
    UNTRAINED_OF,
    Turns,
    role_of,
)
from gemma_finetune.data.tool_rows import read_calls, read_responses, to_json

OTHER_TOOL_ROLES = {"function", "ipython"}


def numbered(turns: Iterable[schemas.Turn]) -> Iterator[tuple[int, str, schemas.Turn]]:
    """Each turn after its number and its place, as messages name it. System texts do not count."""
    number = 0
    for turn in turns:
        is_system = role_of(turn.role) == "system"
        number += not is_system
        yield number, "system text" if is_system else f"turn {number}", turn


def read_turn(turn: schemas.Turn, where: str, rule: str) -> Turns:
    """A raw turn as turns: text and calls of one message are two."""
    role, call_role = read_role(turn.role, where), "function_call"
    if role in UNTRAINED_OF and wants_training(turn.model_extra) is False:
        role, call_role = UNTRAINED_OF[role], UNTRAINED_CALL
    has_calls = not is_nothing(turn.tool_calls)
    if has_calls and role not in ANSWERS:
        raise Rejection(
            "tool_call", f"{where} ({turn.role:.40}) has `tool_calls`: only answers can"
        )
    calls = [(call_role, to_json(read_calls(turn.tool_calls, where)))] if has_calls else []

    content = turn.content
    if content is None and role == "observation":  # of a function that returns nothing
        content = "null"
    if content is None and role not in ANSWERS:
        has = ", ".join(f"`{key}`"[:40] for key in turn.model_extra or {})
        found = f", but {has}; write it as `content`" if has else ""
        raise Rejection("empty_turn", f"{where} ({turn.role}) has no text{found}")
    text = content or ""
    if not isinstance(text, str):
        text = _join_parts(text, where, rule if role in ANSWERS else None)
    if not calls and is_blank(text) and role in ("human", "system", *ANSWERS):
        _refuse_text_elsewhere(turn, role, where)
    if rule == "keep" and role in ANSWERS and turn.model_extra:
        text = with_reasoning(text, reasoning_of(turn.model_extra, where), where)
    if role in CALLS:
        text = to_json(read_calls(text, where))
    elif role == "observation":
        name = (turn.model_extra or {}).get("name")
        text = to_json(read_responses(text, name, turn.tool_call_id, where))
    return calls if calls and is_blank(text) else [(role, text), *calls]


def _refuse_text_elsewhere(turn: schemas.Turn, role: str, where: str) -> None:
    """Rejection if a turn without text has it under another key: it would be cut as empty."""
    for key, value in (turn.model_extra or {}).items():
        is_refusal = key.strip().lower() == "refusal" and not is_nothing(value)
        if is_refusal or is_text_of_turn(key, value, role in ANSWERS):
            raise Rejection(
                "empty_turn",
                f"{where} ({turn.role:.40}) has no text, but `{key:.40}`; "
                "write it as `content` (or `value`, as the other texts)",
            )


def read_role(name: str, where: str) -> str:
    if name.strip().lower() in OTHER_TOOL_ROLES:
        raise Rejection(
            "tool_role",
            f"{where} is a tool's ({name!r}); write the role `tool`, with `tool_calls` before it",
        )
    role = role_of(name)
    if role is None:
        known = ", ".join(ROLES)
        raise Rejection("unknown_role", f"{where} has the role {name[:40]!r}; known are {known}")
    return role


def _join_parts(parts: list[schemas.Part], where: str, rule: str | None) -> str:
    """The text of content parts. rule: `data.reasoning`, for parts of reasoning in an answer."""
    texts, thoughts = [], []
    for part in parts:
        if rule and is_reasoning_part(part.type, part.model_extra):
            thoughts.append(_thought(part, where, rule))
        elif part.type not in TEXT_PARTS or part.text is None:
            reason = "reasoning" if part.type in REASONING_PARTS else "non_text_part"
            raise Rejection(reason, f"{where} holds a part of type {part.type[:40]!r}, not text")
        else:
            texts.append(part.text)
    return with_reasoning("".join(texts), "\n\n".join(filter(None, thoughts)), where)


def _thought(part: schemas.Part, where: str, rule: str) -> str:
    """The text of a part of reasoning, if it is kept. Rejection by the rule, or without a text."""
    found = f"{where} holds a part of type {part.type[:40]!r}"
    if rule == "refuse":
        raise Rejection("reasoning", f"{found}; {HINT}")
    if rule == "drop":
        return ""
    text = part.text or reasoning_of(part.model_extra, where)
    if text is None and not is_nothing(part.model_extra):
        raise Rejection("reasoning", f"{found} without its text, so data.reasoning cannot keep it")
    return text or ""
