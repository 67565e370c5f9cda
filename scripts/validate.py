"""Checks every row of the raw data and sets aside those that cannot be used, with the reason.

data/raw (ShareGPT, Alpaca, ChatML) -> data/validated/{records,rejected}.jsonl,
metrics/validate.json

    python scripts/validate.py
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import orjson

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.extra_keys import keep_most_common
from gemma_finetune.data.loader import Placed, find_files, read_files
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.data.validation import COUNTED, check_rows
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, write_json

SHOWN = 5  # rejected rows shown when there are too many

Counts = dict[str, Counter]  # rows by file, and one for each name in COUNTED


def main() -> None:
    config = load_section("data", DataConfig)
    with aside("data/validated") as folder:
        folder.mkdir()
        counts, first = validate(config, folder)
        summary = summarize(counts)
        problem = unknown_columns(config.columns, counts["columns"])
        problem = problem or too_many_rejected(
            summary, first, config.max_rejected_fraction, counts["messages"]
        )
        if problem:
            # The rejected rows can still be read. The records must not be mistaken for good data.
            (folder / "records.jsonl").unlink()
    write_json("metrics/validate.json", summary)
    print(table(summary))
    if problem:
        raise UserError(problem)


def validate(config: DataConfig, folder: Path) -> tuple[Counts, list[dict]]:
    """Writes records and rejections. Returns the counts and the first few rejections."""
    paths = find_files(config.raw)
    counts: Counts = {name: Counter() for name in COUNTED}
    counts["files"] = Counter({path.as_posix(): 0 for path in paths})
    first: list[dict] = []

    check = partial(
        check_rows,
        format=config.format,
        allowed=config.repairs,
        columns=config.columns,
        rule=config.reasoning,
    )
    rows = count_by_file(read_files(paths), counts["files"])
    with (
        open(folder / "records.jsonl", "wb") as records,
        open(folder / "rejected.jsonl", "wb") as rejected,
    ):
        for outcome in map_ordered(check, chunks(rows, size=lambda row: len(row[2]))):
            records.write(outcome.records)
            rejected.write(outcome.rejected)
            missing = SHOWN - len(first)
            first += map(orjson.loads, outcome.rejected.splitlines()[:missing])
            for name, counter in outcome.counts.items():
                counts[name].update(counter)
            for name in ("ignored_keys", "messages"):
                counts[name] = keep_most_common(counts[name])
    return counts, first


def count_by_file(rows: Iterable[Placed], files: Counter) -> Iterator[Placed]:
    """The rows, unchanged; each is counted in `files` as it passes."""
    for row in rows:
        files[row[0]] += 1
        yield row


def summarize(counts: Counts) -> dict:
    """The metrics: numbers of rows, by format, by reason of rejection, by repair."""
    rows = counts["rows"]
    # A mapping {file: 0}, not a list: DVC would plot a list as data points.
    empty_files = {file: 0 for file, count in sorted(counts["files"].items()) if not count}
    return {
        "read": rows["read"],
        "accepted": rows["accepted"],
        "rejected": rows["rejected"],
        "rejected_fraction": rows["rejected"] / rows["read"] if rows["read"] else 0.0,
        "files": len(counts["files"]),
        "empty_files": empty_files,
        "formats": dict(counts["formats"]),
        "reasons": dict(counts["reasons"]),
        "repairs": dict(counts["repairs"]),
        "with_untrained_answers": rows["with_untrained_answers"],
        "ignored_keys": dict(counts["ignored_keys"]),
    }


def table(summary: dict) -> str:
    """What the run prints at its end."""
    titles = {
        "formats": "format",
        "repairs": "repair",
        "ignored_keys": "ignored key",
        "reasons": "reason",
    }
    lines = [
        f"{summary['read']:>9,} rows read, {summary['accepted']:,} accepted, "
        f"{summary['rejected']:,} rejected"
    ]
    for name, title in titles.items():
        for value, count in sorted(summary[name].items()):
            lines.append(f"{count:>9,}  {title}: {value}")
    if summary["with_untrained_answers"]:
        lines.append(f"{summary['with_untrained_answers']:>9,}  with answers not trained on")
    for file in summary["empty_files"]:
        lines.append(f"no row in {file}")
    return "\n".join(lines)


def unknown_columns(columns: Mapping[str, str], found: Counter) -> str | None:
    """The error message if `data.columns` names a column that no row has."""
    missing = [f"{name}: {column}" for name, column in columns.items() if not found[column]]
    if not missing:
        return None
    return f"data.columns names columns that no row has ({', '.join(missing)}); correct the names"


def too_many_rejected(
    summary: dict, first: list[dict], limit: float, messages: Counter
) -> str | None:
    """The error message if no row is left or more than the fraction `limit` was rejected.

    messages: how often each message of a rejection occurs.
    """
    if not summary["read"]:
        return "the files of data.raw hold no row"
    if summary["accepted"] and summary["rejected_fraction"] <= limit:
        return None

    listed = "data/validated/rejected.jsonl"
    if not summary["accepted"] and len(messages) == 1 and summary["rejected"] > 1:
        row = first[0]
        return (
            f"no row of data.raw can be used. All {summary['rejected']:,} rows have one fault: "
            f"{row['reason']}: {row['message']}\n"
            f"The first is {row['file']}:{row['line']}; all are in {listed}: fix them"
        )

    found, advice = "no row of data.raw can be used", "fix them"
    if summary["accepted"]:
        advice = "fix them, or raise the limit"
        found = (
            f"{summary['rejected']:,} of {summary['read']:,} rows rejected "
            f"({summary['rejected_fraction']:.1%}), over data.max_rejected_fraction ({limit:.1%})"
        )
    shown = "\n".join(
        f"  {row['file']}:{row['line']}: {row['reason']}: {row['message']}" for row in first
    )
    return f"{found}. The first:\n{shown}\nAll are in {listed}: {advice}"


if __name__ == "__main__":
    run(main)
