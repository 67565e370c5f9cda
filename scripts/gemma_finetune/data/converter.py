"""Rows of every raw format to the canonical conversation (ShareGPT), and on to messages.

    {"id": "9f86d081884c7d65", "system": "…"?, "split": "…"?, "source": {"file", "line", "format"},
     "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}

With functions to call there are also

     "tools": [{"name", "description", "parameters"}, …]
     {"from": "function_call", "value": [{"name", "arguments"}, …]}
     {"from": "observation", "value": [{"name", "response"}, …]}

An answer that is shown to the model but not trained on has `"train": false`. `turns` reads
one turn, and `repair` does the repairs.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.blank import is_blank
from gemma_finetune.data.reasoning import with_reasoning
from gemma_finetune.data.reasoning_keys import reasoning_of
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import ANSWERS, JSON_ROLES, UNTRAINED_OF, Turns, count_turns
from gemma_finetune.data.tool_rows import to_json
from gemma_finetune.data.turns import numbered, read_role, read_turn

_IM_TURN = re.compile(
    r"<\|im_start\|>(\w+)[ \r]*\n((?:(?!<\|im_start\|>).)*?)<\|im_end\|>\s*", re.DOTALL
)


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
                found = read_turn(turn, where, rule)
                turns += found
                numbers += [number] * len(found)
    if rule == "keep" and turns and turns[-1][0] in ANSWERS:
        role, answer = turns[-1]
        beside = reasoning_of(row.model_extra, "the row")
        turns[-1] = (role, with_reasoning(answer, beside, "the row"))
    if row.system:
        return [("system", row.system), *turns], [0, *numbers]
    return turns, numbers


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
        role = read_role(found[1], f"turn {number}")
        if role in JSON_ROLES:
            raise Rejection("tool_role", f"turn {number} is a tool's: not read in plain text")
        turns.append((role, found[2]))
        number += role != "system"
        end = found.end()
    if "<|im_start|>" not in text:
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
    value = orjson.loads(text) if name in JSON_ROLES else text
    turn = {"from": name, "value": value}
    return turn | {"train": False} if role in UNTRAINED_OF.values() else turn


def content_id(turns: Turns, tools: Sequence[dict] = ()) -> str:
    """16 hex digits: a hash of roles, texts, calls and tools of a conversation, and nothing else.

    The same conversation with other answers trained on has another id.
    """
    *_, last = _growing_ids(turns, tools)
    return last


def id_without_masks(conversation: dict) -> str:
    """The id that it would have if every answer were trained on: rows that differ in that alone,
    which are no twins, belong to one split.
    """
    if all(turn.get("train", True) for turn in conversation["conversations"]):
        return conversation["id"]
    return content_id(_unmasked_turns(conversation), conversation.get("tools", ()))


def ids_of_beginnings(conversation: dict) -> Iterator[str]:
    """The ids, without masks, that it had when it ended with each of its earlier answers and calls;
    shortest first.
    """
    turns = _unmasked_turns(conversation)[:-1]
    ids = _growing_ids(turns, conversation.get("tools", ()))
    for (role, _), id in zip(turns, ids, strict=True):
        if role in ("gpt", "function_call"):
            yield id


def _growing_ids(turns: Turns, tools: Sequence[dict]) -> Iterator[str]:
    """The ids of the first turn, of the first two, and so on: each hash goes on from the last."""
    end = f"tools\0{to_json(tools)}\0".encode() if tools else b""
    digest = hashlib.blake2b(digest_size=8)
    for role, text in turns:
        digest.update(f"{role}\0{text}\0".encode())
        whole = digest.copy()
        whole.update(end)
        yield whole.hexdigest()


def _unmasked_turns(conversation: dict) -> Turns:
    turns = [("system", conversation["system"])] if "system" in conversation else []
    for turn in conversation["conversations"]:
        value = turn["value"]
        turns.append((turn["from"], value if isinstance(value, str) else to_json(value)))
    return turns


def to_messages(conversation: dict) -> list[dict]:
    """`[{"role": "system|user|assistant|tool", "content": "…"}, …]`, as every runtime takes them.

    Calls are `tool_calls` of the assistant's message; the content of a tool's message is the list
    of responses. An answer that is not trained on has `"train": false`, too.
    """
    messages: list[dict] = []
    if "system" in conversation:
        messages.append({"role": "system", "content": conversation["system"]})
    for turn in conversation["conversations"]:
        trained = {"train": turn["train"]} if "train" in turn else {}
        if turn["from"] == "function_call":
            if messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant"})
            calls = [{"type": "function", "function": call} for call in turn["value"]]
            messages[-1] |= {"tool_calls": calls} | trained
            continue
        role = {"human": "user", "gpt": "assistant", "observation": "tool"}[turn["from"]]
        messages.append({"role": role, "content": turn["value"]} | trained)
    return messages


def to_openai_tools(conversation: dict) -> list[dict]:
    """The tools of a canonical conversation, as OpenAI and the runtimes take them."""
    return [{"type": "function", "function": tool} for tool in conversation.get("tools", [])]
