"""Whether the tools and calls of a conversation are valid.

A call names a declared tool, and its arguments fit the tool's JSON Schema. Each call has its
response before the conversation goes on; only the last calls of a conversation may have none. No
text holds a control piece, and every name can be read back by LiteRT-LM.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import orjson

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import ANSWERS, CALLS, Turns, name_turn
from gemma_finetune.data.tool_match import InTurn, match_responses
from gemma_finetune.data.tool_names import check_case, check_name, check_strings, objects
from gemma_finetune.data.tool_rows import read_tools, to_json
from gemma_finetune.data.tool_schema import ALTERNATIVES, argument_error, check_schema

# Calls as Hermes, Glaive, Mistral, Llama, Phi, DeepSeek and Gemma 3 write them into a text: their
# mark begins a line, or a call is behind it. "Read about <tool_call> tags" is none.
_MARK = (
    r"(?:<\|?tool_calls?(?:_begin)?\|?>|<\|?functions?_?calls?\|?>|\[TOOL_CALLS\]"
    r"|<\|python_tag\|>|<｜tool▁calls?▁begin｜>|```tool_code)"
)
_CALL = r"(?=\s*(?:[\[{<]|\w[\w.-]*[({<\n]))"
_CALL_AS_TEXT = re.compile(rf"^\s*{_MARK}|{_MARK}{_CALL}|<function=\w", re.MULTILINE)


def settle_calls(
    turns: Turns, numbers: Sequence[int], tools: Any
) -> tuple[Turns, list[int], list[dict]]:
    """The turns with valid calls and their responses, their numbers, and the tools, in one form.

    Neighbouring calls become one turn, and so do neighbouring responses.
    turns, numbers: of `converter.to_numbered_turns`. tools: the row's, raw. Rejection says what is
    wrong.
    """
    has_calls = any(role in CALLS or role == "observation" for role, _ in turns)
    if not has_calls and is_nothing(tools):
        return turns, list(numbers), []
    declared = [] if is_nothing(tools) else read_tools(tools)
    check_tools(declared)

    settled: Turns = []
    kept: list[int] = []
    calls: list[dict] = []  # those of the turn before, which wait for their responses
    for role, group in groupby(zip(turns, numbers, strict=True), key=lambda turn: turn[0][0]):
        texts = [(text, number) for (_, text), number in group]
        first = texts[0][1]
        if role == "observation":
            matched = match_responses(calls, _items(texts), name_turn(role, first))
            settled.append((role, to_json(matched)))
            kept.append(first)
            calls = []
            continue
        if calls:
            waiting = ", ".join(call["name"][:40] for call in calls)
            where = name_turn(role, first)
            raise Rejection("no_response", f"{where} comes before the response to {waiting}")
        if role in CALLS:
            items = _items(texts)
            settled.append((role, to_json(check_calls(items, declared))))
            kept.append(first)
            calls = [call for call, _ in items]
            continue
        for text, number in texts:
            _check_text(role, text, declared, name_turn(role, number))
            settled.append((role, text))
            kept.append(number)
    return settled, kept, declared


def _items(texts: Sequence[tuple[str, int]]) -> list[InTurn]:
    """The calls or the responses of neighbouring turns, each with its turn."""
    found = []
    for text, number in texts:
        for item in orjson.loads(text):
            found.append((item, f"turn {number}"))
    return found


def _check_text(role: str, text: str, declared: list[dict], where: str) -> None:
    """Rejection for a text with a control piece, and for an answer with a call in it."""
    if role in ANSWERS and declared and (found := _call_as_text(text, declared)):
        raise Rejection(
            "tool_call", f"{where} holds a call as text ({found}); write it as `tool_calls`"
        )
    check_strings(text, where)


def _call_as_text(text: str, declared: list[dict]) -> str | None:
    """How a text that should be words shows that it holds a call; None if it holds none."""
    if found := _CALL_AS_TEXT.search(text):
        return found.group().strip()
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    names = [tool["name"] for tool in declared]
    for item in value if isinstance(value, list) else [value]:
        is_call = isinstance(item, dict) and ("arguments" in item or "parameters" in item)
        if is_call and item.get("name") in names:
            return f"JSON, {item['name'][:40]}"
    return None


def check_tools(tools: list[dict]) -> None:
    """Rejection for the first tool that cannot be declared."""
    names = set()
    for tool in tools:
        name = tool["name"]
        check_name(name, "tool", "the tool")
        if name in names:
            raise Rejection("tool", f"`tools` declares {name[:40]} twice")
        names.add(name)
        check_strings(tool, f"the tool {name}")
        _check_property_names(tool.get("parameters"), name)
        check_schema(tool.get("parameters", {}), name)


def _check_property_names(schema: Any, tool: str) -> None:
    """Rejection for a parameter that no call could name."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict):
        check_case(properties, f"the tool {tool}")
        for name, inner in properties.items():
            check_name(name, "tool", f"a parameter of {tool}")
            _check_property_names(inner, tool)
    _check_property_names(schema.get("items"), tool)


def check_calls(calls: Sequence[InTurn], tools: list[dict]) -> list[dict]:
    """The calls as {"name", "arguments"}, without nulls that a table filled in.

    Rejection for the first call that is not valid.
    """
    declared = {tool["name"]: tool for tool in tools}
    return [_check_call(call, declared, where) for call, where in calls]


def _check_call(call: dict, declared: dict[str, dict], where: str) -> dict:
    name = call["name"]
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise Rejection(
            "tool_call", f"{where} calls {name[:40]!r}, which is not declared; `tools` has {known}"
        )
    schema = declared[name].get("parameters", {})
    arguments = _without_nulls(call["arguments"], schema)
    error = argument_error(arguments, schema, name)
    if error:  # a null may be required behind a `$ref` or `anyOf`
        with_nulls = _without_nulls(call["arguments"], schema, behind=True)
        if not argument_error(with_nulls, schema, name):
            arguments, error = with_nulls, None
    check_strings(arguments, where)
    for item in objects(arguments):
        _check_keys(item, f"{where}, a call of {name},")
    if error:
        raise Rejection(
            "tool_call", f"{where} calls {name} with arguments against its schema{error}"
        )
    return {"name": name, "arguments": arguments}


def _check_keys(value: dict, where: str) -> None:
    check_case(value, where)
    for key in value:
        check_name(key, "tool_call", f"{where} an argument")


def _without_nulls(arguments: Any, schema: Any, behind: bool = False) -> Any:
    """Arguments without null for what the schema does not require.

    behind: keep what alternatives of the schema may require.
    """
    schema = schema if isinstance(schema, dict) else {}
    if behind and any(key in schema for key in ALTERNATIVES):
        return arguments
    if isinstance(arguments, list):
        return [_without_nulls(item, schema.get("items"), behind) for item in arguments]
    if not isinstance(arguments, dict):
        return arguments
    required, properties = schema.get("required", ()), schema.get("properties", {})
    kept = {}
    for key, value in arguments.items():
        if value is not None or key in required:
            kept[key] = _without_nulls(value, properties.get(key), behind)
    return kept
