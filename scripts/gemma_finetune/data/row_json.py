"""One raw row, as bytes, to the object that it holds."""

import json
import re
from typing import Any

import orjson

from gemma_finetune.data import tables
from gemma_finetune.data.loader import MAX_ROW_BYTES
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.texts import to_utf8
from gemma_finetune.data.turn_list import is_turn_list

# How the readers of tables and of plain text hand on a byte that is not UTF-8.
_ESCAPED_BYTE = re.compile(rb"\\udc[89a-f][0-9a-f]")


def parse_row(data: bytes, format: str) -> dict:
    """The row as an object: a string is `<|im_start|>` text, a list of turns is ChatML.

    Rejection if it is too long, not JSON, anything else, has a key twice, or repeats a header.
    """
    row = _parse(data)
    if isinstance(row, dict):
        return _as_written(row)
    if isinstance(row, str):
        _refuse_encoded_twice(row)
        return {"text": row}
    if is_turn_list(row):
        return {"conversations" if format == "sharegpt" else "messages": row}
    advice = ""
    if isinstance(row, list) and row:
        advice = "; of a table, pandas writes them by to_json(…, orient='records', lines=True)"
    raise Rejection("not_an_object", f"is a JSON {_kind(row)}; a row must be an object{advice}")


def _refuse_encoded_twice(text: str) -> None:
    """Rejection if a text holds a row."""
    if text.lstrip().startswith(("{", "[")):
        try:
            is_row = isinstance(orjson.loads(text), dict | list)
        except orjson.JSONDecodeError:
            return
        if is_row:
            raise Rejection(
                "not_an_object",
                "is a JSON string that holds the row, so it was encoded twice; write the row once",
            )


def _as_written(row: dict) -> dict:
    """The row as its author wrote it, before the viewer of Hugging Face or `datasets` changed it.

    {"row_idx": 0, "row": {…}, "truncated_cells": []}    ->  {…}
    {"messages": {"role": ["user"], "content": ["Hi"]}}  ->  {"messages": [{"role": "user", …}]}
    """
    if "row_idx" in row and isinstance(row.get("row"), dict) and not row.get("truncated_cells"):
        row = row["row"]
    if tables.MISSHAPEN in row:
        raise Rejection("misshapen", row[tables.MISSHAPEN])
    repeats = True  # whether every value is its own key
    for key, value in row.items():
        repeats = repeats and value == key
        if isinstance(value, dict) and _is_lists_of_turns(value):
            turns = zip(*value.values(), strict=True)
            row[key] = [dict(zip(value, turn, strict=True)) for turn in turns]
    if repeats and len(row) > 1:
        raise Rejection("header", "repeats the header, as joined files do; remove the line")
    return row


def _is_lists_of_turns(value: dict) -> bool:
    """Whether an object holds the roles of all turns, the texts of all turns, and so on."""
    if not isinstance(value.get("role", value.get("from")), list):
        return False
    parts = value.values()
    return all(isinstance(part, list) for part in parts) and len(set(map(len, parts))) == 1


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

    if "depth limit" in str(error):  # Python's own parser may overflow the stack here
        return "is nested more than 1,024 levels deep"
    if not_utf8 := _explain_bytes(data):
        return not_utf8
    if b"NaN" in data or b"Infinity" in data:
        try:
            json.loads(data, parse_constant=refuse)
        except Rejection as found:
            return f"holds {found.message}, which is not JSON; write null, or leave the key out"
        except (ValueError, RecursionError):
            pass
    if data.lstrip().startswith((b"{'", b"[{'")):
        return "is written as Python, not as JSON; write it with json.dumps"
    return _explain_rest(data) or f"is not valid JSON: {str(error)[:200]}"


def _explain_rest(data: bytes) -> str | None:
    """What stands after the JSON value of a row, if it is known."""
    text = data.decode("utf-8", "replace").strip()
    try:
        rest = text[json.JSONDecoder().raw_decode(text)[1] :].lstrip()
    except (ValueError, RecursionError):
        return None
    if rest == ",":
        return (
            "ends with a comma; in JSON Lines none stands between rows: remove the commas, or write"
            " all rows as one array in a .json file"
        )
    if rest.lstrip(", ").startswith(("{", "[")):
        return "holds more than one value; put each row on its own line, without commas"
    return None


def _explain_bytes(data: bytes) -> str | None:
    """Where JSON text is not UTF-8. None if it is."""
    try:
        data.decode("utf-8")
        if _ESCAPED_BYTE.search(data):
            text = json.dumps(json.loads(data), ensure_ascii=False)
            text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        around = error.object[max(0, error.start - 15) : error.end + 5]
        return f"is not UTF-8: {around!r}; convert the file with {to_utf8('ENCODING')}"
    except (ValueError, RecursionError):
        return None
    return None


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
