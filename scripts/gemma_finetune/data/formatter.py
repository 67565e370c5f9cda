"""Kept conversations to rows in Gemma's chat template.

    {"id": "9f86d081884c7d65", "messages": [{"role": "user", "content": "Hi"}, …],
     "text": "<start_of_turn>user\\nHi…"}

With a base that calls functions, a row also has `tools`, which may be empty.

The message of an answer that is not trained on has `"train": false`, too. Rows are tokenized here
to know their length; `data.overlong: split` cuts a conversation that is too long between its turns.
A row whose text this base reads as a command is rejected: `validate` does not know the base.
Opens no data file.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.config import END_OF_TURN, FUNCTION_PIECES, START_CALL, START_OF_TURN
from gemma_finetune.data import schemas
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import (
    id_without_masks,
    ids_of_beginnings,
    to_messages,
    to_openai_tools,
)
from gemma_finetune.data.evidence import (
    compared_shingles,
)
from gemma_finetune.data.lost import where
from gemma_finetune.data.minhash import band_keys
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.shared_text import (
    compared_sentences,
    load_shared_text,
)
from gemma_finetune.data.split import SPLITS, split_of
from gemma_finetune.formats.chat_template import render, untrained_answers
from gemma_finetune.formats.tokenizer import GemmaTokenizer, load_tokenizer
from gemma_finetune.utils.errors import UserError

FORMATS = tuple(schemas.FORMATS)
FUNCTION_PRESET = "function_gemma_instruct_270m"
LEARNED = ("gpt", "function_call")
_PIECES = re.compile("|".join((START_OF_TURN, END_OF_TURN, *FUNCTION_PIECES)))
FACTS = ("row", "split", "format", "turns", "system", "tokens", "supervised", "answer")
LEAKAGE_SEED = 43  # not dedup's: what one set of hash functions misses the other finds


class Formatted(NamedTuple):
    """A chunk of rows. A row becomes one formatted row, or several if it is split.

    lines: the formatted rows as JSON lines.
    facts: int32 (formatted rows,) for each of FACTS: the row it is of, split and format as places
      in SPLITS and FORMATS, number of turns, system (1 if there is a system text), tokens with
      <bos>, supervised tokens, tokens of the longest answer.
    sizes: int64 (rows,), bytes of each input line.
    bands: uint64 (rows, bands), MinHash band keys for the leakage report.
    rejected: JSON lines of the rows that are left out, with the reason.
    """

    lines: list[bytes]
    facts: dict[str, np.ndarray]
    sizes: np.ndarray
    bands: np.ndarray
    rejected: bytes


def format_lines(
    lines: list[bytes],
    config: DataConfig,
    tokenizer_path: str,
    shared_text: str,
    limit: int,
    hold_out: bool = False,
    kept_ids: str | None = None,
) -> Formatted:
    """Formats a chunk of kept conversations, given as JSON lines.

    limit: the tokens over which `data.overlong: split` cuts a conversation. hold_out: validation
    and test rows are chosen among all rows, whatever split they name. kept_ids: the path of the
    ids of all kept rows, by which a conversation finds the one that it grew from.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    kept = np.load(kept_ids, mmap_mode="r") if kept_ids else np.zeros(0, np.uint64)
    rows = [orjson.loads(line) for line in lines]
    formatted: list[bytes] = []
    facts: list[list[int]] = []
    rejected = b""
    for number, row in enumerate(rows):
        try:
            pieces = [row]
            if config.overlong == "split":
                pieces = split_conversation(row, limit, tokenizer)
            made = [format_piece(piece, tokenizer) for piece in pieces]
        except Rejection as rejection:
            rejected += orjson.dumps(describe(row, rejection)) + b"\n"
            continue
        whole = row | {"id": id_for_split(row, kept)}
        if hold_out:
            whole.pop("split", None)
        split = split_of(whole, config.validation_fraction, config.test_fraction)
        for line, numbers in made:
            formatted.append(orjson.dumps(line) + b"\n")
            facts.append([number, SPLITS.index(split), *numbers])

    shared = load_shared_text(shared_text)
    shingles, offsets = compared_shingles(compared_sentences(rows, shared), shared, len(rows))
    columns = np.array(facts, np.int32).reshape(-1, len(FACTS)).T
    return Formatted(
        lines=formatted,
        sizes=np.array([len(line) for line in lines], np.int64),
        facts=dict(zip(FACTS, columns, strict=True)),
        bands=band_keys(shingles, offsets, config.dedup_threshold, LEAKAGE_SEED),
        rejected=rejected,
    )


def id_for_split(row: dict, kept: np.ndarray) -> str:
    """The id that decides the split: of a conversation that grew, that of the first kept one that
    it grew from. So no answer is in training and, word for word, in a longer test row.
    """
    for beginning in ids_of_beginnings(row):
        id = np.uint64(int(beginning, 16))
        place = np.searchsorted(kept, id)
        if place < len(kept) and kept[place] == id:
            return beginning
    return id_without_masks(row)


