"""Removes conversations that are the same as another one, or nearly the same.

data/converted/conversations.jsonl -> data/deduped/kept.jsonl, data/deduped/removed.jsonl (each row
with the twin it was removed for, and their similarity), metrics/dedup.json

    python scripts/dedup.py
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

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


def main() -> None:
    threshold = load_section("data", DataConfig).dedup_threshold
    source = require("data/converted/conversations.jsonl", "convert")
    with open(source, "rb") as file, made_by("convert", source):
        index = build_index(file, threshold)
        row = random_access(file, index.size)
        twin, similarity = find_twins(index, lambda number: turn_texts(row(number)), threshold)
        file.seek(0)
        with aside("data/deduped") as folder:
            folder.mkdir()
            write(folder, file, row, twin, similarity)
    summary = summarize(index, twin)
    write_json("metrics/dedup.json", summary)
    print(
        f"{summary['rows']:,} conversations, {summary['kept']:,} kept, "
        f"{summary['removed_exact']:,} exact and {summary['removed_near']:,} "
        "near duplicates removed"
    )


def build_index(file: BinaryIO, threshold: float) -> Features:
    """The features of every row of the file."""
    parts = map_ordered(partial(features, threshold=threshold), chunks(file))
    return Features(*map(np.concatenate, zip(*parts, strict=True)))


def write(
    folder: Path,
    file: BinaryIO,
    row: Callable[[int], dict],
    twin: np.ndarray,
    similarity: np.ndarray,
) -> None:
    """Writes every row to kept.jsonl or removed.jsonl."""
    with open(folder / "kept.jsonl", "wb") as kept, open(folder / "removed.jsonl", "wb") as removed:
        lines = tqdm(file, total=len(twin), unit=" rows", delay=2, disable=None)
        for number, line in enumerate(lines):
            if twin[number] < 0:
                kept.write(line)
                continue
            removal = describe_removal(
                orjson.loads(line), row(twin[number]), float(similarity[number])
            )
            removed.write(orjson.dumps(removal) + b"\n")


def describe_removal(conversation: dict, kept: dict, similarity: float) -> dict:
    """A removed conversation, with the twin that was kept."""
    twin = {"id": kept["id"], "source": kept["source"]}
    return conversation | {"twin": twin, "similarity": round(similarity, 4)}


if __name__ == "__main__":
    run(main)
