"""Tools, calls and responses of raw rows, in one form each.

    tool      {"name": "set_light", "description": "…", "parameters": {a JSON Schema}}
    call      {"name": "set_light", "arguments": {"room": "hall"}}
    response  {"name": "set_light", "response": {"ok": true}}

Read as OpenAI, google/mobile-actions and LLaMA-Factory write them, as objects or as JSON text.
Numbers without a fraction become integers, and a result that is not an object becomes
`{"result": x}`: so every runtime writes and reads them alike. `tool_check` says what is valid.
"""

import json
from typing import Any

import orjson

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection

DIGITS = 15  # of a number with a fraction: LiteRT-LM reads the next ones inexactly
LARGEST = 2**63 - 1  # integers beyond it are not exact in every runtime
NULLS_MEAN = ("default", "const")  # keys of a schema whose null says something


def to_json(value: Any) -> str:
    """Compact JSON with sorted keys: equal values have equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def read_tools(value: Any) -> list[dict]:
    """The tools of a row. Rejection says which cannot be read."""
    found = _from_json(value, "tools") if isinstance(value, str) else value
    tools = found if isinstance(found, list) else [found]
    return [_read_tool(tool, f"tool {number}") for number, tool in enumerate(tools, 1)]


def _read_tool(tool: Any, where: str) -> dict:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejection("tool", f"{where} is not a function with a `name`; found {_short(tool)}")
    description = function.get("description")
    if not isinstance(description, str | None):
        raise Rejection("tool", f"{where} has a description that is no text")

    read = {"name": function["name"], "description": description or ""}
    parameters = function.get("parameters")
    if isinstance(parameters, str):
        parameters = _from_json(parameters, f"{where} parameters")
    if is_nothing(parameters):
        return read
    if not isinstance(parameters, dict):
        raise Rejection("tool", f"{where} has parameters that are no object")
    return read | {"parameters": _small_types(plain(_without_nulls(parameters), where))}


def _without_nulls(schema: Any) -> Any:
    """A schema without the nulls that tables (Arrow) put where another row has a key."""
    if isinstance(schema, list):
        return [_without_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if value is not None or key in NULLS_MEAN:
            kept[key] = _without_nulls(value)
    return kept


def _small_types(schema: Any) -> Any:
    """A schema with its types in small letters (Gemini writes OBJECT), at every depth."""
    if isinstance(schema, list):
        return [_small_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    small = {}
    for key, value in schema.items():
        is_type = key == "type" and isinstance(value, str)
        small[key] = value.lower() if is_type else _small_types(value)
    return small


def read_calls(value: Any, where: str) -> list[dict]:
    """Calls as {"name", "arguments"}, and "id" if they have one; `value` may be JSON text."""
    found = _from_json(value, where) if isinstance(value, str) else value
    calls = found if isinstance(found, list) else [found]
    return [_read_call(call, where) for call in calls]


def _read_call(call: Any, where: str) -> dict:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejection("tool_call", f"{where} holds a call without a `name`: {_short(call)}")
    arguments = function.get("arguments")
    place = f"{where} calls {function['name']:.40} with arguments that"
    if isinstance(arguments, str):
        arguments = _from_json(arguments, place) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise Rejection("tool_call", f"{place} are no object: {_short(arguments)}")

    read = {"name": function["name"], "arguments": plain(arguments, where)}
    return read | ({"id": call["id"]} if call.get("id") is not None else {})


def read_responses(text: str, name: Any, call_id: Any, where: str) -> list[dict]:
    """Responses as {"response"}, with the "name" and the "id" of their call where they say it.

    text: of a `tool` or `observation` turn: a result, or `[{"name": …, "response": …}, …]`.
    """
    result = _result(text)
    named = result if isinstance(result, list) else [result]
    if named and all(isinstance(item, dict) and _is_named(item) for item in named):
        return [
            {"name": item["name"], "response": plain(item["response"], where)} for item in named
        ]
    read: dict = {"response": plain(result, where)}
    if isinstance(name, str) and name:
        read["name"] = name
    return [read | ({"id": call_id} if call_id is not None else {})]


def _is_named(item: dict) -> bool:
    return item.keys() == {"name", "response"} and isinstance(item["name"], str)


def _result(text: str) -> Any:
    """The JSON value of a result, or the text if it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def as_object(result: Any) -> dict:
    """A result as the object that a response must be."""
    return result if isinstance(result, dict) else {"result": result}


def plain(value: Any, where: str) -> Any:
    """A JSON value with whole numbers as integers, and others of at most DIGITS digits.

    Rejection for a number that is too large.
    """
    if isinstance(value, dict):
        return {key: plain(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, where) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float) and not value.is_integer():
        return float(f"{value:.{DIGITS}g}")
    if abs(value) > LARGEST:
        raise Rejection(
            "tool_call", f"{where} holds the number {value}, over 64 bits; make it text"
        )
    return int(value)


def _from_json(text: str, where: str) -> Any:
    """The value of JSON text. Rejection if it is none, or has a key twice."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Rejection("tool_call", f"{where} are not valid JSON ({error}): {text[:40]!r}")
    json.loads(text, object_pairs_hook=_refuse_twice)
    return value


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejection("duplicate_key", f"has a key of {', '.join(found)[:60]!r} twice")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
