"""Renders conversations in Gemma's chat template and splits them into train, validation and test.

data/deduped/kept.jsonl + models/base/tokenizer.model ->
data/formatted/{train,validation,test}.jsonl, overlong.jsonl (which rows are too long) and facts.npz
(numbers of each row, for `describe`)

    python scripts/format.py
"""

from functools import partial

import numpy as np
import orjson

from gemma_finetune.config import load_section
from gemma_finetune.data import leakage
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.formatter import format_lines
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.data.shingles import turn_texts
from gemma_finetune.data.split import SPLITS
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, made_by, require

TOKENIZER = "models/base/tokenizer.model"


def main():
    config = load_section("data", DataConfig)
    limit = load_section("train", TrainingConfig).sequence_length
    source = require("data/deduped/kept.jsonl", "dedup")
    require(TOKENIZER, "base")
    with open(source, "rb") as file, aside("data/formatted") as folder, made_by("dedup", source):
        folder.mkdir()
        work = partial(format_lines, config=config, tokenizer_path=TOKENIZER)
        facts, sizes, bands = write(folder, map_ordered(work, chunks(file)), limit)
        row = random_access(file, sizes)
        fits = facts["tokens"] <= limit
        set_aside_overlong(folder, facts["tokens"], row, limit, config.overlong)
        splits = facts["split"][fits]
        refuse_leaks(splits, bands[fits], np.flatnonzero(fits), row, config.dedup_threshold)
        refuse_untrainable(splits)
        np.savez(folder / "facts.npz", **{name: values[fits] for name, values in facts.items()})
    rows = ", ".join(f"{count:,} {split}" for split, count in count_splits(splits).items())
    print(f"{len(splits):,} conversations: {rows}")


def write(folder, chunks_of_rows, limit):
    """Writes every row that fits to its split. Returns the facts, input sizes and band keys of all
    rows.
    """
    facts, sizes, bands = [], [], []
    files = [open(folder / f"{split}.jsonl", "wb") for split in SPLITS]
    for chunk in chunks_of_rows:
        splits, tokens = chunk.facts["split"], chunk.facts["tokens"]
        for line, split, length in zip(chunk.lines, splits, tokens, strict=True):
            if length <= limit:
                files[split].write(line)
        facts.append(chunk.facts)
        sizes.append(chunk.sizes)
        bands.append(chunk.bands)
    for file in files:
        file.close()
    joined = {name: np.concatenate([part[name] for part in facts]) for name in facts[0]}
    return joined, np.concatenate(sizes), np.concatenate(bands)


def set_aside_overlong(folder, tokens, row, limit, policy):
    """Names the rows that are too long in overlong.jsonl; UserError if `data.overlong` is fail."""
    names = []
    for number in np.flatnonzero(tokens > limit):
        conversation = row(number)
        place = {"id": conversation["id"], "source": conversation["source"]}
        names.append(place | {"tokens": int(tokens[number])})
    lines = [orjson.dumps(name) + b"\n" for name in names]
    (folder / "overlong.jsonl").write_bytes(b"".join(lines))
    first = "\n".join(f"  {where(name)}: {name['tokens']} tokens" for name in names[:5])
    if names and policy == "fail":
        raise UserError(
            f"{len(names):,} rows are over train.sequence_length = {limit}; raise it, shorten them, "
            f"or set data.overlong to drop. The first:\n{first}"
        )
    if names:
        print(f"{len(names):,} rows over train.sequence_length = {limit} left out:\n{first}")


def refuse_leaks(splits, bands, numbers, row, threshold):
    """Prints the leakage report. UserError if a row has a near-twin in another split."""
    leaks = leakage.find_leaks(bands, splits, lambda n: turn_texts(row(numbers[n])), threshold)
    if leaks:
        pairs = []
        for leak in leaks[:5]:
            late, early = row(numbers[leak.row]), row(numbers[leak.twin])
            pairs.append(
                f"  {where(late)} ({SPLITS[splits[leak.row]]}) and "
                f"{where(early)} ({SPLITS[splits[leak.twin]]}): {leak.similarity:.2f}"
            )
        raise UserError(
            f"{len(leaks):,} pairs of near-twins are in different splits. dedup's hashes missed them, "
            f"as they do for one pair in a thousand at the threshold. Lower data.dedup_threshold "
            f"({threshold}) a little and dedup will find them. The first:\n" + "\n".join(pairs)
        )
    counts = leakage.summarize(leaks, splits)
    print("near-twins between splits: " + ", ".join(f"{k} {n}" for k, n in counts.items()))


def where(row):
    """The place of a row in the raw data."""
    return f"{row['source']['file']}:{row['source']['line']}"


def refuse_untrainable(splits):
    """UserError if there is nothing to train on."""
    if not (splits == SPLITS.index("train")).any():
        raise UserError(
            "no row is left to train on; see metrics/validate.json, metrics/dedup.json and data.overlong"
        )


def count_splits(splits):
    """Number of rows in each split."""
    return dict(zip(SPLITS, np.bincount(splits, minlength=len(SPLITS)).tolist(), strict=True))


if __name__ == "__main__":
    run(main)
