"""Raw rows, as bytes, to records or rejections; and records to canonical conversations.

A record holds the turns of a row after all checks and repairs, and where the row came from:

    {"file": "data/raw/a.jsonl", "line": 3, "format": "chatml", "repairs": ["trim"], "split": null,
     "turns": [["human", "Hi"], ["gpt", "Hello!"]]}

Opens no file.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import orjson

from gemma_finetune.config import ACTIVATION
from gemma_finetune.data import schemas
from gemma_finetune.data.blank import is_blank
from gemma_finetune.data.converter import canonical, to_numbered_turns
from gemma_finetune.data.extra_keys import check_extra_keys, keep_most_common
from gemma_finetune.data.loader import Placed
from gemma_finetune.data.markup import refuse_markup
from gemma_finetune.data.reasoning import has_reasoning, without_channels, without_reasoning
from gemma_finetune.data.reasoning_keys import HINT, is_reasoning, is_reasoning_part
from gemma_finetune.data.rejection import Rejection, cause
from gemma_finetune.data.repair import repair
from gemma_finetune.data.roles import ANSWERS, CALLS, UNTRAINED_OF, Turns
from gemma_finetune.data.row_json import parse_row
from gemma_finetune.data.row_keys import NO_COLUMNS, Columns, detect, prepare, used_columns
from gemma_finetune.data.split import (
    SPLITS,
    agreed_split,
    canonical_split,
    key_looks_like_split,
    split_in_name,
)
from gemma_finetune.data.tool_check import settle_calls

COUNTED = tuple("rows formats reasons causes columns keys repairs ignored_keys split_keys".split())
MOST_COMMON = ("keys", "ignored_keys", "split_keys", "causes")  # of these, few are kept


class Checked(NamedTuple):
    """A valid row: its format, and the conversation that it holds."""

    format: str
    turns: Turns
    split: str | None
    repairs: list[str]
    ignored_keys: set[str]
    tools: list[dict]


def check(
    data: bytes,
    format: str,
    allowed: Collection[str],
    columns: Columns = NO_COLUMNS,
    rule: str = "refuse",
) -> Checked:
    """Parses, checks and repairs one raw row. Rejection says what is wrong with it.

    format: auto, or the name of a format. allowed: the names of the repairs that are allowed.
    columns, rule: `data.columns` and `data.reasoning`.
    """
    return _check(parse_row(data, format), format, allowed, columns, rule)


def _check(
    row: dict, format: str, allowed: Collection[str], columns: Columns, rule: str
) -> Checked:
    prepared = prepare(row, columns)
    if format == "auto":
        format = detect(prepared, columns, row)
    is_renamed = "messages" in prepared and "messages" not in row  # the turns have another key
    if format == "sharegpt" and is_renamed and not prepared.get("conversations"):
        prepared["conversations"] = prepared.pop("messages")
    read = schemas.read(prepared, format, columns)
    ignored_keys = check_extra_keys(read, rule, used_columns(row, format, columns))
    turns, numbers = to_numbered_turns(read, rule)
    turns, numbers, changes = settle_reasoning(turns, numbers, read, rule)
    refuse_markup(turns, numbers)
    turns, numbers, tools = settle_calls(turns, numbers, getattr(read, "tools", None))
    turns, repairs = repair(turns, allowed, numbers)
    split = read.split or (_split_in_metadata(read) if tools else None)
    return Checked(format, turns, split, changes + repairs, ignored_keys, tools)


def _split_in_metadata(row: schemas.Row) -> str | None:
    """The split that `metadata` names, as google/mobile-actions writes it."""
    name = canonical_split((row.model_extra or {}).get("metadata"))
    return name if isinstance(name, str) and name in SPLITS else None


def lacks_activation(checked: Checked) -> bool:
    """Whether there are tools, but no system text that says so as FunctionGemma knows it."""
    role, text = checked.turns[0]
    return bool(checked.tools) and not (role == "system" and ACTIVATION in text)


def settle_reasoning(
    turns: Turns, numbers: Sequence[int], row: schemas.Row, rule: str
) -> tuple[Turns, list[int], list[str]]:
    """The turns after `data.reasoning` with their numbers, and what was done, as it is counted
    among the repairs.
    """
    found = rule != "refuse" and has_reasoning_beside(row)
    settled, kept = [], []
    for place, (role, text) in enumerate(turns):
        number = numbers[place]
        if role in ANSWERS:
            text = without_channels(text)
        if role in ANSWERS and has_reasoning(text):
            found = True
            if rule == "refuse":
                raise Rejection("reasoning", f"turn {number} holds reasoning between tags; {HINT}")
            if rule == "drop":
                text = without_reasoning(text, f"turn {number}")
                goes_on = place + 1 < len(turns) and turns[place + 1][0] in CALLS
                if goes_on and is_blank(text):  # only calls are left of this message
                    continue
        settled.append((role, text))
        kept.append(number)
    return settled, kept, [f"{rule}_reasoning"] if found else []


def has_reasoning_beside(row: schemas.Row) -> bool:
    """Whether a key of the row or of a turn, or a content part, holds reasoning."""
    turns = schemas.turns(row)
    for extra in (row.model_extra, *(turn.model_extra for turn in turns)):
        if extra and any(is_reasoning(key, value) for key, value in extra.items()):
            return True
    parts = (part for turn in turns if isinstance(turn.content, list) for part in turn.content)
    return any(is_reasoning_part(part.type, part.model_extra) for part in parts)


class Outcome(NamedTuple):
    """What became of a chunk of rows."""

    records: bytes  # JSON lines
    rejected: bytes  # JSON lines
    counts: dict[str, Counter]  # one for each name in COUNTED


def check_rows(
    rows: list[Placed],
    format: str,
    allowed: Collection[str],
    columns: Columns = NO_COLUMNS,
    rule: str = "refuse",
    raw: str = "",
) -> Outcome:
    """Checks a chunk of rows. Each row becomes one line of `records` or one of `rejected`.

    raw: the folder of data.raw; names of files and folders below it may name the rows' split.
    """
    records, rejected = [], []
    counts: dict[str, Counter] = {name: Counter() for name in COUNTED}
    for file, line, data in rows:
        try:
            row = parse_row(data, format)
            if columns:
                counts["columns"].update(name for name in columns.values() if name in row)
                counts["keys"].update(row.keys())
            checked = _check(row, format, allowed, columns, rule)
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
            counts["causes"][cause(rejection.reason, rejection.message)] += 1
            continue
        record = {
            "file": file,
            "line": line,
            "format": checked.format,
            "repairs": checked.repairs,
            "split": split,
            "turns": checked.turns,
        }
        records.append(record | ({"tools": checked.tools} if checked.tools else {}))
        counts["formats"][checked.format] += 1
        counts["rows"]["named_train"] += split == "train"
        counts["repairs"].update(checked.repairs)
        if any(role in UNTRAINED_OF.values() for role, _ in checked.turns):
            counts["rows"]["with_untrained_answers"] += 1
        if checked.tools:
            counts["rows"]["with_tools"] += 1
        if lacks_activation(checked):
            counts["rows"]["without_activation"] += 1
        counts["ignored_keys"].update(sorted(checked.ignored_keys))
        counts["split_keys"].update(
            key for key in sorted(checked.ignored_keys) if key_looks_like_split(key, row.get(key))
        )
    for name in MOST_COMMON:
        counts[name] = keep_most_common(counts[name])
    counts["rows"].update(read=len(rows), accepted=len(records), rejected=len(rejected))
    return Outcome(_to_lines(records), _to_lines(rejected), counts)


def convert(record: dict) -> dict:
    """The canonical conversation of a record."""
    source = {key: record[key] for key in ("file", "line", "format")}
    return canonical(record["turns"], record["split"], source, record.get("tools", ()))


def convert_lines(lines: list[bytes]) -> bytes:
    """The canonical conversations of a chunk of records, both as JSON lines."""
    return _to_lines(convert(orjson.loads(line)) for line in lines)


def _to_lines(rows: Iterable[dict]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
