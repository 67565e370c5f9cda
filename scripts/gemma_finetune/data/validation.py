"""Raw rows, as bytes, to records or to rejections; and records to canonical conversations. Opens no
file.

A record holds the turns of a row after all checks and repairs, and where the row came from:

    {"file": "data/raw/a.jsonl", "line": 3, "format": "chatml", "repairs": ["trim"], "split": null,
     "turns": [["human", "Hi"], ["gpt", "Hello!"]]}
"""

import json
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.converter import Turns, canonical, to_turns
from gemma_finetune.data.extra_keys import check_extra_keys, keep_most_common
from gemma_finetune.data.loader import MAX_ROW_BYTES, Placed
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import repair

COUNTED = ("rows", "formats", "reasons", "repairs", "ignored_keys")


class Checked(NamedTuple):
    """A valid row: its format, and the conversation it holds."""

    format: str
    turns: Turns
    split: str | None
    repairs: list[str]
    ignored_keys: set[str]


def check(data: bytes, format: str, allowed: Collection[str]) -> Checked:
    """Parses and checks one raw row; `format` is auto or the name of one. Rejection says what is
    wrong.
    """
    row = _parse(data)
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, dict):
        raise Rejection("not_an_object", f"is a JSON {_kind(row)}; a row must be an object")
    format = schemas.detect(row) if format == "auto" else format
    read = schemas.read(row, format)
    ignored_keys = check_extra_keys(read)
    turns, repairs = repair(to_turns(read), allowed)
    return Checked(format, turns, read.split, repairs, ignored_keys)


class Outcome(NamedTuple):
    """Of a chunk of rows: the JSON lines of its records and of its rejections, and what was
    counted.
    """

    records: bytes
    rejected: bytes
    counts: dict[str, Counter]  # of each of COUNTED


def check_rows(rows: list[Placed], format: str, allowed: Collection[str]) -> Outcome:
    """Checks a chunk of rows; each ends up either in `records` or in `rejected`."""
    records, rejected = [], []
    counts = {name: Counter() for name in COUNTED}
    for file, line, data in rows:
        where = {"file": file, "line": line}
        try:
            checked = check(data, format, allowed)
        except Rejection as rejection:
            text = data[:200].decode("utf-8", "replace")
            rejected.append(
                where | {"reason": rejection.reason, "message": rejection.message, "starts": text}
            )
            counts["reasons"][rejection.reason] += 1
        else:
            facts = {"format": checked.format, "repairs": checked.repairs, "split": checked.split}
            records.append(where | facts | {"turns": checked.turns})
            counts["formats"][checked.format] += 1
            counts["repairs"].update(checked.repairs)
            counts["ignored_keys"].update(sorted(checked.ignored_keys))
    counts["ignored_keys"] = keep_most_common(counts["ignored_keys"])
    counts["rows"].update(read=len(rows), accepted=len(records), rejected=len(rejected))
    return Outcome(_lines(records), _lines(rejected), counts)


def _lines(rows):
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def convert(record: dict) -> dict:
    """The canonical conversation of a record."""
    turns = [(role, text) for role, text in record["turns"]]
    source = {key: record[key] for key in ("file", "line", "format")}
    return canonical(turns, record["split"], source)


def convert_lines(lines: list[bytes]) -> bytes:
    """The JSON lines of the canonical conversations of a chunk of records, one for each."""
    return _lines(convert(orjson.loads(line)) for line in lines)


def _parse(data):
    if len(data) > MAX_ROW_BYTES:
        raise Rejection("too_long", f"is over {MAX_ROW_BYTES >> 20} MB; is the line break missing?")
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Rejection("invalid_json", f"is not valid JSON: {str(error)[:200]}")
    try:
        compact = orjson.dumps(row)
    except orjson.JSONEncodeError as error:  # nested deeper than it writes
        raise Rejection("invalid_json", f"cannot be written again: {error}")
    # A key that occurs twice loses its first value without a word; then the quotes of the two
    # differ in number.
    if (
        data.count(b'"') != compact.count(b'"') or b"\\u0022" in data
    ):  # an escaped quote more would make up for it
        _refuse_duplicate_keys(data)
    return row


def _refuse_duplicate_keys(data):
    def unique(pairs):
        keys = set()
        for key, _ in pairs:
            if key in keys:
                raise Rejection("duplicate_key", f"has the key {key[:40]!r} twice")
            keys.add(key)

    json.loads(data, object_pairs_hook=unique)


def _kind(value):
    names = {list: "array", int: "number", float: "number", bool: "boolean", type(None): "null"}
    return names[type(value)]
