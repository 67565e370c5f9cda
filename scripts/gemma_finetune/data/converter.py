"""Rows of every raw format to the canonical conversation (ShareGPT), and back.

    {"id": "9f86d081884c7d65", "system": "…"?, "split": "…"?, "source": {"file", "line", "format"},
     "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}

Nothing inside a conversation is dropped: what has no place in one is a Rejection. Mending it is
`repair`'s.
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

Turns = list[tuple[str, str]]  # (canonical role, text), system turns among them


def to_turns(row: schemas.Row) -> Turns:
    """The turns of a row of any format, a system text beside them as the first turn."""
    match row:
        case schemas.Alpaca():
            turns = _alpaca(row)
        case schemas.ChatMLText():
            turns = _im_text(row.text)
        case _:
            turns = [_turn(turn, n) for n, turn in enumerate(schemas.turns(row), 1)]
    return [("system", row.system), *turns] if row.system else turns


def _turn(turn, number):
    role = _role(turn.role, number)
    if turn.content is None:
        raise Rejection("empty_turn", f"turn {number} ({turn.role}) has no text")
    return role, turn.content if isinstance(turn.content, str) else _text(turn.content, number)


def _role(name, number):
    if name in TOOL_ROLES:
        raise Rejection(
            "tool_role",
            f"turn {number} is a tool's ({name!r}), which Gemma's template has no place for",
        )
    if name not in ROLES:
        raise Rejection(
            "unknown_role",
            f"turn {number} has the role {name[:40]!r}; known are {', '.join(ROLES)}",
        )
    return ROLES[name]


def _text(parts, number):
    for part in parts:
        if part.type != "text" or part.text is None:
            raise Rejection(
                "non_text_part", f"turn {number} holds a part of type {part.type[:40]!r}, not text"
            )
    return "".join(part.text for part in parts)


def _alpaca(row):
    question = (
        f"{row.instruction}\n\n{row.input}" if row.input and row.input.strip() else row.instruction
    )
    pairs = [*(row.history or []), (question, row.output)]
    return [turn for human, gpt in pairs for turn in (("human", human), ("gpt", gpt))]


def _im_text(text):
    turns, end = [], len(text) - len(text.lstrip())
    while found := _IM_TURN.match(text, end):
        turns.append((_role(found[1], len(turns) + 1), found[2]))
        end = found.end()
    if end != len(text):
        raise Rejection(
            "schema",
            f"text: turn {len(turns) + 1} is not `<|im_start|>role\\n…<|im_end|>`; found {text[end : end + 40]!r}",
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
    return conversation | ({"split": split} if split else {}) | {"source": source}


def content_id(turns: Turns) -> str:
    """16 hex digits that change with any role or text of the conversation, and with nothing
    else.
    """
    digest = hashlib.blake2b(digest_size=8)
    for role, text in turns:
        digest.update(f"{role}\0{text}\0".encode())
    return digest.hexdigest()


def to_messages(conversation: dict) -> list[dict]:
    """`[{"role": "system|user|assistant", "content": "…"}, …]`, which the formatter and every
    runtime take.
    """
    system = (
        [{"role": "system", "content": conversation["system"]}] if "system" in conversation else []
    )
    roles = {"human": "user", "gpt": "assistant"}
    return system + [
        {"role": roles[turn["from"]], "content": turn["value"]}
        for turn in conversation["conversations"]
    ]


def to_sharegpt(conversation: dict) -> dict:
    """A raw ShareGPT row of a canonical conversation."""
    return {
        key: conversation[key]
        for key in ("system", "conversations", "split")
        if key in conversation
    }


def to_chatml(conversation: dict) -> dict:
    """A raw ChatML row of a canonical conversation."""
    return {"messages": to_messages(conversation), **_split(conversation)}


def to_chatml_text(conversation: dict) -> dict:
    """A raw row of `<|im_start|>` text; ValueError where a text holds such markers itself."""
    messages = to_messages(conversation)
    if any(
        "<|im_start|>" in message["content"] or "<|im_end|>" in message["content"]
        for message in messages
    ):
        raise ValueError(
            "a text that holds <|im_start|> or <|im_end|> cannot be written as <|im_start|> text"
        )
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return {"text": text, **_split(conversation)}


def to_alpaca(conversation: dict) -> dict:
    """A raw Alpaca row: the last exchange as instruction and output, those before it as history."""
    texts = [turn["value"] for turn in conversation["conversations"]]
    *history, (instruction, output) = zip(texts[::2], texts[1::2], strict=True)
    row = {"instruction": instruction, "input": "", "output": output}
    if history:
        row["history"] = [list(pair) for pair in history]
    return row | {key: conversation[key] for key in ("system", "split") if key in conversation}


def _split(conversation):
    return {"split": conversation["split"]} if "split" in conversation else {}
