"""Removes conversations that are the same as another, or nearly so.

data/converted/conversations.jsonl -> data/deduped/kept.jsonl, data/deduped/removed.jsonl (each with
the twin it was removed for and their similarity), metrics/dedup.json

    python scripts/dedup.py
"""

from functools import partial

import numpy as np
import orjson
from tqdm import tqdm

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.dedup import Features, features, find_twins, summarize
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.data.shingles import turn_texts
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside, made_by, require, write_json


def main():
    config = load_section("data", DataConfig)
    source = require("data/converted/conversations.jsonl", "convert")
    with open(source, "rb") as file, made_by("convert", source):
        index = build_index(file, config.dedup_threshold)
        row = random_access(file, index.size)
        twin, score = find_twins(index, lambda n: turn_texts(row(n)), config.dedup_threshold)
        file.seek(0)
        with aside("data/deduped") as folder:
            folder.mkdir()
            write(folder, file, row, twin, score)
    summary = summarize(index, twin)
    write_json("metrics/dedup.json", summary)
    print(
        f"{summary['rows']:,} conversations, {summary['kept']:,} kept, "
        f"{summary['removed_exact']:,} exact and {summary['removed_near']:,} near duplicates removed"
    )


def build_index(file, threshold):
    """The features of every row of the file."""
    parts = map_ordered(partial(features, threshold=threshold), chunks(file))
    return Features(*map(np.concatenate, zip(*parts, strict=True)))


def write(folder, file, row, twin, score):
    """Writes every row to one of two files."""
    with open(folder / "kept.jsonl", "wb") as kept, open(folder / "removed.jsonl", "wb") as removed:
        for n, line in enumerate(tqdm(file, total=len(twin), unit=" rows", delay=2, disable=None)):
            if twin[n] < 0:
                kept.write(line)
            else:
                removed.write(
                    orjson.dumps(removal(orjson.loads(line), row(twin[n]), float(score[n]))) + b"\n"
                )


def removal(conversation, kept, similarity):
    """A removed conversation with its twin."""
    return conversation | {
        "twin": {"id": kept["id"], "source": kept["source"]},
        "similarity": round(similarity, 4),
    }


if __name__ == "__main__":
    run(main)
