"""Kept conversations to formatted rows, tokenized once to know their length. Pure: opens no data file."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import to_messages
from gemma_finetune.data.formatter import render
from gemma_finetune.data.minhash import band_keys
from gemma_finetune.data.nearest import build_index, nearest_similarity
from gemma_finetune.data.shingles import shingle_hashes, turn_texts
from gemma_finetune.data.split import SPLITS, split_of
from gemma_finetune.models.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

FORMATS = ("sharegpt", "alpaca", "chatml")
LEAKAGE_SEED = 43  # not dedup's: what one set of hash functions misses the other finds

tokenizer = lru_cache(GemmaTokenizer)  # once in each process


class Formatted(NamedTuple):
    """A chunk of rows: what is written, what is known of each, and what it takes to compare splits.

    `facts` has an array (rows,) for each of split and format (as numbers in SPLITS and FORMATS), turns, system (whether
    it has one), tokens (the <bos> too), supervised and size (bytes of the input). `bands` are the band keys for the
    leakage report. `nearest` is the similarity of each held-out row to the nearest row of the chunk that is trained on.
    """

    lines: list[bytes]
    facts: dict[str, np.ndarray]
    bands: np.ndarray  # uint64 (rows, bands)
    nearest: np.ndarray  # float64 (held-out rows,)


def format_lines(
    lines: list[bytes], config: DataConfig, tokenizer_path: str, limit: int, held_out: tuple[bytes, ...]
) -> Formatted:
    """Formats a chunk of kept conversations. UserError if one becomes control tokens the template did not put there.

    `limit`: tokens of the longest row that is trained on; `held_out`: the rows to compare the chunk's with.
    """
    rows = [orjson.loads(line) for line in lines]
    texts = [render(to_messages(row)) for row in rows]
    shingles = shingle_hashes([turn_texts(row) for row in rows])
    splits = [split_of(row, config.validation_fraction, config.test_fraction) for row in rows]
    facts: dict[str, np.ndarray] = {
        "split": np.array([SPLITS.index(split) for split in splits], np.int8),
        "format": np.array([FORMATS.index(row["source"]["format"]) for row in rows], np.int8),
        "turns": np.array([len(row["conversations"]) for row in rows], np.int32),
        "system": np.array(["system" in row for row in rows]),
        **count_tokens(rows, texts, tokenizer(tokenizer_path)),
        "size": np.array([len(line) for line in lines], np.int32),
    }
    written = [orjson.dumps({"id": row["id"], "text": text}) + b"\n" for row, text in zip(rows, texts, strict=True)]
    bands = band_keys(*shingles, config.dedup_threshold, LEAKAGE_SEED)
    trained = (facts["split"] == SPLITS.index("train")) & (facts["tokens"] <= limit)
    return Formatted(written, facts, bands, nearest_similarity(*shingles, trained, build_index(held_out)))


def count_tokens(rows: list[dict], texts: list[str], tokenizer: GemmaTokenizer) -> dict[str, np.ndarray]:
    """Tokens, and tokens the loss looks at, of every text."""
    counts = np.zeros((len(rows), 2), np.int32)
    control = {tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.start_of_turn, tokenizer.end_of_turn}
    for n, (row, text) in enumerate(zip(rows, texts, strict=True)):
        ids, supervised = tokenizer.encode_conversation(text)
        turns = [tokenizer.start_of_turn, tokenizer.end_of_turn] * len(row["conversations"])
        if [token for token in ids if token in control] != [tokenizer.bos, *turns]:
            raise UserError(
                f"{row['source']['file']}:{row['source']['line']}: its text becomes control tokens in this "
                "tokenizer; mend or remove the row"
            )
        counts[n] = len(ids), sum(supervised)
    return {"tokens": counts[:, 0], "supervised": counts[:, 1]}
