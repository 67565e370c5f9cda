"""Example rows with functions, in three shapes, and what validation makes of them."""

import copy
import json

import orjson
import pytest

from function_cases import ACTIVATION
from gemma_finetune.data.converter import canonical
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.validation import check

SOURCE = {"file": "a.jsonl", "line": 3, "format": "chatml"}
TOOL = {
    "name": "set_light",
    "description": "Sets a light.",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string"}, "level": {"type": "number"}},
        "required": ["room"],
    },
}
CAPITALS = {
    "type": "OBJECT",
    "properties": {"room": {"type": "STRING"}, "level": {"type": "NUMBER", "enum": None}},
    "required": ["room"],
}
ARGUMENTS = {"room": "hall", "level": 1.0}
OPENAI = {
    "tools": [{"type": "function", "function": TOOL}],
    "messages": [
        {"role": "user", "content": "Hall light"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "set_light", "arguments": json.dumps(ARGUMENTS)},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"ok": true}'},
        {"role": "assistant", "content": "Done."},
    ],
}
LLAMA_FACTORY = {
    "tools": json.dumps([TOOL]),
    "conversations": [
        {"from": "human", "value": "Hall light"},
        {
            "from": "function_call",
            "value": json.dumps({"name": "set_light", "arguments": ARGUMENTS}),
        },
        {"from": "observation", "value": '{"ok": true}'},
        {"from": "gpt", "value": "Done."},
    ],
}
MOBILE_ACTIONS = {
    "metadata": "eval",
    "tools": [{"function": TOOL | {"parameters": CAPITALS}}],
    "messages": [
        {"role": "developer", "content": f"Day of week is Friday\n{ACTIVATION}\n"},
        {"role": "user", "content": "Hall light"},
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "set_light", "arguments": ARGUMENTS}}],
        },
    ],
}
USER = {"role": "user", "content": "?"}
CALL = [{"name": "set_light", "arguments": {"room": "hall", "level": 1}}]
TURNS = [
    {"from": "human", "value": "Hall light"},
    {"from": "function_call", "value": CALL},
    {"from": "observation", "value": [{"name": "set_light", "response": {"ok": True}}]},
    {"from": "gpt", "value": "Done."},
]


def checked(row):
    """What validation makes of a row. Rejection if it refuses the row."""
    return check(orjson.dumps(row), "auto", REPAIRS)


def conversation(row):
    """The row in the canonical form."""
    found = checked(row)
    return canonical(found.turns, found.split, SOURCE, found.tools)


def changed(change, row=OPENAI):
    """A copy of the row that `change` has changed in place."""
    row = copy.deepcopy(row)
    change(row)
    return row


def function(row):
    """The called function of OPENAI, in place."""
    return row["messages"][1]["tool_calls"][0]["function"]


def refusal(row):
    """The Rejection with which validation refuses a row."""
    with pytest.raises(Rejection) as rejection:
        checked(row)
    return rejection.value


def two_calls(*observed):
    """A row with calls of set_light (id a) and get_time (id b), and these messages after them."""
    tools = [TOOL, TOOL | {"name": "get_time", "parameters": {}}]
    calls = [
        {"id": "a", "function": {"name": "set_light", "arguments": {"room": "x"}}},
        {"id": "b", "function": {"name": "get_time"}},
    ]
    messages = [OPENAI["messages"][0], {"role": "assistant", "tool_calls": calls}, *observed]
    return copy.deepcopy({"tools": tools, "messages": [*messages, OPENAI["messages"][3]]})


def assert_refused(change, reason, message):
    """The OpenAI row, changed, is refused for this reason and with these words."""
    found = refusal(changed(change))
    assert found.reason == reason
    assert message in found.message
