"""Removes conversations that are the same as another one, or nearly the same.

data/converted/conversations.jsonl -> data/deduped/kept.jsonl, data/deduped/removed.jsonl (each row
with the twin it was removed for, and their similarity), data/deduped/shared_text.npz (the text that
many rows share, which is no evidence), data/deduped/ids.npy (of the kept rows, for `format`),
metrics/dedup.json

What `validate` lost counts with what is lost here: metrics/validate.json,
data/validated/rejected.jsonl.

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
from gemma_finetune.data.dedup import Features, count_text, features, find_twins, summarize
from gemma_finetune.data.evidence import evidence_of
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.lost import (
    REJECTED,
    REMOVED,
    near_duplicates,
    read_counts,
    rejected_rows,
    too_many,
)
from gemma_finetune.data.shared_text import SharedText, SharedTextCounter
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, made_by, require, write_json
from gemma_finetune.utils.parallel import chunks, map_ordered

BYTES_A_WORD = 6
SHOWN = 3  # examples in a message


def main() -> None:
    config = load_section("data", DataConfig)
    threshold = config.dedup_threshold
    source = require("data/converted/conversations.jsonl", "convert")
    require(REJECTED, "validate")
    read, rejected = read_counts("validate", "read", "rejected").values()
    with (
        open(source, "rb") as file,
        aside("data/deduped") as folder,
        made_by("convert", source),
    ):
        folder.mkdir()
        shared = find_shared_text(file, source.stat().st_size)
        shared.save(folder / "shared_text.npz")
        file.seek(0)
        index = build_index(file, threshold, folder / "shared_text.npz")
        row = random_access(file, index.size)
        twin, similarity = find_twins(
            index, lambda numbers: evidence_of(list(map(row, numbers)), shared), threshold
        )
        file.seek(0)
        write(folder, file, row, twin, similarity)
        np.save(folder / "ids.npy", np.unique(index.unmasked[twin < 0]))
        summary = summarize(index, twin)
        lost = [
            rejected_rows(rejected),
            near_duplicates(summary["removed_near"], folder / REMOVED.name, SHOWN),
        ]
        problem = too_many(lost, read, config.max_lost_fraction)
        if problem:  # the removed rows stay to be read; the others must not be trained on
            (folder / "kept.jsonl").unlink()
    write_json("metrics/dedup.json", summary)
    print(
        f"{summary['rows']:,} conversations, {summary['kept']:,} kept, "
        f"{summary['removed_exact']:,} exact and {summary['removed_near']:,} "
        "near duplicates removed"
    )
    if problem:
        raise UserError(problem)


def find_shared_text(file: BinaryIO, size: int) -> SharedText:
    """The text that many different rows of the file share; `size`: its bytes."""
    counter = SharedTextCounter(words=size // BYTES_A_WORD)
    seen: set[int] = set()  # hashes of whole rows: copies of one row are not many rows
    for copies, prefixes, rows in map_ordered(partial(count_text, bits=counter.bits), chunks(file)):
        is_new = np.zeros(len(copies), bool)
        for number, text in enumerate(copies.tolist()):
            is_new[number] = text not in seen
            seen.add(text)
        counter.add(prefixes[is_new[rows]])
    return counter.shared()


def build_index(file: BinaryIO, threshold: float, shared_text: Path) -> Features:
    """The features of every row of the file."""
    work = partial(features, threshold=threshold, shared_text=str(shared_text))
    parts = map_ordered(work, chunks(file))
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