def format_piece(piece: dict, tokenizer: GemmaTokenizer) -> tuple[dict, list[int]]:
    """A conversation as a formatted row, and its FACTS after row and split.

    Rejection if the tokenizer makes control tokens that the template did not put there.
    """
    messages, tools = to_messages(piece), tools_of(piece, tokenizer)
    text = render_row(messages, tools)
    ids, supervised = tokenizer.encode_conversation(text, untrained_answers(messages))
    refuse_control_tokens(piece, text, ids, tokenizer)
    line = {"id": piece["id"], "messages": messages, "text": text}
    if tools is not None:
        line["tools"] = tools
    facts = [
        FORMATS.index(piece["source"]["format"]),
        len(piece["conversations"]),
        int("system" in piece),
        len(ids),
        sum(supervised),
        longest_run(supervised),
    ]
    return line, facts


def describe(row: dict, rejection: Rejection) -> dict:
    """A rejected row, as `validate` lists those that it rejects."""
    source = row["source"]
    return {
        "file": source["file"],
        "line": source["line"],
        "reason": rejection.reason,
        "message": rejection.message,
        "id": row["id"],
    }


def longest_run(supervised: Sequence[bool]) -> int:
    """The tokens of a conversation's longest answer: supervised ones that follow each other."""
    edges = np.flatnonzero(np.diff(np.array([0, *supervised, 0], np.int8)))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


def count_tokens(lines: list[bytes], tokenizer_path: str) -> list[int]:
    """Tokens of the kept conversations of a chunk, given as JSON lines; not of rejected ones."""
    tokenizer = load_tokenizer(tokenizer_path)
    counts = []
    for row in map(orjson.loads, lines):
        with suppress(Rejection):
            counts.append(_tokens(row, row["conversations"], tokenizer))
    return counts


def split_conversation(row: dict, limit: int, tokenizer: GemmaTokenizer) -> list[dict]:
    """A conversation of over `limit` tokens as conversations that fit, cut before questions.

    Each has the system text and as many exchanges as fit, and `.1`, `.2`, … after its id. One
    exchange that is too long stays too long. Pieces without an answer that is trained on are left
    out: nothing would be learned from them.
    """
    turns = row["conversations"]
    starts = [place for place, turn in enumerate(turns) if turn["from"] == "human"]
    exchanges = [turns[start:end] for start, end in pairwise([*starts, len(turns)])]
    if len(exchanges) == 1 or _tokens(row, turns, tokenizer) <= limit:
        return [row]
    pieces: list[list[dict]] = [[]]
    for exchange in exchanges:
        if pieces[-1] and _tokens(row, pieces[-1] + exchange, tokenizer) > limit:
            pieces.append([])
        pieces[-1] += exchange

    found = []
    for number, piece in enumerate(pieces, 1):
        if any(turn["from"] in LEARNED and turn.get("train", True) for turn in piece):
            found.append(row | {"id": f"{row['id']}.{number}", "conversations": piece})
    return found


def _tokens(row: dict, turns: list[dict], tokenizer: GemmaTokenizer) -> int:
    """Tokens of a conversation with these of its turns."""
    messages = to_messages(row | {"conversations": turns})
    text = render_row(messages, tools_of(row, tokenizer))
    return len(tokenizer.encode_conversation(text)[0])


def tools_of(row: dict, tokenizer: GemmaTokenizer) -> list[dict] | None:
    """The functions of a row as the template takes them; None for a base without functions.

    UserError if the row has functions and the base cannot call them.
    """
    if tokenizer.has_functions:
        return to_openai_tools(row)
    if "tools" in row:
        raise UserError(
            f"{where(row)}: has functions to call, and the vocabulary of this base has no pieces "
            f"for calls ({START_CALL}, ...); take {FUNCTION_PRESET} as model.preset, or remove "
            "the row"
        )
    return None


def render_row(messages: list[dict], tools: list[dict] | None) -> str:
    """The row in the template of its base. Rejection of text that holds a control piece of it."""
    try:
        return render(messages, tools)
    except ValueError as error:
        raise Rejection("control_token", str(error))


def refuse_control_tokens(row: dict, text: str, ids: list[int], tokenizer: GemmaTokenizer) -> None:
    """Rejection unless the only control tokens are <bos> and those that the template wrote.

    text: the rendered row. `render` refuses a control piece in what a row says.
    """
    pieces = {START_OF_TURN: tokenizer.start_of_turn, END_OF_TURN: tokenizer.end_of_turn}
    pieces |= tokenizer.function_ids
    written = [pieces[piece] for piece in _PIECES.findall(text) if piece in pieces]
    control = {tokenizer.bos, tokenizer.eos, tokenizer.pad, *pieces.values()}
    found = [token for token in ids if token in control]
    turns = [found.count(tokenizer.start_of_turn), found.count(tokenizer.end_of_turn)]
    if found != [tokenizer.bos, *written] or turns != count_turns(row, tokenizer):
        raise Rejection("control_token", "its text becomes control tokens in this tokenizer")


def count_turns(row: dict, tokenizer: GemmaTokenizer) -> list[int]:
    """How many turns a row opens and closes: each question has one reply, calls included.

    Where there are functions, system text and declarations are a turn, too; calls at the end of a
    conversation leave their turn open.
    """
    turns = [turn["from"] for turn in row["conversations"]]
    opened = 2 * turns.count("human")
    if tokenizer.has_functions and ("system" in row or "tools" in row):
        opened += 1
    return [opened, opened - (turns[-1] == "function_call")]
