"""Renders conversations in Gemma's chat template and splits them into train, validation and test.

data/deduped/kept.jsonl, models/base/tokenizer.model ->
data/formatted/{train,validation,test}.jsonl, overlong.jsonl (the rows that are too long),
rejected.jsonl (those whose text this base reads as a command), facts.npz (numbers about each row,
for `describe`) and lengths.json (for `settings`)

What `validate` and `dedup` lost counts with what is lost here: metrics/{validate,dedup}.json,
data/validated/rejected.jsonl.

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
from gemma_finetune.config import AUTO, load_section, load_value
from gemma_finetune.data import leakage
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.evidence import evidence_of
from gemma_finetune.data.formatter import Formatted, count_tokens, format_lines
from gemma_finetune.data.lines import random_access
from gemma_finetune.data.lost import (
    REJECTED,
    Lost,
    all_name_train,
    describe_rejection,
    first_of,
    near_duplicates,
    read_counts,
    rejected_rows,
    too_many,
    where,
)
from gemma_finetune.data.shared_text import load_shared_text
from gemma_finetune.data.split import SPLITS
from gemma_finetune.training.config import SequenceLength
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, made_by, require, write_json
from gemma_finetune.utils.npz import write_arrays
from gemma_finetune.utils.parallel import chunks, map_ordered
from gemma_finetune.utils.params import read_section

TOKENIZER = "models/base/tokenizer.model"
SHARED_TEXT = "data/deduped/shared_text.npz"
KEPT_IDS = "data/deduped/ids.npy"
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
    require(KEPT_IDS, "dedup")
    require(REJECTED, "validate")
    with open(source, "rb") as file, aside("data/formatted") as folder, made_by("dedup", source):
        folder.mkdir()
        if limit == AUTO:
            limit = choose_limit(file, config)
            print(f"train.sequence_length: auto is {limit}")
        problem = make(folder, file, config, limit)
    if problem:
        raise UserError(problem)


def make(folder: Path, file: BinaryIO, config: DataConfig, limit: int) -> str | None:
    """Writes all files of the stage, and prints what it did.

    Returns None; or, if too many rows are lost, which these are. Then the lists of what is left out
    stay to be read, and the splits are removed: they must not be trained on.
    """
    read, rejected = read_counts("validate", "read", "rejected").values()
    (removed,) = read_counts("dedup", "removed_near").values()
    work = partial(
        format_lines,
        config=config,
        tokenizer_path=TOKENIZER,
        shared_text=SHARED_TEXT,
        limit=limit,
        hold_out=all_name_train(),
        kept_ids=KEPT_IDS,
    )
    facts, sizes, bands = write(folder, map_ordered(work, chunks(file)), limit)
    row = random_access(file, sizes)
    lost = [
        rejected_rows(rejected),
        near_duplicates(removed),
        rejected_here(folder / "rejected.jsonl"),
        too_long_rows(list_overlong(folder, facts, row, limit), facts, limit, config),
    ]
    problem = too_many(lost, read, config.max_lost_fraction)
    if problem:
        for split in SPLITS:
            (folder / f"{split}.jsonl").unlink()
        return problem

    fits = facts["tokens"] <= limit
    refuse_untrainable(facts["split"], fits)
    facts = {name: values[fits] for name, values in facts.items()}
    refuse_leaks(facts, bands, row, config.dedup_threshold)
    finish(folder, facts, limit)
    return None


def finish(folder: Path, facts: dict[str, np.ndarray], limit: int) -> None:
    """Writes what later stages ask of the rows that fit, and prints how many there are.

    facts: (formatted rows,), of what fits.
    """
    counts = np.bincount(facts["split"], minlength=len(SPLITS)).tolist()
    pieces = sum(counts) - len(np.unique(facts["row"]))
    write_lengths(folder, limit, facts["answer"], facts["split"])
    used_here = ("row", "answer")
    kept = {name: values for name, values in facts.items() if name not in used_here}
    write_arrays(folder / "facts.npz", kept)

    shown = ", ".join(f"{n:,} {split}" for split, n in zip(SPLITS, counts, strict=True))
    print(f"{sum(counts):,} conversations: {shown}")
    if pieces:
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
    """Writes every formatted row of at most `limit` tokens to the file of its split, and every
    rejected row to rejected.jsonl.

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
        with open(folder / "rejected.jsonl", "ab") as file:
            file.write(chunk.rejected)
        parts.append(chunk._replace(lines=[], rejected=b""))  # the lines need not stay in memory
    facts = {name: np.concatenate([part.facts[name] for part in parts]) for name in parts[0].facts}
    sizes = np.concatenate([part.sizes for part in parts])
    bands = np.concatenate([part.bands for part in parts])
    return facts, sizes, bands


