"""Tools, calls and responses of raw rows, in one form each.

    tool      {"name": "set_light", "description": "…", "parameters": {a JSON Schema}}
    call      {"name": "set_light", "arguments": {"room": "hall"}}
    response  {"name": "set_light", "response": {"ok": true}}

Read as OpenAI, google/mobile-actions and LLaMA-Factory write them, as objects or as JSON text.
Numbers without a fraction become integers, and a result that is not an object becomes
`{"result": x}`: so every runtime writes and reads them alike. `tool_check` says what is valid.
"""

import json
from collections import Counter
from typing import Any

import orjson

from gemma_finetune.data.blank import is_blank, is_nothing
from gemma_finetune.data.rejection import Rejection, short

DIGITS = 15  # of a number with a fraction: LiteRT-LM reads the next ones inexactly
LARGEST = 2**63 - 1  # integers beyond it are not exact in every runtime
# What others call `arguments` and `parameters`: without them a call or a function would be empty.
OTHER_ARGUMENTS = ("args", "input", "parameters", "kwargs")
OTHER_PARAMETERS = ("input_schema", "inputSchema", "parametersJsonSchema")
# One of them says that parameters are a JSON Schema; xLAM has a plain list of parameters instead.
SCHEMA_SIGNS = frozenset("type properties $ref anyOf oneOf allOf additionalProperties".split())
DEEPEST = 100  # levels of a value: no runtime reads much deeper ones
# Keys of a schema: whose values are data; with schemas by name; whose null says something; which
# mean nothing if they are empty.
DATA_KEYS = ("const", "default", "examples")
NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
NULLS_MEAN = ("default",)
NEVER_EMPTY = ("type", "enum", "properties")


def to_json(value: Any) -> str:
    """Compact JSON with sorted keys: equal values have equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def read_tools(value: Any) -> list[dict]:
    """The tools of a row. Rejection says which cannot be read."""
    found = _from_text(value, "`tools`", "tool")
    tools = found if isinstance(found, list) else [found]
    return [_read_tool(tool, f"tool {number}") for number, tool in enumerate(tools, 1)]


def _read_tool(tool: Any, where: str) -> dict:
    function = _function_of(tool, where, "tool")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejection("tool", f"{where} is not a function with a `name`; found {short(tool)}")
    description = function.get("description")
    if not isinstance(description, str | None):
        raise Rejection("tool", f"{where} has a description that is no text")

    read = {"name": function["name"], "description": description or ""}
    if other := _full_key(function, OTHER_PARAMETERS):
        raise Rejection("tool", f"{where} has `{other}`; write its JSON Schema as `parameters`")
    parameters = function.get("parameters")
    if isinstance(parameters, str) and not is_blank(parameters):
        parameters = _from_json(parameters, f"{where}: its parameters", "tool")
    if is_nothing(parameters) and not isinstance(parameters, dict):
        return read
    if not isinstance(parameters, dict):
        raise Rejection("tool", f"{where} has parameters that are no object")
    schema = _read_schema(parameters, where)
    if is_nothing(schema) and not schema.get("properties"):
        return read
    if not SCHEMA_SIGNS & schema.keys():
        raise Rejection(
            "tool", f"{where} has parameters that are no JSON Schema: put them under `properties`"
        )
    return read | {"parameters": schema}


def _function_of(value: Any, where: str, reason: str) -> Any:
    """What stands under `function` of a tool or a call, or else itself; each may be JSON text."""
    value = _from_text(value, where, reason)
    if isinstance(value, dict) and not is_nothing(value.get("function")):
        return _from_text(value["function"], where, reason)
    return value


def _read_schema(schema: Any, where: str) -> Any:
    """A schema without what tables and other programs fill in, types in small letters, plain
    numbers; at every depth.

    Filled in are the nulls of tables (Arrow), and empty types, enums and properties. Gemini writes
    types in capitals.
    """
    if isinstance(schema, list):
        return [_read_schema(item, where) for item in schema]
    if not isinstance(schema, dict):
        return _plain_bound(schema)
    read: dict[str, Any] = {}
    for key, value in schema.items():
        is_empty = value in ("", []) and key in NEVER_EMPTY
        if is_empty or (value is None and key not in NULLS_MEAN):
            continue
        if key in NAMED_SCHEMAS and isinstance(value, dict):
            named = {name: inner for name, inner in value.items() if inner is not None}
            read[key] = {name: _read_schema(inner, where) for name, inner in named.items()}
        elif key == "type":
            read[key] = _small(value)
        elif key == "enum":
            read[key] = plain(value, where, "tool")
        elif key in DATA_KEYS:
            read[key] = _plain_bound(value)
        else:
            read[key] = _read_schema(value, where)
    return read


def _small(types: Any) -> Any:
    if isinstance(types, list):
        return [_small(name) for name in types]
    return types.lower() if isinstance(types, str) else types


def _plain_bound(value: Any) -> Any:
    """A value of a schema that no declaration prints: plain, but of any size."""
    if isinstance(value, dict):
        return {key: _plain_bound(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_bound(item) for item in value]
    is_number = isinstance(value, int | float)
    return value if is_number and abs(value) > LARGEST else plain(value, "")


def read_calls(value: Any, where: str) -> list[dict]:
    """Calls as {"name", "arguments"}, and "id" if they have one; `value` may be JSON text."""
    found = _from_text(value, where)
    calls = found if isinstance(found, list) else [found]
    if not calls:
        raise Rejection("tool_call", f"{where} holds an empty list of calls")
    return [_read_call(call, where) for call in calls]


def _read_call(call: Any, where: str) -> dict:
    call = _from_text(call, where)
    function = _function_of(call, where, "tool_call")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejection("tool_call", f"{where} holds a call without a `name`: {short(call)}")
    arguments = function.get("arguments")
    if other := _full_key(function, OTHER_ARGUMENTS):
        raise Rejection(
            "tool_call", f"{where} has a call with `{other}`; write its arguments as `arguments`"
        )
    place = f"{where} calls {function['name']:.40} with arguments that"
    if isinstance(arguments, str):
        arguments = _from_json(arguments, place) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise Rejection("tool_call", f"{place} are no object: {short(arguments)}")
    if is_too_deep(arguments):
        raise Rejection("tool_call", f"{place} cannot be read: over {DEEPEST} levels of nesting")

    read = {"name": function["name"], "arguments": plain(arguments, where)}
    return read | _id(call.get("id"))


def read_responses(text: str, name: Any, call_id: Any, where: str) -> list[dict]:
    """Responses as {"response"}, with the "name" and the "id" of their call where they say it.

    text: of a `tool` or `observation` turn: a result, or `[{"name": …, "response": …}, …]`.
    """
    result = read_result(text)
    # With the id of its call, an object is the result itself, whatever its keys are.
    named = [result] if isinstance(result, dict) and not _id(call_id) else result
    if named and isinstance(named, list) and all(map(_is_named, named)):
        return [
            {"name": item["name"], "response": plain(item["response"], where)} for item in named
        ]
    read: dict = {"response": plain(result, where)}
    if isinstance(name, str) and name:
        read["name"] = name
    return [read | _id(call_id)]


def _id(value: Any) -> dict[str, str]:
    """{"id": text}, or nothing if there is none."""
    text = "" if value is None else str(value).strip()
    return {"id": text} if text else {}


def _is_named(item: Any) -> bool:
    """Whether a response says whose it is."""
    if not isinstance(item, dict):
        return False
    return item.keys() == {"name", "response"} and isinstance(item["name"], str)


def read_result(text: str) -> Any:
    """The JSON value of a result, or the text if it is no JSON that can be kept whole.

    A number that JSON would spell in another way is text: a version (1.10), a telephone number.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (abs(value) > LARGEST or json.dumps(value) != text.strip()):
        return text
    if is_too_deep(value):
        return text
    # Of a key that is there twice only the last value would be left.
    same_quotes = text.count('"') == orjson.dumps(value).count(b'"') and r"\u0022" not in text
    return value if same_quotes or not _key_twice(text) else text


