"""Whether the calls of a conversation are valid, and which response belongs to which call.

A call names a declared tool, and its arguments fit the tool's JSON Schema. Each call has its
response before the conversation goes on; only the last calls of a conversation may have none. No
text holds a control piece, and every name can be read back by LiteRT-LM.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from gemma_finetune.config import find_control, find_function_piece
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.converter import ANSWERS, CALLS, Turns
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_rows import as_object, read_tools, to_json

# What LiteRT-LM's grammar reads as a name; the words mean something else there.
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
RESERVED = frozenset(("call", "true", "false", "null"))
# Calls as Hermes, Glaive and Mistral write them into a text.
_CALL_AS_TEXT = re.compile(r"<tool_call>|<functioncall>|<function_call>|<function=|\[TOOL_CALLS\]")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def settle_calls(turns: Turns, tools: Any) -> tuple[Turns, list[dict]]:
    """The turns with valid calls and their responses, and the tools, in their one form.

    turns: of `converter.to_turns`. tools: the row's, raw. Rejection says what is wrong.
    """
    has_calls = any(role in CALLS or role == "observation" for role, _ in turns)
    if not has_calls and is_nothing(tools):
        return turns, []
    declared = [] if is_nothing(tools) else read_tools(tools)
    check_tools(declared)

    settled: Turns = []
    calls: list[dict] = []  # those of the turn before, which wait for their responses
    number = 0
    for role, group in groupby(turns, key=itemgetter(0)):
        texts = [text for _, text in group]
        where = "the system text" if role == "system" else f"turn {number + 1}"
        number += len(texts) if role != "system" else 0
        if role == "observation":
            responses = [item for text in texts for item in orjson.loads(text)]
            settled.append((role, to_json(match_responses(calls, responses, where))))
            calls = []
            continue
        if calls:
            raise Rejection("no_response", f"{where} comes before the response to {_names(calls)}")
        if role in CALLS:
            calls = [call for text in texts for call in orjson.loads(text)]
            settled.append((role, to_json(check_calls(calls, declared, where))))
            continue
        for text in texts:
            if role in ANSWERS and declared and (found := _CALL_AS_TEXT.search(text)):
                raise Rejection(
                    "tool_call",
                    f"{where} holds a call as text ({found.group()}); write it as `tool_calls`",
                )
            _check_strings(text, "control_token", where)
            settled.append((role, text))
    return settled, declared


def _names(calls: list[dict]) -> str:
    return ", ".join(call["name"][:40] for call in calls)


def check_tools(tools: list[dict]) -> None:
    """Rejection for the first tool that cannot be declared."""
    names = set()
    for tool in tools:
        name = tool["name"]
        _check_name(name, "tool", "the tool")
        if name in names:
            raise Rejection("tool", f"declares {name} twice")
        names.add(name)
        _check_strings(tool, "tool", f"the tool {name}")
        _check_property_names(tool.get("parameters"), name)
        _validator(to_json(tool.get("parameters", {})), name)


def _check_name(name: str, reason: str, what: str) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise Rejection(
            reason,
            f"{what} has the name {name[:40]!r}: a name is letters, digits, _ . and -, begins with "
            f"a letter or _, and is none of {', '.join(sorted(RESERVED))}",
        )


def _check_property_names(schema: Any, tool: str) -> None:
    """Rejection for a parameter that no call could name."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict):
        _check_case(properties, f"the tool {tool}")
        for name, inner in properties.items():
            _check_name(name, "tool", f"a parameter of {tool}")
            _check_property_names(inner, tool)
    _check_property_names(schema.get("items"), tool)


def _check_case(names: dict, where: str) -> None:
    """Rejection for names that differ in case alone: templates sort without it."""
    if len({name.lower() for name in names}) < len(names):
        raise Rejection("tool", f"{where} has names that differ in case alone")


def _check_strings(value: Any, reason: str, where: str) -> None:
    """Rejection for a string or a key that holds a control piece or a control character."""
    for text in _strings(value):
        piece = find_control(text) or find_function_piece(text)
        if piece:
            raise Rejection(
                "control_token", f"{where} holds {piece}, which Gemma reads as a command"
            )
        if found := _CONTROL_CHARACTER.search(text):
            raise Rejection("control_character", f"{where} holds {found.group()!r}")


