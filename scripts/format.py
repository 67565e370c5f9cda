"""Renders conversations in Gemma's chat template and splits them into train, validation and test.

data/deduped/kept.jsonl, models/base/tokenizer.model ->
data/formatted/{train,validation,test}.jsonl, overlong.jsonl (the rows that are too long),
facts.npz (numbers about each row, for `describe`) and lengths.json (for `settings`)

    python scripts/format.py
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from itertools import chain, compress, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from pydantic import TypeAdapter

from gemma_finetune.auto import KEPT_ROWS, USUAL_ANSWERS, Lengths, covering, sequence_length
from gemma_finetune.config import AUTO, load_section, load_value, read_section
from gemma_finetune.data import leakage
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.evidence import evidence_of
from gemma_finetune.data.formatter import Formatted, count_tokens, format_lines, where
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.shared_text import load_shared_text
from gemma_finetune.data.split import SPLITS
from gemma_finetune.training.config import SequenceLength
from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import aside, made_by, require, write_json
from gemma_finetune.utils.npz import write_arrays
from gemma_finetune.utils.parallel import chunks, map_ordered

TOKENIZER = "models/base/tokenizer.model"
SHARED_TEXT = "data/deduped/shared_text.npz"
SHOWN = 5  # rows that a message names
MEASURED = 20_000  # rows, spread evenly, by whose lengths an automatic sequence length is chosen


def main() -> None:
    config = load_section("data", DataConfig)
    limit = read_section("train").get("sequence_length")
    if limit != AUTO:
        limit = load_value("train.sequence_length", TypeAdapter(SequenceLength))
    source = require("data/deduped/kept.jsonl", "dedup")
    require(TOKENIZER, "base")
    require(SHARED_TEXT, "dedup")
    with open(source, "rb") as file, aside("data/formatted") as folder, made_by("dedup", source):
        folder.mkdir()
        if limit == AUTO:
            limit = choose_limit(file, config)
            print(f"train.sequence_length: auto is {limit}")
        work = partial(
            format_lines,
            config=config,
            tokenizer_path=TOKENIZER,
            shared_text=SHARED_TEXT,
            limit=limit,
        )
        facts, sizes, bands = write(folder, map_ordered(work, chunks(file)), limit)
        row = random_access(file, sizes)
        set_aside_overlong(folder, facts, row, limit, config)

        # From here on only what fits: (formatted rows,), and the rows that they are of.
        fits = facts["tokens"] <= limit
        refuse_untrainable(facts["split"], fits)
        facts = {name: values[fits] for name, values in facts.items()}
        numbers, first = np.unique(facts.pop("row"), return_index=True)
        splits = facts["split"][first]  # (rows,)
        refuse_leaks(splits, bands[numbers], lambda n: row(numbers[n]), config.dedup_threshold)
        answers = facts.pop("answer")
        write_lengths(folder, limit, answers, facts["split"])
        write_arrays(folder / "facts.npz", facts)
    counts = np.bincount(facts["split"], minlength=len(SPLITS)).tolist()
    shown = ", ".join(f"{n:,} {split}" for split, n in zip(SPLITS, counts, strict=True))
    print(f"{sum(counts):,} conversations: {shown}")
    if pieces := sum(counts) - len(numbers):
        print(f"{pieces:,} of them by splitting conversations over {limit} tokens")


def choose_limit(file: BinaryIO, config: DataConfig) -> int:
    """The automatic sequence length. It keeps every row if `data.overlong` is fail."""
    keep_all = config.overlong == "fail"
    step = 1 if keep_all else max(1, -(-sum(1 for _ in file) // MEASURED))
    file.seek(0)
    work = partial(count_tokens, tokenizer_path=TOKENIZER)
    counted = map_ordered(work, chunks(islice(file, 0, None, step)))
    tokens = list(chain.from_iterable(counted))
    file.seek(0)
    return sequence_length(tokens, 1.0 if keep_all else KEPT_ROWS)


def write_lengths(folder: Path, limit: int, answers: np.ndarray, splits: np.ndarray) -> None:
    """Writes what `settings` asks of the data: the sequence length and those of test answers."""
    tokens = answers[splits == SPLITS.index("test")].tolist()
    lengths = Lengths(
        sequence_length=limit,
        longest_answer=max(tokens, default=0),
        usual_answer=covering([count for count in tokens if count], USUAL_ANSWERS),
    )
    write_json(folder / "lengths.json", asdict(lengths))


def write(
    folder: Path, formatted: Iterable[Formatted], limit: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Writes every formatted row of at most `limit` tokens to the file of its split.

    Returns the facts of all formatted rows, overlong ones too; and of all rows the bytes of their
    input lines (rows,) and their band keys (rows, bands).
    """
    parts = []
    rows = 0
    for chunk in formatted:
        chunk.facts["row"] += rows
        rows += len(chunk.sizes)
        fits = chunk.facts["tokens"] <= limit
        for number, split in enumerate(SPLITS):
            chosen = fits & (chunk.facts["split"] == number)
            with open(folder / f"{split}.jsonl", "ab") as file:
                file.writelines(compress(chunk.lines, chosen))
        parts.append(chunk._replace(lines=[]))  # the lines need not stay in memory
    facts = {name: np.concatenate([part.facts[name] for part in parts]) for name in parts[0].facts}
    sizes = np.concatenate([part.sizes for part in parts])
    bands = np.concatenate([part.bands for part in parts])
    return facts, sizes, bands


