"""Reads the raw data, checks every row, and sets aside those that cannot be used, each with its
reason.

data/raw (ShareGPT, Alpaca, ChatML) -> data/validated/{records,rejected}.jsonl,
metrics/validate.json

    python scripts/validate.py
"""

from collections import Counter
from functools import partial

import orjson

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.extra_keys import keep_most_common
from gemma_finetune.data.loader import find_files, read_files
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.data.validation import COUNTED, check_rows
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, write_json

SHOWN = 5  # rejected rows shown when there are too many


def main():
    config = load_section("data", DataConfig)
    with aside("data/validated") as folder:
        folder.mkdir()
        counts, first = validate(config, folder)
        summary = summarize(counts)
        problem = too_many_rejected(summary, first, config.max_rejected_fraction)
        if problem:  # the rejected rows stay to be read, the others must not be taken for good
            (folder / "records.jsonl").unlink()
    write_json("metrics/validate.json", summary)
    print(table(summary))
    if problem:
        raise UserError(problem)


def validate(config, folder):
    """Writes records and rejections; returns the counts and the first few rejections."""
    counts, first = {name: Counter() for name in ("files", *COUNTED)}, []
    with (
        open(folder / "records.jsonl", "wb") as records,
        open(folder / "rejected.jsonl", "wb") as rejected,
    ):
        check = partial(check_rows, format=config.format, allowed=config.repairs)
        paths = find_files(config.raw)
        rows = count_by_file(read_files(paths), counts["files"])
        for outcome in map_ordered(check, chunks(rows, size=lambda row: len(row[2]))):
            records.write(outcome.records)
            rejected.write(outcome.rejected)
            first += map(orjson.loads, outcome.rejected.splitlines()[: SHOWN - len(first)])
            for name, counter in outcome.counts.items():
                counts[name].update(counter)
            counts["ignored_keys"] = keep_most_common(counts["ignored_keys"])
        counts["files"].update({path.as_posix(): 0 for path in paths})
    return counts, first


def count_by_file(rows, files):
    """The rows, counted in `files` as they pass."""
    for row in rows:
        files[row[0]] += 1
        yield row


def summarize(counts):
    """The metrics: numbers of rows, by format, by reason of rejection and by repair."""
    rows = counts["rows"]
    fraction = rows["rejected"] / rows["read"] if rows["read"] else 0.0
    named = {name: dict(counts[name]) for name in COUNTED[1:]}
    # A mapping, not a list: DVC would take a list in a registered file for data points of a plot.
    empty = {file: 0 for file, count in sorted(counts["files"].items()) if not count}
    total = {"files": len(counts["files"]), "empty_files": empty, "rejected_fraction": fraction}
    return {**{name: rows[name] for name in ("read", "accepted", "rejected")}, **total, **named}


def table(summary):
    """What a person reads at the end of the run."""
    lines = [
        f"{summary['read']:>9,} rows read, {summary['accepted']:,} accepted, {summary['rejected']:,} rejected"
    ]
    titles = {
        "formats": "format",
        "repairs": "repair",
        "ignored_keys": "ignored key",
        "reasons": "reason",
    }
    for name, title in titles.items():
        lines += [
            f"{count:>9,}  {title}: {value}" for value, count in sorted(summary[name].items())
        ]
    return "\n".join(lines + [f"no row in {file}" for file in summary["empty_files"]])


def too_many_rejected(summary, first, limit):
    """What to tell the person if nothing is left, or if more than the fraction `limit` was
    rejected; else None.
    """
    if not summary["read"]:
        return "the files of data.raw hold no row"
    if summary["accepted"] and summary["rejected_fraction"] <= limit:
        return None
    found = "no row of data.raw can be used"
    if summary["accepted"]:
        found = (
            f"{summary['rejected']:,} of {summary['read']:,} rows rejected ({summary['rejected_fraction']:.1%}), over "
            f"data.max_rejected_fraction ({limit:.1%})"
        )
    shown = "\n".join(
        f"  {row['file']}:{row['line']}: {row['reason']}: {row['message']}" for row in first
    )
    return f"{found}. The first:\n{shown}\nAll are in data/validated/rejected.jsonl: mend them, or raise the limit"


if __name__ == "__main__":
    run(main)
