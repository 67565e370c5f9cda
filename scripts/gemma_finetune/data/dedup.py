"""Which conversations are twins of which, and which of them stays. Pure: texts come through a
function.

Of twins the one that stays is: one that names its split (test before validation before train), then
the longest, then the first. Every row removed has a twin that stays, at least as similar as the
threshold; no two that stay are twins.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import orjson
from tqdm import tqdm

from gemma_finetune.data.minhash import band_keys, rows_in_shared_buckets
from gemma_finetune.data.shingles import shingle_hashes, turn_texts
from gemma_finetune.data.twin_index import TwinIndex

PRIORITY = {
    "test": 0,
    "validation": 1,
    "train": 2,
}  # a named test row is never removed for the sake of another
UNNAMED = len(PRIORITY)


class Features(NamedTuple):
    """What the index holds of each row: 30 bytes, and 8 for each band."""

    exact: np.ndarray  # uint64 (rows,): equal for equal texts, apart from case and white space
    bands: np.ndarray  # uint64 (rows, bands)
    length: np.ndarray  # int32 (rows,): characters
    priority: np.ndarray  # int8 (rows,)
    size: np.ndarray  # int64 (rows,): bytes of its line


def features(lines: list[bytes], threshold: float) -> Features:
    """Features of a chunk of conversations."""
    rows = [orjson.loads(line) for line in lines]
    texts = [turn_texts(row) for row in rows]
    normal = [" ".join(text.casefold().split()) for text in texts]
    return Features(
        np.array([_hash(text) for text in normal], np.uint64),
        band_keys(*shingle_hashes(texts), threshold),
        np.array([len(text) for text in normal], np.int32),
        np.array([PRIORITY.get(row.get("split"), UNNAMED) for row in rows], np.int8),
        np.array([len(line) for line in lines], np.int64),
    )


def _hash(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def find_twins(
    index: Features, text: Callable[[int], str], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """For every row the row it is removed for, or -1 where it stays, int64 (rows,); and how
    similar, float64 (rows,).

    `text(row)` gives the text of one row; it is asked for the few rows that may have a twin.
    """
    order = np.lexsort(
        (-index.length, index.priority)
    )  # the first of twins in this order is the one that stays
    _, start, group = np.unique(index.exact[order], return_index=True, return_inverse=True)
    leader = start[group]  # of the rows with equal text the first, as a place in the order
    first = np.flatnonzero(leader == np.arange(len(order)))
    near, score = _near_twins(
        index.bands[order[first]], lambda n: text(int(order[first[n]])), threshold
    )

    place = np.searchsorted(first, leader)  # of each row's leader, in `first`
    removed = near[place] >= 0
    copy = leader != np.arange(len(order))
    kept = np.where(removed, first[near[place]], np.where(copy, leader, -1))
    twin, similar = np.full(len(order), -1), np.ones(len(order))
    twin[order] = np.where(kept >= 0, order[kept], -1)
    similar[order] = np.where(removed, score[place], 1.0)
    return twin, similar


def summarize(index: Features, twin: np.ndarray) -> dict:
    """Numbers of rows by what happened to them, and how many went for one row at most."""
    removed = twin >= 0
    exact = removed & (index.exact == index.exact[twin])
    return {
        "rows": len(twin),
        "kept": int((~removed).sum()),
        "removed_exact": int(exact.sum()),
        "removed_near": int((removed & ~exact).sum()),
        "most_removed_for_one": int(np.bincount(twin[removed], minlength=1).max()),
    }


def _near_twins(bands, text, threshold):
    """`find_twins` for rows of different texts in the order of preference."""
    twin, score = np.full(len(bands), -1), np.ones(len(bands))
    rows = rows_in_shared_buckets(bands)
    index = TwinIndex(rows, text, threshold)
    for n, others in tqdm(index, total=len(rows), unit=" rows compared", delay=2, disable=None):
        staying = others[twin[others] < 0].tolist()
        best = max(((index.similarity(n, other), -other) for other in staying), default=(0.0, 0))
        if best[0] >= threshold:
            score[n], twin[n] = best[0], -best[1]
    return twin, score
