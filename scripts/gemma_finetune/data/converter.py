"""Rows of every raw format to the canonical conversation (ShareGPT), and back.

    {"id": "9f86d081884c7d65", "system": "…"?, "split": "…"?, "source": {"file", "line", "format"},
     "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}

With functions to call there are also

     "tools": [{"name", "description", "parameters"}, …]
     {"from": "function_call", "value": [{"name", "arguments"}, …]}
     {"from": "observation", "value": [{"name", "response"}, …]}

An answer that is shown to the model but not trained on has `"train": false`. Nothing in a
conversation is dropped: a turn that has no place in one raises a Rejection. `repair` does the
repairs.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.blank import is_blank, is_nothing
from gemma_finetune.data.loss_mask import wants_training
from gemma_finetune.data.question_parts import is_text_of_turn
from gemma_finetune.data.reasoning import (
    HINT,
    REASONING_PARTS,
    is_reasoning_part,
    reasoning_of,
    with_reasoning,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_rows import read_calls, read_responses, to_json

# By their names in small letters.
ROLES = {
    "human": "human", "user": "human", "prompter": "human",
    "gpt": "gpt", "assistant": "gpt", "chatgpt": "gpt", "model": "gpt", "ai": "gpt", "bot": "gpt",
    "chatbot": "gpt",
    "system": "system", "developer": "system",
}  # fmt: skip
OTHER_TOOL_ROLES = {"function", "ipython"}
UNTRAINED = "gpt, not trained"  # the role of an answer that is not trained on, in `Turns`
UNTRAINED_CALL = "function_call, not trained"
ANSWERS = ("gpt", UNTRAINED)
CALLS = ("function_call", UNTRAINED_CALL)

_IM_TURN = re.compile(
    r"<\|im_start\|>(\w+)[ \r]*\n((?:(?!<\|im_start\|>).)*?)<\|im_end\|>\s*", re.DOTALL
)

# (canonical role, text); a system text is a turn, too. The text of calls and of responses is JSON.
Turns = list[tuple[str, str]]


def to_turns(row: schemas.Row, rule: str = "refuse") -> Turns:
    """The turns of a row of any format; a system text next to the turns becomes the first turn.

    rule: `data.reasoning`. With keep, an answer begins with the reasoning that is beside it.
    """
    return to_numbered_turns(row, rule)[0]


def to_numbered_turns(row: schemas.Row, rule: str = "refuse") -> tuple[Turns, list[int]]:
    """As `to_turns`, and the number of each turn in the row's own list, by which messages name it.

    Text and calls of one message are two turns with one number. System texts are not counted; they
    have the number of the turn before them.
    """
    turns: Turns = []
    numbers: list[int] = []
    match row:
        case schemas.Alpaca():
            turns = _alpaca_turns(row)
            numbers = count_turns(turns)
        case schemas.ChatMLText():
            turns = _im_turns(row.text)
            numbers = count_turns(turns)
        case _:
            for number, where, turn in numbered(schemas.turns(row)):
                found = _turn(turn, where, rule)
                turns += found
                numbers += [number] * len(found)
    if rule == "keep" and turns and turns[-1][0] in ANSWERS:
        role, answer = turns[-1]
        beside = reasoning_of(row.model_extra, "the row")
        turns[-1] = (role, with_reasoning(answer, beside, "the row"))
    if row.system:
        return [("system", row.system), *turns], [0, *numbers]
    return turns, numbers


def count_turns(turns: Turns) -> list[int]:
    """The number of each turn where each is a message of its own. System texts are not counted."""
    return list(accumulate(int(role != "system") for role, _ in turns))


def role_of(name: str) -> str | None:
    """The canonical role of a role's name in any case; None if it is not known."""
    if name in ROLES:
        return ROLES[name]
    small = name.strip().lower()
    return ROLES.get(small) or schemas.CALL_ROLES.get(small)


def numbered(turns: Iterable[schemas.Turn]) -> Iterator[tuple[int, str, schemas.Turn]]:
    """Each turn after its number and its place, as messages name it. System texts do not count."""
    number = 0
    for turn in turns:
        is_system = role_of(turn.role) == "system"
        number += not is_system
        yield number, "system text" if is_system else f"turn {number}", turn


def _turn(turn: schemas.Turn, where: str, rule: str) -> Turns:
    """A raw turn as turns: text and calls of one message are two."""
    role, call_role = _role(turn.role, where), "function_call"
    if role in ("gpt", "function_call") and wants_training(turn.model_extra) is False:
        role = {"gpt": UNTRAINED, "function_call": UNTRAINED_CALL}[role]
        call_role = UNTRAINED_CALL
    has_calls = turn.tool_calls is not None and not is_nothing(turn.tool_calls)
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


def _role(name: str, where: str) -> str:
    if name.strip().lower() in OTHER_TOOL_ROLES:
        raise Rejection(
            "tool_role",
            f"{where} is a tool's ({name!r}); write the role `tool`, with `tool_calls` before it",
        )
    role = role_of(name)
    if role is None:
        known = ", ".join((*ROLES, *schemas.CALL_ROLES))
        raise Rejection("unknown_role", f"{where} has the role {name[:40]!r}; known are {known}")
    return role


def _join_parts(parts: list[schemas.Part], where: str, rule: str | None) -> str:
    """The text of content parts. rule: `data.reasoning`, for parts of reasoning in an answer."""
    texts, thoughts = [], []
    for part in parts:
        if rule and is_reasoning_part(part.type, part.model_extra):
            thoughts.append(_thought(part, where, rule))
        elif part.type not in schemas.TEXT_PARTS or part.text is None:
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


