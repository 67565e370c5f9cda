"""Whether a tool's parameters are a JSON Schema, and whether the arguments of a call fit it.

What cannot be judged here does not refuse a row: patterns that Python cannot read are not checked.
OpenAPI's and older drafts' spelling is understood, as other programs declare functions.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_rows import DATA_KEYS, NAMED_SCHEMAS, to_json

MESSAGE = 200  # characters of a library's message, at most
PATTERN_S = 1.0  # the longest search for one pattern: some never end
# Bounds that Gemini writes as text, as JSON has no integers of 64 bits.
COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
ALTERNATIVES = ("anyOf", "oneOf", "allOf", "$ref", "const")


def check_schema(schema: dict, tool: str) -> None:
    """Rejection if a tool's parameters are no JSON Schema."""
    _validator(to_json(schema), tool)


def argument_error(arguments: dict, schema: dict, tool: str) -> str | None:
    """What is against the schema, after "with arguments against its schema"; None if nothing is.

    Rejection if the schema cannot be followed.
    """
    validator = _validator(to_json(schema), tool)
    try:
        error = next(validator.iter_errors(arguments), None)
    except re.error:  # a pattern beside `unevaluatedProperties`, which only Python's module reads
        return None
    except (Unresolvable, RecursionError, ValueError, AttributeError, TypeError) as problem:
        # The last three: a `$ref` to what is no schema
        raise Rejection(
            "tool", f"the tool {tool} has a schema that cannot be followed: {_short(str(problem))}"
        )
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    return f"{f', at {place}' if place else ''}: {_short(error.message)}"


def _short(message: str) -> str:
    """A message of a library, which may hold a whole value or schema."""
    return message if len(message) <= MESSAGE else message[:MESSAGE] + "…"


@lru_cache(4096)
def _validator(schema: str, tool: str) -> Draft202012Validator:
    """Checks arguments by a tool's JSON Schema; never fetches another schema.

    Rejection if it is none.
    """
    parsed = _draft_2020(orjson.loads(schema))
    try:
        # Without formats: that of a pattern is Python's, and schemas are written for others.
        _Validator.check_schema(parsed, format_checker=None)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise Rejection(
            "tool",
            f"the tool {tool} has parameters that are no JSON Schema: {place}: "
            f"{_short(error.message)}",
        )
    return _Validator(parsed, registry=Registry())


def _draft_2020(schema: Any) -> Any:
    """A schema as draft 2020-12 says it, at every depth.

    OpenAPI's `nullable` adds null to what is valid; Gemini's counts are text; bounds of draft 4 are
    exclusive by a flag; `items` of draft 7 may be a list.
    """
    if isinstance(schema, list):
        return [_draft_2020(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    read: dict[str, Any] = {}
    for key, value in schema.items():
        if key in NAMED_SCHEMAS and isinstance(value, dict):
            read[key] = {name: _draft_2020(inner) for name, inner in value.items()}
        elif key != "$schema":
            read[key] = value if key in (*DATA_KEYS, "enum") else _draft_2020(value)
    for key in COUNTS:
        if isinstance(read.get(key), str) and read[key].isdecimal():
            read[key] = int(read[key])
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(read.get(key), bool):
            is_exclusive = read.pop(key)
            if is_exclusive and bound in read:
                read[key] = read.pop(bound)
    if isinstance(read.get("items"), list):
        read["prefixItems"] = read.pop("items")
        if "additionalItems" in read:
            read["items"] = read.pop("additionalItems")
    return _with_null(read) if read.pop("nullable", None) is True else read


def _with_null(schema: dict) -> dict:
    """The schema, to which null is valid, too."""
    if any(key in schema for key in ALTERNATIVES):
        return {"anyOf": [schema, {"type": "null"}]}
    types = schema.get("type")
    if isinstance(types, str):
        types = [types]
    if isinstance(types, list):
        schema["type"] = [*types, *(["null"] if "null" not in types else [])]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema


def _finds(pattern: str, text: str) -> bool | None:
    """Whether a pattern is somewhere in a text; None if that cannot be judged.

    `regex` knows what Python's own module lacks of JavaScript's patterns, such as \\p{L}.
    """
    try:
        return regex.search(pattern, text, timeout=PATTERN_S) is not None
    except (regex.error, TimeoutError, RecursionError, OverflowError):
        return None


def _pattern(
    validator: Draft202012Validator, pattern: str, value: Any, schema: dict
) -> Iterator[ValidationError]:
    if isinstance(value, str) and _finds(pattern, value) is False:
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Draft202012Validator, schemas: dict, value: Any, schema: dict
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, inner in schemas.items():
        for key, item in value.items():
            if _finds(pattern, key):
                yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(
    validator: Draft202012Validator, allowed: Any, value: Any, schema: dict
) -> Iterator[ValidationError]:
    """As jsonschema has it, for the keys that no pattern finds, or may find."""
    if not isinstance(value, dict):
        return
    patterns = schema.get("patternProperties", {})
    left = {}
    for key, item in value.items():
        if all(_finds(pattern, key) is False for pattern in patterns):
            left[key] = item
    without = {key: item for key, item in schema.items() if key != "patternProperties"}
    yield from _ADDITIONAL(validator, allowed, left, without)


def _multiple_of(
    validator: Draft202012Validator, step: float, value: Any, schema: dict
) -> Iterator[ValidationError]:
    """Exactly, by the digits: 0.3 is a multiple of 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if (Fraction(str(value)) / Fraction(str(step))).denominator != 1:
        yield ValidationError(f"{value!r} is not a multiple of {step!r}")


_ADDITIONAL = Draft202012Validator.VALIDATORS["additionalProperties"]
_Validator = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
    },
)
