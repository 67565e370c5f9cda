"""One raw row, as bytes, to the object that it holds."""

import json
from typing import Any

import orjson

from gemma_finetune.data.loader import MAX_ROW_BYTES
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.turn_list import is_turn_list


def parse_row(data: bytes, format: str) -> dict:
    """The row as an object: a string is `<|im_start|>` text, a list of turns is ChatML.

    Rejection if it is too long, not JSON, anything else, or has a key twice.
    """
    row = _parse(data)
    if isinstance(row, str):
        return {"text": row}
    if is_turn_list(row):
        return {"conversations" if format == "sharegpt" else "messages": row}
    if not isinstance(row, dict):
        raise Rejection("not_an_object", f"is a JSON {_kind(row)}; a row must be an object")
    return row


def _parse(data: bytes) -> Any:
    """The JSON value of a row. Rejection if it is too long, not JSON, or has a key twice."""
    if len(data) > MAX_ROW_BYTES:
        raise Rejection("too_long", f"is over {MAX_ROW_BYTES >> 20} MB; is the line break missing?")
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Rejection("invalid_json", _explain_json(data, error))
    try:
        compact = orjson.dumps(row)
    except orjson.JSONEncodeError as error:  # nested more deeply than orjson writes
        raise Rejection("invalid_json", f"cannot be written again: {error}")

    # Parsing silently drops the first value of a key that occurs twice. What is left then has fewer
    # quotes, unless escaped quotes in the text hide the difference.
    if data.count(b'"') != compact.count(b'"') or b"\\u0022" in data:
        _refuse_duplicate_keys(data)
    return row


def _explain_json(data: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong with JSON text. NaN is the most common fault: pandas and json write it."""

    def refuse(name: str) -> None:
        raise Rejection("invalid_json", name)

    if b"NaN" in data or b"Infinity" in data:
        try:
            json.loads(data, parse_constant=refuse)
        except Rejection as found:
            return f"holds {found.message}, which is not JSON; write null, or leave the key out"
        except (ValueError, RecursionError):
            pass
    if data.lstrip().startswith((b"{'", b"[{'")):
        return "is written as Python, not as JSON; write it with json.dumps"
    return f"is not valid JSON: {str(error)[:200]}"


def _refuse_duplicate_keys(data: bytes) -> None:
    def check_unique(pairs: list[tuple[str, Any]]) -> None:
        keys = set()
        for key, _ in pairs:
            if key in keys:
                raise Rejection("duplicate_key", f"has the key {key[:40]!r} twice")
            keys.add(key)

    json.loads(data, object_pairs_hook=check_unique)


def _kind(value: Any) -> str:
    names = {list: "array", int: "number", float: "number", bool: "boolean", type(None): "null"}
    return names[type(value)]
