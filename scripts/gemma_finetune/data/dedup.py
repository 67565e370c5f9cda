"""Which conversations are duplicates or near-duplicates of which, and which one of them stays.

Among twins the row that stays is: one that names its split (test before validation before train),
then the longest, then the first. Every removed row has a twin that stays and is at least as similar
as the threshold. No two rows that stay are twins.
"""

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import orjson
from tqdm import tqdm

from gemma_finetune.data.converter import id_without_masks
from gemma_finetune.data.evidence import (
    Evidence,
    compared_shingles,
)
from gemma_finetune.data.minhash import band_keys, rows_in_shared_buckets
from gemma_finetune.data.shared_text import (
    compared_sentences,
    countable,
    load_shared_text,
    split_sentences,
)
from gemma_finetune.data.shingles import UNSEEN, turn_text
from gemma_finetune.data.tool_rows import to_json
from gemma_finetune.data.twin_index import TwinIndex

# A row that names test is removed only because of another row that names test.
PRIORITY = {"test": 0, "validation": 1, "train": 2}
UNNAMED = len(PRIORITY)
_ASCII_MARKS = re.compile(r"[.,;:!?]+(?!\S)")
_WIDE = "。，、；：！？।؟؛"  # between digits they are no punctuation: 3：20
# For text that is not ASCII; it takes twice as long as the one above.
_ANY_MARKS = re.compile(rf"{_ASCII_MARKS.pattern}|(?<!\d)[{_WIDE}]+|[{_WIDE}]+(?!\d)|[{UNSEEN}]+")


class Features(NamedTuple):
    """What is kept in memory of each row: 37 bytes, and 8 for each band."""

    exact: np.ndarray  # uint64 (rows,): the id, a hash of the content
    unmasked: np.ndarray  # uint64 (rows,): the id that it would have if all were trained on
    # uint64 (rows,): hash of the turns without case and marks, white space collapsed; and of the
    # system text unless it is left out (shared_text.py)
    folded: np.ndarray
    bands: np.ndarray  # uint64 (rows, bands): MinHash band keys
    length: np.ndarray  # int32 (rows,): characters
    priority: np.ndarray  # int8 (rows,)
    size: np.ndarray  # int64 (rows,): bytes of its line


