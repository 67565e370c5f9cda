"""FunctionGemma's text of declarations, calls and responses, and its way back.

    render_call("set_light", {"room": "hall", "on": True})
    -> "<start_function_call>call:set_light{on:true,room:<escape>hall<escape>}<end_function_call>"

- Every object is written in the order of its keys without case, as Jinja's `dictsort` has it.
- Strings stand between <escape>; numbers, true, false and null are bare.
- A declaration has only the keys of SCHEMA_KEYS, its types in capitals, and nothing empty.
- `parse_calls` reads as LiteRT-LM's grammar does, so that Keras and TFLite give the same calls.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from gemma_finetune.config import (
    END_CALL,
    END_DECLARATION,
    END_RESPONSE,
    ESCAPE,
    START_CALL,
    START_DECLARATION,
    START_RESPONSE,
)

# What a declaration says of a JSON Schema.
SCHEMA_KEYS = ("description", "enum", "items", "nullable", "properties", "required", "type")

Call = dict[str, Any]  # {"name": …, "arguments": {…}}


def render_value(value: Any) -> str:
    """A JSON value in FunctionGemma's spelling."""
    if isinstance(value, str):
        return f"{ESCAPE}{value}{ESCAPE}"
    if isinstance(value, dict):
        items = [f"{key}:{render_value(value[key])}" for key in sorted(value, key=str.lower)]
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(render_value, value)) + "]"
    if isinstance(value, float):
        return _render_float(value)
    return json.dumps(value)


def _render_float(value: float) -> str:
    """Without an exponent, and without a fraction that is zero."""
    if value.is_integer():
        return str(int(value))
    return format(Decimal(json.dumps(value)), "f")


def render_call(name: str, arguments: dict) -> str:
    return f"{START_CALL}call:{name}{render_value(arguments)}{END_CALL}"


def render_calls(calls: Iterable[Call]) -> str:
    """Several calls of one turn stand behind each other."""
    return "".join(render_call(call["name"], call["arguments"]) for call in calls)


def render_response(name: str, response: Any) -> str:
    """The result of a call; one that is not an object stands under `result`."""
    content = response if isinstance(response, dict) else {"result": response}
    return f"{START_RESPONSE}response:{name}{render_value(content)}{END_RESPONSE}"


def render_responses(responses: Iterable[dict]) -> str:
    """Responses `{"name", "response"}` of one turn stand behind each other."""
    return "".join(render_response(item["name"], item["response"]) for item in responses)


def render_declaration(tool: dict) -> str:
    """A function that the model may call; `tool` as OpenAI has it, or only its function."""
    function = tool.get("function") or tool
    fields = {"description": function.get("description") or ""}
    if parameters := _printed_schema(function.get("parameters")):
        fields["parameters"] = parameters
    return (
        f"{START_DECLARATION}declaration:{function['name']}{render_value(fields)}{END_DECLARATION}"
    )


def _printed_schema(schema: Any) -> dict:
    """What a declaration says of a JSON Schema; nothing of one that is not an object."""
    printed: dict[str, Any] = {}
    if not isinstance(schema, dict):
        return printed
    for key in SCHEMA_KEYS:
        value = schema.get(key)
        if value and key == "properties":
            value = {name: _printed_schema(inner) for name, inner in value.items()}
        elif value and key == "items":
            value = _printed_schema(value)
        elif value and key == "type":
            value = value.upper() if isinstance(value, str) else [name.upper() for name in value]
        if value:
            printed[key] = value
    return printed


# The way back.


def answer_message(text: str) -> dict:
    """An answer of the model as a message: its words under `content`, its calls as `tool_calls`.

    A text with a call that cannot be read stays a text.
    """
    try:
        words, calls = split_calls(text)
    except (ValueError, RecursionError):
        words, calls = text.strip(), []
    if not calls:
        return {"role": "assistant", "content": words}
    made = [{"type": "function", "function": call} for call in calls]
    message = {"role": "assistant", "tool_calls": made}
    return message | {"content": words} if words else message