def set_aside_overlong(
    folder: Path,
    facts: dict[str, np.ndarray],
    row: Callable[[int], dict],
    limit: int,
    config: DataConfig,
) -> None:
    """Lists rows over `limit` tokens in overlong.jsonl.

    UserError if `data.overlong` is fail, or if they are more than `data.max_lost_fraction`.
    """
    tokens = facts["tokens"]
    overlong = []
    with open(folder / "overlong.jsonl", "wb") as file:
        for number in np.flatnonzero(tokens > limit).tolist():
            conversation = row(facts["row"][number])
            overlong.append(
                {
                    "id": conversation["id"],
                    "source": conversation["source"],
                    "tokens": int(tokens[number]),
                }
            )
            file.write(orjson.dumps(overlong[-1]) + b"\n")
    if not overlong:
        return

    first = "\n".join(f"  {where(row)}: {row['tokens']} tokens" for row in overlong[:SHOWN])
    found = f"{len(overlong):,} of {len(tokens):,} rows are over train.sequence_length = {limit}"
    if config.overlong == "fail" or len(overlong) > config.max_lost_fraction * len(tokens):
        raise UserError(
            f"{found} ({len(overlong) / len(tokens):.1%}; data.overlong is {config.overlong}, "
            f"data.max_lost_fraction {config.max_lost_fraction:.1%}). The first:\n{first}\n"
            f"A train.sequence_length of {length_that_keeps(tokens, 0.95)} keeps 95 % of the rows, "
            f"{length_that_keeps(tokens, 0.99)} keeps 99 %"
        )
    print(f"{found} and left out:\n{first}")


def length_that_keeps(tokens: np.ndarray, share: float) -> int:
    """The smallest sequence length, a multiple of 16, that at least this share of the rows fits."""
    length = int(np.quantile(tokens, share, method="higher"))
    return -(-length // 16) * 16


def refuse_untrainable(splits: np.ndarray, fits: np.ndarray) -> None:
    """UserError if there is nothing to train on. splits, fits: (rows,), of all rows."""
    in_train = splits == SPLITS.index("train")
    if len(splits) and not in_train.any():
        raise UserError(
            f"no row is left to train on: all {len(splits):,} are in validation or test, as the "
            "names of their files or folders or their `split` say, or by chance among few rows; "
            "rename the files, or lower data.validation_fraction and data.test_fraction"
        )
    if not (in_train & fits).any():
        raise UserError(
            "no row is left to train on; "
            "see metrics/validate.json, metrics/dedup.json and data.overlong"
        )


def refuse_leaks(
    splits: np.ndarray, bands: np.ndarray, row: Callable[[int], dict], threshold: float
) -> None:
    """Prints how many rows have a near-twin in another split. UserError if any has."""
    shared = load_shared_text(SHARED_TEXT)
    leaks = leakage.find_leaks(
        bands, splits, lambda numbers: evidence_of(list(map(row, numbers)), shared), threshold
    )
    counts = leakage.summarize(leaks, splits)
    shown = ", ".join(f"{pair} {count}" for pair, count in counts.items())
    print(f"near-twins between splits: {shown}")
    if not leaks:
        return

    first = ""
    for leak in leaks[:SHOWN]:
        late = f"{where(row(leak.row))} ({SPLITS[splits[leak.row]]})"
        early = f"{where(row(leak.twin))} ({SPLITS[splits[leak.twin]]})"
        first += f"\n  {late} and {early}: {leak.similarity:.2f}"
    raise UserError(
        f"{len(leaks):,} pairs of near-twins are in different splits. dedup's hashes missed them, "
        "as they do for one pair in a thousand at the threshold. Lower data.dedup_threshold "
        f"({threshold}) a little and dedup will find them. The first:{first}"
    )


if __name__ == "__main__":
    run(main)
