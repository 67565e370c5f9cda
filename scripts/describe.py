"""Describes the data: rows by stage, lengths, and how similar the held-out rows are to training.

data/formatted, metrics/validate.json, metrics/dedup.json
-> metrics/data.json and the plots metrics/data_{rows,tokens,turns,nearest}.csv

    python scripts/describe.py

Only the model card reads these files, so a change here trains and measures nothing again.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gemma_finetune.data import statistics
from gemma_finetune.data.lost import read_counts
from gemma_finetune.data.nearest import index_held_out, nearest_in_chunk, spoken_text
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, require, write_json
from gemma_finetune.utils.npz import read_arrays
from gemma_finetune.utils.parallel import chunks, map_ordered

FORMATTED = Path("data/formatted")
HELD_OUT = ("validation", "test")
SAMPLE = 1000  # held-out rows that are compared, each with every training row


def main() -> None:
    validate = read_counts("validate", "read", "accepted", "rejected")
    dedup = read_counts("dedup", "rows", "kept")
    with made_by("format", FORMATTED):
        facts = statistics.facts_table(read_arrays(require(FORMATTED / "facts.npz", "format")))
        overlong, rejected = count_lines("overlong"), count_lines("rejected")
        splits, similarity = compare_held_out(int((facts["split"] != "train").sum()))

    flow = statistics.row_flow(validate, dedup, len(facts), overlong + rejected)
    nearest = statistics.nearest_table(splits, similarity)
    tables = {
        "rows": flow,
        "tokens": statistics.token_histogram(facts),
        "turns": statistics.turn_histogram(facts),
        "nearest": statistics.similarity_histogram(nearest),
    }
    for name, table in tables.items():
        with aside(f"metrics/data_{name}.csv") as path:
            table.to_csv(path, index=False)

    summary = statistics.summarize(facts)
    closest = statistics.summarize_nearest(nearest)
    metrics = {
        "rows": dict(zip(flow["stage"], flow["rows"].tolist(), strict=True)),
        "splits": summary,
        "nearest_training_row": closest,
        "overlong": overlong,
    }
    if rejected:
        metrics["rejected_by_base"] = rejected
    write_json("metrics/data.json", metrics)
    print(statistics.as_text(summary))
    for split, numbers in closest.items():
        shown = ", ".join(f"{name} {value}" for name, value in numbers.items())
        print(f"{split}: similarity to the nearest training row {shown}")


def open_formatted(name: str) -> BinaryIO:
    """A JSONL file that `format` wrote."""
    return open(require(FORMATTED / f"{name}.jsonl", "format"), "rb")


def count_lines(name: str) -> int:
    """Rows of a JSONL file that `format` wrote."""
    with open_formatted(name) as file:
        return sum(1 for _ in file)


def compare_held_out(count: int) -> tuple[list[str], np.ndarray]:
    """Compares a sample of the `count` held-out rows with every training row.

    Returns the split of each sampled row, and its highest similarity to a training row, float64
    (sampled rows,).
    """
    step = max(1, -(-count // SAMPLE))
    rows = list(islice(held_out_lines(), 0, None, step))
    splits = [split for split, _ in rows]
    if not rows:
        return splits, np.zeros(0)

    held_out = index_held_out([spoken_text(line) for _, line in rows])
    nearest = np.zeros(len(rows))
    with open_formatted("train") as file:
        work = partial(nearest_in_chunk, held_out=held_out)
        for similarity in map_ordered(work, chunks(file)):
            nearest = np.maximum(nearest, similarity)
    return splits, nearest


def held_out_lines() -> Iterator[tuple[str, bytes]]:
    """(split, line) of every held-out row."""
    for split in HELD_OUT:
        with open_formatted(split) as file:
            for line in file:
                yield split, line


if __name__ == "__main__":
    run(main)