def answer_text(message: dict) -> str:
    """What the model says in a message of the assistant: the way back of `answer_message`."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return (message.get("content") or "").strip() + render_calls(calls)


# A call ends before the next one begins: so no start is searched for its end more than once.
_BLOCK = re.compile(f"{START_CALL}((?:(?!{START_CALL}).)*?){END_CALL}", re.DOTALL)
_TOKEN = re.compile(
    rf"\s*(?:(?P<string>{ESCAPE}.*?{ESCAPE})"
    r"|(?P<number>-?(?:\d+(?:\.\d+|[eE][+-]?\d+)?|\.\d+))"
    r"|(?P<word>[A-Za-z_][\w.\-]*)"
    r"|(?P<mark>[{}\[\]:,]))",
    re.DOTALL | re.ASCII,
)
_WORDS = {"true": True, "false": False, "null": None}


def split_calls(text: str) -> tuple[str, list[Call]]:
    """(the text outside of calls, the calls) of an answer. ValueError if a call cannot be read."""
    calls = parse_calls(text)
    words = _BLOCK.sub("", text).removesuffix(START_RESPONSE)
    if START_CALL in words:
        raise ValueError("a call does not end")
    return words.strip(), calls


def parse_calls(text: str) -> list[Call]:
    """The calls in an answer. ValueError if one of them cannot be read."""
    return [_Reader(block[1]).call() for block in _BLOCK.finditer(text)]


class _Reader:
    """Reads `call:NAME{KEY:VALUE,…}`, token by token."""

    def __init__(self, text: str):
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0

    def call(self) -> Call:
        self._take("call")
        self._take(":")
        name = self._take_kind("word")
        arguments = self._object() if self._place < len(self._tokens) else {}
        if self._place < len(self._tokens):
            raise self._error()
        return {"name": name, "arguments": arguments}

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._take("{")
        while not self._skip("}"):
            key = self._take_kind("word")
            self._take(":")
            found.setdefault(key, self._value())
            self._skip(",")
        return found

    def _list(self) -> list[Any]:
        found = []
        self._take("[")
        while not self._skip("]"):
            found.append(self._value())
            self._skip(",")
        return found

    def _value(self) -> Any:
        kind, token = self._next()
        if token == "{":
            return self._object()
        if token == "[":
            return self._list()
        self._place += 1
        if kind == "string":
            return token.removeprefix(ESCAPE).removesuffix(ESCAPE)
        if kind == "number":
            return self._number(token)
        if kind == "word" and token in _WORDS:
            return _WORDS[token]
        raise self._error()

    def _number(self, token: str) -> int | float:
        if token.lstrip("-").isdigit():
            return int(token)
        value = float(token)
        if math.isinf(value):  # JSON has no such number
            raise self._error()
        return value

    def _next(self) -> tuple[str, str]:
        if self._place >= len(self._tokens):
            raise self._error()
        return self._tokens[self._place]

    def _take(self, token: str) -> None:
        if self._next() not in (("mark", token), ("word", token)):
            raise self._error()
        self._place += 1

    def _take_kind(self, kind: str) -> str:
        found, token = self._next()
        if found != kind or token in ("call", *_WORDS):
            raise self._error()
        self._place += 1
        return token

    def _skip(self, mark: str) -> bool:
        """Whether the next token is this mark, which is then taken."""
        found = self._next() == ("mark", mark)
        self._place += found
        return found

    def _error(self) -> ValueError:
        return ValueError(f"not a call: {self._text[:60]!r}")


def _tokens(text: str) -> Sequence[tuple[str, str]]:
    """(kind, token) of all tokens. ValueError for what is none."""
    found: list[tuple[str, str]] = []
    end, text = 0, text.rstrip()
    while end < len(text):
        token = _TOKEN.match(text, end)
        if not token or not token.lastgroup:
            raise ValueError(f"not a call: {text[end : end + 20]!r}")
        found.append((token.lastgroup, token[token.lastgroup]))
        end = token.end()
    return found
