"""What is lost over all stages, held against one limit: `data.max_lost_fraction` of the rows read.

Rejected rows, near-duplicates, and rows that `format` leaves out are lost. Exact copies are not.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from gemma_finetune.utils.files import made_by, read_json, require

REJECTED = Path("data/validated/rejected.jsonl")
REMOVED = Path("data/deduped/removed.jsonl")


class Lost(NamedTuple):
    """The rows that are lost for one cause."""

    rows: int
    cause: str  # as in `18 rejected`
    examples: Callable[[], list[str]]
    advice: str  # how to keep more of them


def too_many(lost: Iterable[Lost], read: int, limit: float) -> str | None:
    """The error message if more than the fraction `limit` of the rows read is lost, else None."""
    lost = [part for part in lost if part.rows]
    total = sum(part.rows for part in lost)
    if total <= limit * read:
        return None
    causes = ", ".join(f"{part.rows:,} {part.cause}" for part in lost)
    examples = "".join(f"\n  {line}" for part in lost for line in part.examples())
    advice = "; ".join(part.advice for part in lost)
    return (
        f"{total:,} of {read:,} rows are lost ({total / read:.1%}: {causes}), over "
        f"data.max_lost_fraction ({limit:.1%}). For example:{examples}\n"
        f"{advice[0].upper()}{advice[1:]}; or raise data.max_lost_fraction, if these rows may go"
    )


def rejected_rows(count: int, examples: Callable[[], list[str]] | None = None) -> Lost:
    """What `validate` rejected."""
    examples = examples or partial(first_of, REJECTED, 1, describe_rejection)
    return Lost(count, "rejected", examples, f"correct the rejected rows (all are in {REJECTED})")


def near_duplicates(count: int, path: Path = REMOVED, shown: int = 1) -> Lost:
    """What `dedup` removed; `path`: the file of removed rows."""
    examples = partial(first_of, path, shown, describe_near_duplicate)
    advice = (
        f"raise data.dedup_threshold to keep more near-duplicates (all are in {REMOVED}; those at "
        "1.00 differ in case, punctuation or a short system text alone: no threshold keeps them)"
    )
    return Lost(count, "near-duplicates", examples, advice)


def read_counts(stage: str, *names: str) -> dict[str, int]:
    """Numbers from the metrics of a stage."""
    path = require(f"metrics/{stage}.json", stage)
    metrics = read_json(path)
    with made_by(stage, path):
        return {name: int(metrics[name]) for name in names}


def all_name_train() -> bool:
    """Whether every valid row names the split `train`, so that none is held out by name."""
    return "all_named_train" in read_json(require("metrics/validate.json", "validate"))


def first_of(path: Path, count: int, describe: Callable[[dict], str]) -> list[str]:
    """The first rows of a file that `describe` has words for, in these words."""
    found: list[str] = []
    with open(path, "rb") as file:
        for line in file:
            if len(found) == count:
                break
            if text := describe(orjson.loads(line)):
                found.append(text)
    return found


def describe_rejection(row: dict) -> str:
    """A row of a file of rejected rows."""
    return f"{row['file']}:{row['line']}: {row['reason']}: {row['message']}"


def describe_near_duplicate(row: dict) -> str:
    """A row of REMOVED; nothing for an exact copy."""
    if row["id"] == row["twin"]["id"]:
        return ""
    return f"{where(row)} is like {where(row['twin'])}: {row['similarity']:.2f}"


def where(conversation: dict) -> str:
    """Where a conversation is in the raw data."""
    source = conversation["source"]
    return f"{source['file']}:{source['line']}"