def _strings(value: Any) -> Iterator[str]:
    """All strings and keys of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)


def check_calls(calls: list[dict], tools: list[dict], where: str) -> list[dict]:
    """The calls as {"name", "arguments"}, without nulls that a table filled in.

    Rejection for the first call that is not valid.
    """
    declared = {tool["name"]: tool for tool in tools}
    return [_check_call(call, declared, where) for call in calls]


def _check_call(call: dict, declared: dict[str, dict], where: str) -> dict:
    name = call["name"]
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise Rejection(
            "tool_call", f"{where} calls {name[:40]!r}, which is not declared; `tools` has {known}"
        )
    schema = declared[name].get("parameters", {})
    arguments = _without_nulls(call["arguments"], schema)
    _check_strings(arguments, "tool_call", where)
    _check_keys(arguments, f"{where}, a call of {name},")
    validator = _validator(to_json(schema), name)
    try:
        error = next(validator.iter_errors(arguments), None)
    except (Unresolvable, RecursionError) as problem:
        raise Rejection("tool", f"the tool {name} has a schema that cannot be followed: {problem}")
    if error:
        place = ".".join(map(str, error.absolute_path))
        raise Rejection(
            "tool_call",
            f"{where} calls {name} with arguments against its schema"
            f"{f', at {place}' if place else ''}: {error.message}",
        )
    return {"name": name, "arguments": arguments}


def _check_keys(value: Any, where: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_keys(item, where)
    elif isinstance(value, dict):
        _check_case(value, where)
        for key, item in value.items():
            _check_name(key, "tool_call", f"{where} an argument")
            _check_keys(item, where)


def _without_nulls(arguments: Any, schema: Any) -> Any:
    """Arguments without null for what the schema does not require."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(arguments, list):
        return [_without_nulls(item, schema.get("items")) for item in arguments]
    if not isinstance(arguments, dict):
        return arguments
    required, properties = schema.get("required", ()), schema.get("properties", {})
    kept = {}
    for key, value in arguments.items():
        if value is not None or key in required:
            kept[key] = _without_nulls(value, properties.get(key))
    return kept


@lru_cache(4096)
def _validator(schema: str, tool: str) -> Draft202012Validator:
    """Checks arguments by a tool's JSON Schema; never fetches another schema.

    Rejection if it is none.
    """
    parsed = _nullable(orjson.loads(schema))
    try:
        Draft202012Validator.check_schema(parsed)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise Rejection(
            "tool",
            f"the tool {tool} has parameters that are no JSON Schema: {place}: {error.message}",
        )
    return Draft202012Validator(parsed, registry=Registry())


def _nullable(schema: Any) -> Any:
    """OpenAPI's `nullable: true` as JSON Schema says it: null is one of the types."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    read = {key: _nullable(value) for key, value in schema.items()}
    if read.get("nullable") is True:
        if isinstance(read.get("type"), str):
            read["type"] = [read["type"], "null"]
        if isinstance(read.get("enum"), list):
            read["enum"] = [*read["enum"], None]
    return read


def match_responses(calls: list[dict], responses: list[dict], where: str) -> list[dict]:
    """The response of each call, in the order of the calls: {"name", "response": an object}.

    calls, responses: as `tool_rows` reads them. A response belongs to the call with its id, or else
    to the first call with its name that has none yet, or else to the next. Rejection unless each
    call has one.
    """
    responses = _split_list(calls, responses)
    found: list[dict | None] = [None] * len(calls)
    for response in responses:
        place = _place(calls, found, response)
        if place is None:
            raise Rejection("tool_response", f"{where} has a response to no call before it")
        found[place] = response

    matched = []
    for call, answer in zip(calls, found, strict=True):
        if answer is None:
            raise Rejection("no_response", f"{where} lacks the response to {call['name'][:40]}")
        matched.append({"name": call["name"], "response": as_object(answer["response"])})
    _check_strings(matched, "tool_response", where)
    for item in matched:
        _check_response_case(item["response"], where)
    return matched


def _check_response_case(value: Any, where: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_response_case(item, where)
    elif isinstance(value, dict):
        _check_case(value, where)
        for item in value.values():
            _check_response_case(item, where)


def _split_list(calls: list[dict], responses: list[dict]) -> list[dict]:
    """One list of results for several calls, as LLaMA-Factory has it, as a response each."""
    if len(responses) != 1 or len(calls) < 2 or responses[0].keys() != {"response"}:
        return responses
    results = responses[0]["response"]
    if not isinstance(results, list) or len(results) != len(calls):
        return responses
    return [{"response": result} for result in results]


def _place(calls: list[dict], found: list[dict | None], response: dict) -> int | None:
    """Which call a response belongs to; None for none."""
    open_places = [place for place, answer in enumerate(found) if answer is None]
    for key in ("id", "name"):
        if key in response and any(key in call for call in calls):
            return next((p for p in open_places if calls[p].get(key) == response[key]), None)
    return open_places[0] if open_places else None
