"""Renders conversations in Gemma's chat template, splits them, and measures what training will see.

data/deduped/kept.jsonl + models/base/tokenizer.model -> data/formatted/{train,validation,test,overlong}.jsonl,
metrics/data.json and the plots metrics/data_{rows,tokens,turns,nearest}.csv

    python scripts/format.py
"""

from functools import partial

import numpy as np
import orjson

from gemma_finetune.config import load_section
from gemma_finetune.data import leakage
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.formatting import format_lines
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.nearest import SAMPLE
from gemma_finetune.data.parallel import chunks, map_ordered
from gemma_finetune.data.shingles import turn_texts
from gemma_finetune.data.split import SPLITS, split_of
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, made_by, read_json, require, write_json

TOKENIZER = "models/base/tokenizer.model"


def main():
    from gemma_finetune.data import statistics  # here, so that the worker processes do not load pandas, 40 MB each

    config, limit = load_section("data", DataConfig), load_section("train", TrainingConfig).sequence_length
    source = require("data/deduped/kept.jsonl", "dedup")
    require(TOKENIZER, "base")
    validate, dedup = (read_json(require(f"metrics/{name}.json", name)) for name in ("validate", "dedup"))
    with open(source, "rb") as file, aside("data/formatted") as folder, made_by("dedup", source):
        folder.mkdir()
        held_out, sample = sample_held_out(file, config)
        work = partial(format_lines, config=config, tokenizer_path=TOKENIZER, limit=limit, held_out=sample)
        facts, bands, similarity = write(folder, map_ordered(work, chunks(file)), limit)
        facts = statistics.facts_table(facts)
        row = random_access(file, facts["size"].to_numpy())
        fits = (facts["tokens"] <= limit).to_numpy()
        set_aside_overlong(folder, facts, row, limit, config.overlong)
        leaks = refuse_leaks(facts[fits], bands[fits], np.flatnonzero(fits), row, config.dedup_threshold)
        refuse_untrainable(facts[fits])
    nearest = facts.loc[held_out, ["split"]].assign(similarity=similarity)[fits[held_out]]
    write_metrics(facts[fits], nearest, {"leakage": leaks, "overlong": int((~fits).sum())}, validate, dedup)


def sample_held_out(file, config):
    """The numbers and the lines of at most SAMPLE rows that are not trained on, evenly spread over the file."""
    fractions = config.validation_fraction, config.test_fraction
    numbers = [n for n, line in enumerate(file) if split_of(orjson.loads(line), *fractions) != "train"]
    numbers = numbers[:: -(-len(numbers) // SAMPLE) or 1]
    file.seek(0)
    chosen = set(numbers)
    lines = tuple(line for n, line in enumerate(file) if n in chosen)
    file.seek(0)
    return numbers, lines


def write(folder, chunks_of_rows, limit):
    """Writes every row that fits to its split; returns the facts and band keys of all rows, and the similarities."""
    facts, bands, nearest = [], [], []
    files = [open(folder / f"{split}.jsonl", "wb") for split in SPLITS]
    for chunk in chunks_of_rows:
        for line, split, tokens in zip(chunk.lines, chunk.facts["split"], chunk.facts["tokens"], strict=True):
            if tokens <= limit:
                files[split].write(line)
        facts.append(chunk.facts)
        bands.append(chunk.bands)
        nearest = [np.maximum.reduce([*nearest, chunk.nearest])]
    for file in files:
        file.close()
    return facts, np.concatenate(bands), nearest[0]


def set_aside_overlong(folder, facts, row, limit, policy):
    """Names the rows that are too long in overlong.jsonl; UserError if `data.overlong` is fail."""
    names = []
    for n in np.flatnonzero(facts["tokens"] > limit):
        conversation, tokens = row(n), int(facts["tokens"][n])
        names.append({"id": conversation["id"], "source": conversation["source"], "tokens": tokens})
    (folder / "overlong.jsonl").write_bytes(b"".join(orjson.dumps(name) + b"\n" for name in names))
    first = "\n".join(f"  {where(name)}: {name['tokens']} tokens" for name in names[:5])
    if names and policy == "fail":
        raise UserError(
            f"{len(names):,} rows are over train.sequence_length = {limit}; raise it, shorten them, or "
            f"set data.overlong to drop. The first:\n{first}"
        )
    if names:
        print(f"{len(names):,} rows over train.sequence_length = {limit} left out:\n{first}")


def refuse_leaks(facts, bands, numbers, row, threshold):
    """The leakage report. UserError if a row has a near-twin in another split."""
    splits = facts["split"].cat.codes.to_numpy()
    leaks = leakage.find_leaks(bands, splits, lambda n: turn_texts(row(numbers[n])), threshold)
    if leaks:
        first = "\n".join(
            f"  {where(row(numbers[leak.row]))} ({SPLITS[splits[leak.row]]}) and "
            f"{where(row(numbers[leak.twin]))} ({SPLITS[splits[leak.twin]]}): {leak.similarity:.2f}"
            for leak in leaks[:5]
        )
        raise UserError(
            f"{len(leaks):,} pairs of near-twins stand in different splits: dedup's hashes overlooked them, as they do "
            f"one pair in a thousand at the threshold. Lower data.dedup_threshold ({threshold}) a little, and it will "
            f"find them. The first:\n{first}"
        )
    return leakage.summarize(leaks, splits)


def where(row):
    """The place of a row in the raw data."""
    return f"{row['source']['file']}:{row['source']['line']}"


def refuse_untrainable(facts):
    """UserError if there is nothing to train on."""
    if not (facts["split"] == "train").any():
        raise UserError("no row is left to train on; see metrics/validate.json, metrics/dedup.json and data.overlong")


def write_metrics(facts, nearest, more, validate, dedup):
    """metrics/data.json and the tables behind the plots."""
    from gemma_finetune.data import statistics

    flow = statistics.row_flow(validate, dedup, more["overlong"])
    tables = {
        "rows": flow,
        "tokens": statistics.token_histogram(facts),
        "turns": statistics.turn_histogram(facts),
        "nearest": statistics.similarity_histogram(nearest),
    }
    for name, table in tables.items():
        with aside(f"metrics/data_{name}.csv") as path:
            table.to_csv(path, index=False)
    splits = statistics.summarize(facts)
    rows = dict(zip(flow["stage"], flow["rows"].tolist(), strict=True))
    similarity = statistics.summarize_nearest(nearest)
    write_json("metrics/data.json", {"rows": rows, "splits": splits, "nearest_training_row": similarity, **more})
    print(statistics.as_text(splits))
    print("near-twins between splits: " + ", ".join(f"{name} {count}" for name, count in more["leakage"].items()))
    for split, numbers in similarity.items():
        print(f"{split}: similarity to the nearest training row " + ", ".join(f"{k} {v}" for k, v in numbers.items()))


if __name__ == "__main__":
    run(main)
