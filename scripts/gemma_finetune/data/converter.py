"""Rows of every raw format to the canonical conversation (ShareGPT), and back.

    {"id": "9f86d081884c7d65", "system": "…"?, "split": "…"?, "source": {"file", "line", "format"},
     "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}

Nothing in a conversation is dropped: a turn that has no place in one raises a Rejection.
`repair` does the repairs.
"""

import hashlib
import re

from gemma_finetune.data import schemas
from gemma_finetune.data.rejection import Rejection

ROLES = {
    "human": "human", "user": "human",
    "gpt": "gpt", "assistant": "gpt", "chatgpt": "gpt", "model": "gpt",
    "system": "system", "developer": "system",
}  # fmt: skip
TOOL_ROLES = {"tool", "function", "function_call", "observation", "ipython"}

_IM_TURN = re.compile(
    r"<\|im_start\|>(\w+)[ \r]*\n((?:(?!<\|im_start\|>).)*?)<\|im_end\|>\s*", re.DOTALL
)

Turns = list[tuple[str, str]]  # (canonical role, text); a system text is a turn, too


def to_turns(row: schemas.Row) -> Turns:
    """The turns of a row of any format; a system text next to the turns becomes the first turn."""
    match row:
        case schemas.Alpaca():
            turns = _alpaca_turns(row)
        case schemas.ChatMLText():
            turns = _im_turns(row.text)
        case _:
            turns = [_turn(turn, number) for number, turn in enumerate(schemas.turns(row), 1)]
    return [("system", row.system), *turns] if row.system else turns


def _turn(turn: schemas.Turn, number: int) -> tuple[str, str]:
    role = _role(turn.role, number)
    if turn.content is None:
        raise Rejection("empty_turn", f"turn {number} ({turn.role}) has no text")
    if isinstance(turn.content, str):
        return role, turn.content
    return role, _join_parts(turn.content, number)


def _role(name: str, number: int) -> str:
    if name in TOOL_ROLES:
        raise Rejection(
            "tool_role",
            f"turn {number} is a tool's ({name!r}), which Gemma's template has no place for",
        )
    if name not in ROLES:
        known = ", ".join(ROLES)
        raise Rejection(
            "unknown_role", f"turn {number} has the role {name[:40]!r}; known are {known}"
        )
    return ROLES[name]


def _join_parts(parts: list[schemas.Part], number: int) -> str:
    texts = []
    for part in parts:
        if part.type != "text" or part.text is None:
            raise Rejection(
                "non_text_part", f"turn {number} holds a part of type {part.type[:40]!r}, not text"
            )
        texts.append(part.text)
    return "".join(texts)


def _alpaca_turns(row: schemas.Alpaca) -> Turns:
    question = row.instruction
    if row.input and row.input.strip():
        question = f"{row.instruction}\n\n{row.input}"

    turns = []
    for human, gpt in [*(row.history or []), (question, row.output)]:
        turns += [("human", human), ("gpt", gpt)]
    return turns


def _im_turns(text: str) -> Turns:
    turns: Turns = []
    end = len(text) - len(text.lstrip())
    while found := _IM_TURN.match(text, end):
        role = _role(found[1], len(turns) + 1)
        turns.append((role, found[2]))
        end = found.end()
    if end != len(text):
        raise Rejection(
            "schema",
            f"text: turn {len(turns) + 1} is not `<|im_start|>role\\n…<|im_end|>`; "
            f"found {text[end : end + 40]!r}",
        )
    return turns


def canonical(turns: Turns, split: str | None, source: dict) -> dict:
    """The canonical conversation of repaired turns; its id is a hash of its content alone."""
    conversation: dict = {"id": content_id(turns)}
    if turns[0][0] == "system":
        conversation["system"] = turns[0][1]
    conversation["conversations"] = [
        {"from": role, "value": text} for role, text in turns if role != "system"
    ]
    if split:
        conversation["split"] = split
    conversation["source"] = source
    return conversation


def content_id(turns: Turns) -> str:
    """16 hex digits: a hash of the roles and the texts of a conversation, and of nothing else."""
    digest = hashlib.blake2b(digest_size=8)
    for role, text in turns:
        digest.update(f"{role}\0{text}\0".encode())
    return digest.hexdigest()


def to_messages(conversation: dict) -> list[dict]:
    """`[{"role": "system|user|assistant", "content": "…"}, …]`, as every runtime takes them."""
    messages = []
    if "system" in conversation:
        messages.append({"role": "system", "content": conversation["system"]})
    for turn in conversation["conversations"]:
        role = {"human": "user", "gpt": "assistant"}[turn["from"]]
        messages.append({"role": role, "content": turn["value"]})
    return messages


def to_sharegpt(conversation: dict) -> dict:
    """A raw ShareGPT row of a canonical conversation."""
    return _pick(conversation, "system", "conversations", "split")


def to_chatml(conversation: dict) -> dict:
    """A raw ChatML row of a canonical conversation."""
    return {"messages": to_messages(conversation)} | _pick(conversation, "split")


def to_chatml_text(conversation: dict) -> dict:
    """A raw row of `<|im_start|>` text. ValueError if a text itself contains such a marker."""
    text = ""
    for message in to_messages(conversation):
        if "<|im_start|>" in message["content"] or "<|im_end|>" in message["content"]:
            raise ValueError(
                "a text that holds <|im_start|> or <|im_end|> cannot be written as "
                "<|im_start|> text"
            )
        text += f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
    return {"text": text} | _pick(conversation, "split")


def to_alpaca(conversation: dict) -> dict:
    """A raw Alpaca row: the last exchange is instruction and output, earlier ones are history."""
    texts = [turn["value"] for turn in conversation["conversations"]]
    *history, (instruction, output) = zip(texts[::2], texts[1::2], strict=True)
    row = {"instruction": instruction, "input": "", "output": output}
    if history:
        row["history"] = [list(pair) for pair in history]
    return row | _pick(conversation, "system", "split")


def _pick(conversation: dict, *keys: str) -> dict:
    return {key: conversation[key] for key in keys if key in conversation}