def count_text(lines: list[bytes], bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is counted to find shared text in a chunk of conversations, given as JSON lines.

    Returns `Features.folded`, by which copies are known, and what `countable` returns.
    """
    rows = [orjson.loads(line) for line in lines]
    folded = np.array([_hash(_folded(row, True)) for row in rows], np.uint64)
    return folded, *countable(split_sentences(rows), bits)


def features(lines: list[bytes], threshold: float, shared_text: str) -> Features:
    """The features of a chunk of conversations; `shared_text` is the path of what they share."""
    rows = [orjson.loads(line) for line in lines]
    shared = load_shared_text(shared_text)
    sentences = compared_sentences(rows, shared)
    with_system = set(sentences.rows[sentences.in_system].tolist())
    folded = [_folded(row, number in with_system) for number, row in enumerate(rows)]
    shingles, offsets = compared_shingles(sentences, shared, len(rows))
    return Features(
        exact=np.array([int(row["id"], 16) for row in rows], np.uint64),
        unmasked=np.array([int(id_without_masks(row), 16) for row in rows], np.uint64),
        folded=np.array([_hash(turns) for turns in folded], np.uint64),
        bands=band_keys(shingles, offsets, threshold),
        length=np.array([sum(len(turn[-1]) for turn in turns) for turns in folded], np.int32),
        priority=np.array([PRIORITY.get(row.get("split"), UNNAMED) for row in rows], np.int8),
        size=np.array([len(line) for line in lines], np.int64),
    )


def _folded(conversation: dict, with_system: bool) -> list[tuple[str, bool, str]]:
    """Who says it, whether it is trained on, and what is said, without case, each run of white
    space as one space. The system text comes first, the tools come last.
    """
    turns = []
    if with_system and "system" in conversation:
        turns.append(("system", False, " ".join(conversation["system"].casefold().split())))
    for turn in conversation["conversations"]:
        said = " ".join(turn_text(turn).casefold().split())
        turns.append((turn["from"], turn.get("train", True), said))
    if "tools" in conversation:
        turns.append(("tools", False, to_json(conversation["tools"])))
    return turns


def _hash(turns: list[tuple[str, bool, str]]) -> int:
    """A hash of folded turns without punctuation and unseen characters.

    Shingles end at punctuation, so a transcript that has none has few of its original's shingles.
    """
    bare = []
    for *who, said in turns:
        marks = _ASCII_MARKS if said.isascii() else _ANY_MARKS
        bare.append((*who, marks.sub("", said) or said))
    digest = hashlib.blake2b(repr(bare).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def find_twins(
    index: Features, evidence: Callable[[list[int]], list[Evidence]], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each row, the twin it is removed for, and their similarity.

    `evidence(rows)` is what each of some rows is compared by. It is asked only for rows that may
    have a twin.

    Returns int64 (rows,), the row of the twin or -1 where the row stays, and float64 (rows,), the
    similarity of the two (`evidence_similarity`), 1 where they differ in case, space and marks.
    """
    # Of twins, the first in this order stays. Below, rows are known by their place in the order.
    order = np.lexsort((-index.length, index.priority))

    # Clusters of copies: each row's leader is the first row with the same turns.
    _, first, cluster = np.unique(index.folded[order], return_index=True, return_inverse=True)
    leader = first[cluster]
    is_leader = leader == np.arange(len(order))
    leaders = np.flatnonzero(is_leader)

    # Near-twins among the leaders: (leaders,), numbers of leaders.
    near, near_similarity = _near_twins(
        index.bands[order[leaders]],
        lambda numbers: evidence(order[leaders[numbers]].tolist()),
        threshold,
    )

    # The copies of a leader follow it: they go where it goes, or they go because of it.
    number = np.searchsorted(leaders, leader)
    leader_is_removed = near[number] >= 0
    kept = np.where(is_leader, -1, leader)
    kept = np.where(leader_is_removed, leaders[near[number]], kept)

    # Back from places in the order to rows.
    twin = np.full(len(order), -1)
    twin[order] = np.where(kept >= 0, order[kept], -1)
    similarity = np.ones(len(order))
    similarity[order] = np.where(leader_is_removed, near_similarity[number], 1.0)
    return twin, similarity


def _near_twins(
    bands: np.ndarray, evidence: Callable[[list[int]], list[Evidence]], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """`find_twins` for rows that all have different texts and are in the order of preference."""
    twin = np.full(len(bands), -1)
    similarity = np.ones(len(bands))
    rows = rows_in_shared_buckets(bands)
    index = TwinIndex(rows, evidence, threshold)
    progress = tqdm(index, total=len(rows), unit=" rows compared", delay=2, disable=None)
    for row, candidates in progress:
        staying = candidates[twin[candidates] < 0]
        similarities = index.similarities(row, staying)
        if similarities and max(similarities) >= threshold:
            best = int(np.argmax(similarities))  # the first of equals
            twin[row] = staying[best]
            similarity[row] = similarities[best]
    return twin, similarity


def summarize(index: Features, twin: np.ndarray) -> dict:
    """How many rows were kept and removed, and how many were removed for one row at most."""
    removed = twin >= 0
    # What differs in case, white space or the system text counts as near.
    exact = removed & (index.exact == index.exact[twin])
    return {
        "rows": len(twin),
        "kept": int((~removed).sum()),
        "removed_exact": int(exact.sum()),
        "removed_near": int((removed & ~exact).sum()),
        "most_removed_for_one": int(np.bincount(twin[removed], minlength=1).max()),
    }