def list_overlong(
    folder: Path, facts: dict[str, np.ndarray], row: Callable[[int], dict], limit: int
) -> list[dict]:
    """Lists rows over `limit` tokens in overlong.jsonl. Returns them, each with the number of its
    `exchanges`: questions with all that follows, up to the next one.
    """
    overlong = []
    with open(folder / "overlong.jsonl", "wb") as file:
        for number in np.flatnonzero(facts["tokens"] > limit).tolist():
            conversation = row(facts["row"][number])
            listed = {
                "id": conversation["id"],
                "source": conversation["source"],
                "tokens": int(facts["tokens"][number]),
            }
            file.write(orjson.dumps(listed) + b"\n")
            roles = [turn["from"] for turn in conversation["conversations"]]
            overlong.append(listed | {"exchanges": roles.count("human")})
    return overlong


def too_long_rows(
    overlong: list[dict], facts: dict[str, np.ndarray], limit: int, config: DataConfig
) -> Lost:
    """Prints which rows are left out as too long. UserError if `data.overlong` is fail."""
    tokens = facts["tokens"]
    longest: dict[str, int] = {}  # of a row, several pieces may be too long
    for row in overlong:
        longest[where(row)] = max(row["tokens"], longest.get(where(row), 0))
    examples = [f"{place}: {length} tokens" for place, length in islice(longest.items(), SHOWN)]
    shown = "".join(f"\n  {example}" for example in examples)
    count = f"{len(overlong):,} of {len(tokens):,}" + (" pieces of" * (config.overlong == "split"))
    found = f"{count} rows are over train.sequence_length = {limit}"
    advice = "raise train.sequence_length"
    if overlong:
        advice += f" ({lengths_that_keep(tokens, limit, config.overlong == 'fail')})"
        can_be_cut = any(row["exchanges"] > 1 for row in overlong)
        if config.overlong == "drop" and can_be_cut:
            advice += ", or set data.overlong to split"
        if config.overlong == "fail":
            raise UserError(
                f"{found}, and data.overlong is fail. The first:{shown}\nTo go on, {advice}"
            )
        print(f"{found} and left out:{shown}")
    rows = len(np.unique(facts["row"][tokens > limit]))  # of a row, several pieces may be too long
    return Lost(rows, f"over train.sequence_length = {limit}", lambda: examples, advice)


def rejected_here(path: Path) -> Lost:
    """Prints which rows are left out because this base reads their text as a command."""
    with open(path, "rb") as file:
        count = sum(1 for _ in file)
    examples = first_of(path, SHOWN, describe_rejection)
    if count:
        shown = "".join(f"\n  {example}" for example in examples)
        print(f"{count:,} rows hold control tokens of this base and are left out:{shown}")
    advice = "remove the control tokens of this base from the texts"
    return Lost(count, "with control tokens of this base", lambda: examples, advice)


def lengths_that_keep(tokens: np.ndarray, limit: int, keep_all: bool) -> str:
    """Which sequence lengths over `limit` keep 95 % and 99 % of the rows; or which keeps all, if
    all must fit or no other is over the limit.
    """
    lengths = {share: length_that_keeps(tokens, share / 100) for share in (95, 99)}
    found = [f"{length} keeps {share} %" for share, length in lengths.items() if length > limit]
    if keep_all or not found:
        return f"{length_that_keeps(tokens, 1.0)} keeps all rows that are left"
    return ", ".join([f"{found[0]} of the rows that are left", *found[1:]])


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
    facts: dict[str, np.ndarray], bands: np.ndarray, row: Callable[[int], dict], threshold: float
) -> None:
    """Prints how many rows have a near-twin in another split. UserError if any has.

    facts: (formatted rows,), of what fits. bands: (rows, bands), of all rows.
    """
    shared = load_shared_text(SHARED_TEXT)
    numbers, places = np.unique(facts["row"], return_index=True)
    splits = facts["split"][places]  # of the rows with these numbers
    leaks = leakage.find_leaks(
        bands[numbers],
        splits,
        lambda chosen: evidence_of([row(numbers[n]) for n in chosen], shared),
        threshold,
    )
    counts = leakage.summarize(leaks, splits)
    shown = ", ".join(f"{pair} {count}" for pair, count in counts.items())
    print(f"near-twins between splits: {shown}")
    if not leaks:
        return

    first = ""
    for leak in leaks[:SHOWN]:
        late = f"{where(row(numbers[leak.row]))} ({SPLITS[splits[leak.row]]})"
        early = f"{where(row(numbers[leak.twin]))} ({SPLITS[splits[leak.twin]]})"
        first += f"\n  {late} and {early}: {leak.similarity:.2f}"
    raise UserError(
        f"{len(leaks):,} pairs of near-twins are in different splits. dedup's hashes missed them, "
        "as they do for one pair in a thousand at the threshold. Lower data.dedup_threshold "
        f"({threshold}) a little and dedup will find them. The first:{first}"
    )


if __name__ == "__main__":
    run(main)
