"""Kept conversations to formatted rows in Gemma's chat template, tokenized once to know their
length. Opens no data file.

{"id": "9f86d081884c7d65", "messages": [{"role": "user", "content": "Hi"}, ...], "text":
"<start_of_turn>user\\nHi..."}
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import to_messages
from gemma_finetune.data.minhash import band_keys
from gemma_finetune.data.shingles import shingle_hashes, turn_texts
from gemma_finetune.data.split import SPLITS, split_of
from gemma_finetune.formats.chat_template import render
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

FORMATS = tuple(schemas.FORMATS)
LEAKAGE_SEED = 43  # not dedup's: what one set of hash functions misses the other finds

load_tokenizer = lru_cache(GemmaTokenizer)  # once in each process


class Formatted(NamedTuple):
    """A chunk of rows.

    lines: the formatted rows as JSON lines.
    sizes: int64 (rows,), bytes of each input line.
    facts: an array (rows,) for each of split and format (as numbers in SPLITS and FORMATS), turns,
      system (whether there is a system text), tokens (with <bos>) and supervised.
    bands: uint64 (rows, bands), the keys by which the leakage report finds candidates.
    """

    lines: list[bytes]
    sizes: np.ndarray
    facts: dict[str, np.ndarray]
    bands: np.ndarray


def format_lines(lines: list[bytes], config: DataConfig, tokenizer_path: str) -> Formatted:
    """Formats a chunk of kept conversations. UserError if a text becomes control tokens that the
    template did not put there.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    rows = [orjson.loads(line) for line in lines]
    formatted = []
    facts: dict[str, list] = {
        name: [] for name in ("split", "format", "turns", "system", "tokens", "supervised")
    }
    for row in rows:
        messages = to_messages(row)
        text = render(messages)
        ids, supervised = tokenizer.encode_conversation(text)
        refuse_control_tokens(row, ids, tokenizer)
        formatted.append(
            orjson.dumps({"id": row["id"], "messages": messages, "text": text}) + b"\n"
        )
        facts["split"].append(
            SPLITS.index(split_of(row, config.validation_fraction, config.test_fraction))
        )
        facts["format"].append(FORMATS.index(row["source"]["format"]))
        facts["turns"].append(len(row["conversations"]))
        facts["system"].append("system" in row)
        facts["tokens"].append(len(ids))
        facts["supervised"].append(sum(supervised))
    return Formatted(
        lines=formatted,
        sizes=np.array([len(line) for line in lines], np.int64),
        facts={name: np.array(values, np.int32) for name, values in facts.items()},
        bands=band_keys(
            *shingle_hashes([turn_texts(row) for row in rows]), config.dedup_threshold, LEAKAGE_SEED
        ),
    )


def refuse_control_tokens(row: dict, ids: list[int], tokenizer: GemmaTokenizer) -> None:
    """UserError unless the only control tokens are <bos> and those of the turns."""
    control = {
        tokenizer.bos,
        tokenizer.eos,
        tokenizer.pad,
        tokenizer.start_of_turn,
        tokenizer.end_of_turn,
    }
    expected = [tokenizer.bos] + [tokenizer.start_of_turn, tokenizer.end_of_turn] * len(
        row["conversations"]
    )
    if [token for token in ids if token in control] != expected:
        source = row["source"]
        raise UserError(
            f"{source['file']}:{source['line']}: its text becomes control tokens in this tokenizer; "
            "mend or remove the row"
        )
