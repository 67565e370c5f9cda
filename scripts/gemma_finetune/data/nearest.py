"""How near the held-out conversations come to training: of each, the highest similarity to any training row. Exact.

The leakage report says that no pair is above the threshold; this says how far below it they are.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.data.shingles import shingle_hashes, turn_texts

SAMPLE = 1000  # held-out rows compared; each of them with every training row
ROW_BITS = 12  # SAMPLE and a chunk have fewer rows
FILTER_BITS = 22
MOST_PAIRS = 1 << 22  # held at once, 8 bytes a pair and array


class Index(NamedTuple):
    """The shingles of the held-out rows, sorted by hash.

    `hashes` and `rows` (shingles,); `sizes` (rows,): shingles of each row; `maybe` (2^22,): the first bits that occur.
    """

    hashes: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray
    maybe: np.ndarray


@lru_cache(1)  # once in each process
def build_index(lines: tuple[bytes, ...]) -> Index:
    """The index of held-out conversations."""
    hashes, offsets = shingle_hashes([turn_texts(orjson.loads(line)) for line in lines])
    rows, hashes = _distinct(hashes, offsets)
    order = np.argsort(hashes, kind="stable")
    maybe = np.zeros(1 << FILTER_BITS, bool)
    maybe[_filter(hashes)] = True
    return Index(hashes[order], rows[order], np.bincount(rows, minlength=len(lines)), maybe)


def nearest_similarity(hashes: np.ndarray, offsets: np.ndarray, train: np.ndarray, index: Index) -> np.ndarray:
    """For every held-out row the highest similarity to any of these training rows, float64 (held-out rows,).

    The rows are given by their shingles as `shingle_hashes` gives them; those not in `train` (rows,) are left out.
    """
    rows, hashes = _distinct(hashes, offsets)
    sizes, held_out = np.bincount(rows, minlength=len(train)), len(index.sizes)
    known = index.maybe[_filter(hashes)] & train[rows]
    rows, hashes = rows[known], hashes[known]
    start, end = (np.searchsorted(index.hashes, hashes, side) for side in ("left", "right"))
    common = np.zeros(len(train) * held_out, np.int64)
    for part in _parts(end - start):
        count = end[part] - start[part]
        place = np.arange(count.sum()) + np.repeat(start[part] - (np.cumsum(count) - count), count)
        common += np.bincount(np.repeat(rows[part], count) * held_out + index.rows[place], minlength=len(common))
    pair = np.flatnonzero(common)
    row, other, common = pair // held_out, pair % held_out, common[pair]
    best = np.zeros(held_out)
    np.maximum.at(best, other, common / (sizes[row] + index.sizes[other] - common))
    return best


def _parts(counts):
    """Slices of at most about MOST_PAIRS: rows of one template have nearly all their shingles in common."""
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(MOST_PAIRS, ends[-1] if len(ends) else 0, MOST_PAIRS))
    return [slice(*pair) for pair in pairwise([0, *cuts.tolist(), len(counts)])]


def _filter(hashes):
    return hashes >> np.uint64(64 - FILTER_BITS)


def _distinct(hashes, offsets):
    """(row, hash) of every distinct shingle of every row. The row takes the place of a hash's last bits: one sort."""
    rows = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets))
    keys = np.sort(rows << np.uint64(64 - ROW_BITS) | hashes >> np.uint64(ROW_BITS))
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]  # 50 times as fast as np.unique, which hashes
    return (keys >> np.uint64(64 - ROW_BITS)).astype(np.int64), keys << np.uint64(ROW_BITS)