def as_object(result: Any) -> dict:
    """A result as the object that a response must be."""
    return result if isinstance(result, dict) else {"result": result}


def plain(value: Any, where: str, reason: str = "tool_call") -> Any:
    """A JSON value with whole numbers as integers, and others of at most DIGITS digits.

    Rejection for a number that is too large.
    """
    if isinstance(value, dict):
        return {key: plain(item, where, reason) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, where, reason) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float) and not value.is_integer():
        value = float(f"{value:.{DIGITS}g}")
        if not value.is_integer():
            return value
    if abs(value) > LARGEST:
        raise Rejection(reason, f"{where} holds the number {value}, over 64 bits; make it text")
    return int(value)


def _from_text(value: Any, where: str, reason: str = "tool_call") -> Any:
    """The value, or what it holds if it is JSON text."""
    return _from_json(value, where, reason) if isinstance(value, str) else value


def _from_json(text: str, where: str, reason: str = "tool_call") -> Any:
    """The value of JSON text. Rejection if it is none, or has a key twice."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Rejection(reason, f"{where} cannot be read: not valid JSON ({error}): {text[:40]!r}")
    if is_too_deep(value):
        raise Rejection(reason, f"{where} cannot be read: over {DEEPEST} levels of nesting")
    if key := _key_twice(text):
        raise Rejection(
            "duplicate_key", f"{where} cannot be read: the key {key[:40]!r} is there twice"
        )
    return value


def is_too_deep(value: Any) -> bool:
    """Whether a JSON value has over DEEPEST levels."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        below: list = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level, depth = below, depth + 1
    return bool(level)


def _key_twice(text: str) -> str | None:
    """A key that an object in JSON text has twice, or None."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict:
        keys = Counter(key for key, _ in pairs)
        found.extend(key for key, count in keys.items() if count > 1)
        return dict(pairs)

    json.loads(text, object_pairs_hook=note)
    return found[0] if found else None


def _full_key(function: dict, names: tuple[str, ...]) -> str | None:
    """The first of these keys that holds something, or None."""
    return next((name for name in names if not is_nothing(function.get(name))), None)
