"""Describes the data: rows through the stages, lengths, and how close the held-out rows come to
training.

data/formatted, metrics/validate.json, metrics/dedup.json
-> metrics/data.json and the plots metrics/data_{rows,tokens,turns,nearest}.csv

    python scripts/describe.py

Nothing is trained or measured from its outputs: a change here reruns only the card.
"""

from functools import partial

import numpy as np
import orjson

from gemma_finetune.data.nearest import SAMPLE, index_held_out, nearest_similarity
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.formats.npz import read_arrays
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, read_json, require, write_json

HELD_OUT = ("validation", "test")


def main():
    # Imported here, because worker processes import this file too and pandas takes 40 MB in each.
    from gemma_finetune.data import statistics

    formatted = require("data/formatted", "format")
    validate = read_json(require("metrics/validate.json", "validate"))
    dedup = read_json(require("metrics/dedup.json", "dedup"))
    with made_by("format", formatted):
        facts = statistics.facts_table(read_arrays(formatted / "facts.npz"))
        overlong = sum(1 for _ in open(formatted / "overlong.jsonl", "rb"))
        splits, similarity = compare_held_out(formatted)
    with made_by("validate", "metrics/validate.json"), made_by("dedup", "metrics/dedup.json"):
        flow = statistics.row_flow(validate, dedup, overlong)

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
    write_json("metrics/data.json", metrics)
    print(statistics.as_text(summary))
    for split, numbers in closest.items():
        shown = ", ".join(f"{name} {value}" for name, value in numbers.items())
        print(f"{split}: similarity to the nearest training row {shown}")


def compare_held_out(formatted):
    """The split of each sampled held-out row, and its highest similarity to a training row, float64
    (rows,).
    """
    rows = []
    for split in HELD_OUT:
        with open(formatted / f"{split}.jsonl", "rb") as file:
            rows += [(split, spoken_text(line)) for line in file]
    rows = rows[:: -(-len(rows) // SAMPLE) or 1]
    splits = [split for split, _ in rows]
    if not rows:
        return splits, np.zeros(0)
    work = partial(nearest_in_chunk, held_out=index_held_out([text for _, text in rows]))
    nearest = np.zeros(len(rows))
    with open(formatted / "train.jsonl", "rb") as file:
        for similarity in map_ordered(work, chunks(file)):
            nearest = np.maximum(nearest, similarity)
    return splits, nearest


def nearest_in_chunk(lines, held_out):
    """`nearest_similarity` for a chunk of training rows."""
    return nearest_similarity([spoken_text(line) for line in lines], held_out)


def spoken_text(line):
    """What the user and the assistant of a formatted row said, a line each; the system text is left
    out.
    """
    messages = orjson.loads(line)["messages"]
    return "\n".join(message["content"] for message in messages if message["role"] != "system")


if __name__ == "__main__":
    run(main)