def _alpaca_turns(row: schemas.Alpaca) -> Turns:
    question = row.instruction
    if row.input and not is_blank(row.input):
        question = row.input if is_blank(question) else f"{question}\n\n{row.input}"

    turns = []
    for human, gpt in [*(row.history or []), (question, row.output)]:
        turns += [("human", human), ("gpt", gpt)]
    return turns


def _im_turns(text: str) -> Turns:
    turns: Turns = []
    number = 1  # of the next turn; system texts are not counted
    end = len(text) - len(text.lstrip())
    while found := _IM_TURN.match(text, end):
        role = _role(found[1], f"turn {number}")
        if role not in ROLES.values():
            raise Rejection("tool_role", f"turn {number} is a tool's: not read in plain text")
        turns.append((role, found[2]))
        number += role != "system"
        end = found.end()
    if not turns:
        raise Rejection(
            "schema",
            f"text: is not `<|im_start|>` text, but {text.strip()[:40]!r}; of text in another "
            "template, write the turns as `messages` with `role` and `content`",
        )
    if end != len(text):
        raise Rejection(
            "schema",
            f"text: turn {number} is not `<|im_start|>role\\n…<|im_end|>`; "
            f"found {text[end : end + 40]!r}",
        )
    return turns


def canonical(turns: Turns, split: str | None, source: dict, tools: Sequence[dict] = ()) -> dict:
    """The canonical conversation of repaired turns; its id is a hash of its content alone."""
    conversation: dict = {"id": content_id(turns, tools)}
    if turns[0][0] == "system":
        conversation["system"] = turns[0][1]
    if tools:
        conversation["tools"] = list(tools)
    conversation["conversations"] = []
    for role, text in turns:
        if role != "system":
            conversation["conversations"].append(_canonical_turn(role, text))
    if split:
        conversation["split"] = split
    conversation["source"] = source
    return conversation


def _canonical_turn(role: str, text: str) -> dict:
    name = role.partition(",")[0]
    value = text if name in ROLES.values() else orjson.loads(text)
    turn = {"from": name, "value": value}
    return turn | {"train": False} if role in (UNTRAINED, UNTRAINED_CALL) else turn


def content_id(turns: Turns, tools: Sequence[dict] = ()) -> str:
    """16 hex digits: a hash of roles, texts, calls and tools of a conversation, and nothing else.

    The same conversation with other answers trained on has another id.
    """
    digest = hashlib.blake2b(digest_size=8)
    for role, text in turns:
        digest.update(f"{role}\0{text}\0".encode())
    if tools:
        digest.update(f"tools\0{to_json(tools)}\0".encode())
    return digest.hexdigest()


def id_without_masks(conversation: dict) -> str:
    """The id that it would have if every answer were trained on: rows that differ in that alone,
    which are no twins, belong to one split.
    """
    turns = conversation["conversations"]
    if all(turn.get("train", True) for turn in turns):
        return conversation["id"]
    said = [("system", conversation["system"])] if "system" in conversation else []
    for turn in turns:
        value = turn["value"]
        said.append((turn["from"], value if isinstance(value, str) else to_json(value)))
    return content_id(said, conversation.get("tools", ()))


def to_messages(conversation: dict) -> list[dict]:
    """`[{"role": "system|user|assistant|tool", "content": "…"}, …]`, as every runtime takes them.

    Calls are `tool_calls` of the assistant's message; the content of a tool's message is the list
    of responses. An answer that is not trained on has `"train": false`, too.
    """
    messages: list[dict] = []
    if "system" in conversation:
        messages.append({"role": "system", "content": conversation["system"]})
    for turn in conversation["conversations"]:
        if turn["from"] == "function_call":
            if messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant"})
            calls = [{"type": "function", "function": call} for call in turn["value"]]
            messages[-1] |= {"tool_calls": calls} | _pick(turn, "train")
            continue
        role = {"human": "user", "gpt": "assistant", "observation": "tool"}[turn["from"]]
        message = {"role": role, "content": turn["value"]}
        messages.append(message | _pick(turn, "train"))
    return messages


def to_openai_tools(conversation: dict) -> list[dict]:
    """The tools of a canonical conversation, as OpenAI and the runtimes take them."""
    return [{"type": "function", "function": tool} for tool in conversation.get("tools", [])]


def to_sharegpt(conversation: dict) -> dict:
    """A raw ShareGPT row of a canonical conversation."""
    return _pick(conversation, "system", "tools", "conversations", "split")


def to_chatml(conversation: dict) -> dict:
    """A raw ChatML row of a canonical conversation."""
    tools = {"tools": to_openai_tools(conversation)} if "tools" in conversation else {}
    return {"messages": to_messages(conversation)} | tools | _pick(conversation, "split")


def to_chatml_text(conversation: dict) -> dict:
    """A raw row of `<|im_start|>` text.

    ValueError if a text itself contains such a marker, if an answer is not trained on, or if there
    are functions.
    """
    _refuse_mask(conversation)
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
    """A raw Alpaca row: the last exchange is instruction and output, earlier ones are history.

    ValueError if an answer is not trained on, or if there are functions.
    """
    _refuse_mask(conversation)
    texts = [turn["value"] for turn in conversation["conversations"]]
    *history, (instruction, output) = zip(texts[::2], texts[1::2], strict=True)
    row = {"instruction": instruction, "input": "", "output": output}
    if history:
        row["history"] = [list(pair) for pair in history]
    return row | _pick(conversation, "system", "split")


def _refuse_mask(conversation: dict) -> None:
    if any("train" in turn for turn in conversation["conversations"]):
        raise ValueError("this format cannot say that an answer is not trained on")
    if "tools" in conversation:
        raise ValueError("this format has no functions")


def _pick(conversation: dict, *keys: str) -> dict:
    return {key: conversation[key] for key in keys if key in conversation}
