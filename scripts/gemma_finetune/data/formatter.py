"""Kept conversations to rows in Gemma's chat template.

    {"id": "9f86d081884c7d65", "messages": [{"role": "user", "content": "Hi"}, …],
     "text": "<start_of_turn>user\\nHi…"}

The message of an answer that is not trained on has `"train": false`, too.
Each row is tokenized once here, to know its length. Opens no data file.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.data import schemas
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import to_messages
from gemma_finetune.data.evidence import compared_shingles, load_shared_text, split_sentences
from gemma_finetune.data.minhash import band_keys
from gemma_finetune.data.split import SPLITS, split_of
from gemma_finetune.formats.chat_template import render, untrained_answers
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

FORMATS = tuple(schemas.FORMATS)
FACTS = ("split", "format", "turns", "system", "tokens", "supervised")
LEAKAGE_SEED = 43  # not dedup's: what one set of hash functions misses the other finds

load_tokenizer = lru_cache(GemmaTokenizer)  # once in each process


class Formatted(NamedTuple):
    """A chunk of rows.

    lines: the formatted rows as JSON lines.
    sizes: int64 (rows,), bytes of each input line.
    facts: int32 (rows,) for each of FACTS: split and format as places in SPLITS and FORMATS, number
      of turns, system (1 if there is a system text), tokens with <bos>, supervised tokens.
    bands: uint64 (rows, bands), MinHash band keys for the leakage report.
    """

    lines: list[bytes]
    sizes: np.ndarray
    facts: dict[str, np.ndarray]
    bands: np.ndarray


def format_lines(
    lines: list[bytes], config: DataConfig, tokenizer_path: str, shared_text: str
) -> Formatted:
    """Formats a chunk of kept conversations, given as JSON lines.

    UserError if the tokenizer makes control tokens that the template did not put there.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    rows = [orjson.loads(line) for line in lines]
    formatted = []
    facts: dict[str, list[int]] = {name: [] for name in FACTS}
    for row in rows:
        messages = to_messages(row)
        text = render(messages)
        ids, supervised = tokenizer.encode_conversation(text, untrained_answers(messages))
        refuse_control_tokens(row, ids, tokenizer)
        line = orjson.dumps({"id": row["id"], "messages": messages, "text": text})
        formatted.append(line + b"\n")

        split = split_of(row, config.validation_fraction, config.test_fraction)
        facts["split"].append(SPLITS.index(split))
        facts["format"].append(FORMATS.index(row["source"]["format"]))
        facts["turns"].append(len(row["conversations"]))
        facts["system"].append("system" in row)
        facts["tokens"].append(len(ids))
        facts["supervised"].append(sum(supervised))

    shared = load_shared_text(shared_text)
    shingles, offsets = compared_shingles(split_sentences(rows), shared, len(rows))
    return Formatted(
        lines=formatted,
        sizes=np.array([len(line) for line in lines], np.int64),
        facts={name: np.array(values, np.int32) for name, values in facts.items()},
        bands=band_keys(shingles, offsets, config.dedup_threshold, LEAKAGE_SEED),
    )


def refuse_control_tokens(row: dict, ids: list[int], tokenizer: GemmaTokenizer) -> None:
    """UserError unless the only control tokens are <bos> and those that open and close turns."""
    turn = [tokenizer.start_of_turn, tokenizer.end_of_turn]
    control = {tokenizer.bos, tokenizer.eos, tokenizer.pad, *turn}
    expected = [tokenizer.bos] + turn * len(row["conversations"])
    if [token for token in ids if token in control] != expected:
        source = row["source"]
        raise UserError(
            f"{source['file']}:{source['line']}: its text becomes control tokens in this "
            "tokenizer; fix or remove the row"
        )
