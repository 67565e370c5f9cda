"""Raw rows, as bytes, to records or rejections; and records to canonical conversations.

A record holds the turns of a row after all checks and repairs, and where the row came from:

    {"file": "data/raw/a.jsonl", "line": 3, "format": "chatml", "repairs": ["trim"], "split": null,
     "turns": [["human", "Hi"], ["gpt", "Hello!"]]}

Opens no file.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.converter import Turns, canonical, to_turns
from gemma_finetune.data.extra_keys import check_extra_keys, keep_most_common
from gemma_finetune.data.loader import MAX_ROW_BYTES, Placed
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import repair
from gemma_finetune.data.split import agreed_split, split_in_name

COUNTED = ("rows", "formats", "reasons", "repairs", "ignored_keys")


class Checked(NamedTuple):
    """A valid row: its format, and the conversation that it holds."""

    format: str
    turns: Turns
    split: str | None
    repairs: list[str]
    ignored_keys: set[str]


def check(data: bytes, format: str, allowed: Collection[str]) -> Checked:
    """Parses, checks and repairs one raw row. Rejection says what is wrong with it.

    format: auto, or the name of a format. allowed: the names of the repairs that are allowed.
    """
    row = _parse(data)
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, dict):
        raise Rejection("not_an_object", f"is a JSON {_kind(row)}; a row must be an object")
    if format == "auto":
        format = schemas.detect(row)
    read = schemas.read(row, format)
    ignored_keys = check_extra_keys(read)
    turns, repairs = repair(to_turns(read), allowed)
    return Checked(format, turns, read.split, repairs, ignored_keys)


class Outcome(NamedTuple):
    """What became of a chunk of rows."""

    records: bytes  # JSON lines
    rejected: bytes  # JSON lines
    counts: dict[str, Counter]  # one for each name in COUNTED


def check_rows(rows: list[Placed], format: str, allowed: Collection[str], raw: str = "") -> Outcome:
    """Checks a chunk of rows. Each row becomes one line of `records` or one of `rejected`.

    raw: the folder of data.raw; names of files and folders below it may name the rows' split.
    """
    records, rejected = [], []
    counts: dict[str, Counter] = {name: Counter() for name in COUNTED}
    for file, line, data in rows:
        try:
            checked = check(data, format, allowed)
            split = agreed_split(checked.split, split_in_name(file, raw))
        except Rejection as rejection:
            rejected.append(
                {
                    "file": file,
                    "line": line,
                    "reason": rejection.reason,
                    "message": rejection.message,
                    "starts": data[:200].decode("utf-8", "replace"),
                }
            )
            counts["reasons"][rejection.reason] += 1
            continue
        records.append(
            {
                "file": file,
                "line": line,
                "format": checked.format,
                "repairs": checked.repairs,
                "split": split,
                "turns": checked.turns,
            }
        )
        counts["formats"][checked.format] += 1
        counts["repairs"].update(checked.repairs)
        counts["ignored_keys"].update(sorted(checked.ignored_keys))
    counts["ignored_keys"] = keep_most_common(counts["ignored_keys"])
    counts["rows"].update(read=len(rows), accepted=len(records), rejected=len(rejected))
    return Outcome(_to_lines(records), _to_lines(rejected), counts)


def convert(record: dict) -> dict:
    """The canonical conversation of a record."""
    source = {key: record[key] for key in ("file", "line", "format")}
    return canonical(record["turns"], record["split"], source)


def convert_lines(lines: list[bytes]) -> bytes:
    """The canonical conversations of a chunk of records, both as JSON lines."""
    return _to_lines(convert(orjson.loads(line)) for line in lines)


def _to_lines(rows: Iterable[dict]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _parse(data: bytes) -> Any:
    """The JSON value of a row. Rejection if it is too long, not JSON, or has a key twice."""
    if len(data) > MAX_ROW_BYTES:
        raise Rejection("too_long", f"is over {MAX_ROW_BYTES >> 20} MB; is the line break missing?")
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Rejection("invalid_json", f"is not valid JSON: {str(error)[:200]}")
    try:
        compact = orjson.dumps(row)
    except orjson.JSONEncodeError as error:  # nested more deeply than orjson writes
        raise Rejection("invalid_json", f"cannot be written again: {error}")

    # Parsing silently drops the first value of a key that occurs twice. What is left then has fewer
    # quotes, unless escaped quotes in the text hide the difference.
    if data.count(b'"') != compact.count(b'"') or b"\\u0022" in data:
        _refuse_duplicate_keys(data)
    return row


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
