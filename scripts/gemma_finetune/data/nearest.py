"""How near the held-out conversations come to training: of each, the highest similarity to any training row. Exact.

The leakage report says that no pair is above the threshold; this says how far below it they are.
"""

from typing import NamedTuple

import numpy as np
import orjson

from gemma_finetune.data.shingles import shingle_hashes, turn_texts

SAMPLE = 1000  # held-out rows compared; each of them with every training row


class Index(NamedTuple):
    """The shingles of the held-out rows, sorted by hash: `hashes` and `rows` (shingles,), `sizes` (rows,)."""

    hashes: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray


def build_index(conversations: list[dict]) -> Index:
    """The index of held-out conversations."""
    rows, hashes = _distinct(conversations)
    order = np.argsort(hashes, kind="stable")
    return Index(hashes[order], rows[order], np.bincount(rows, minlength=len(conversations)))


def nearest_similarity(lines: list[bytes], index: Index) -> np.ndarray:
    """For every held-out row the highest similarity to any of these training rows, float64 (rows,)."""
    rows, hashes = _distinct([orjson.loads(line) for line in lines])
    sizes, held_out = np.bincount(rows), len(index.sizes)
    start, end = (np.searchsorted(index.hashes, hashes, side) for side in ("left", "right"))
    count = end - start
    place = np.arange(count.sum()) + np.repeat(start - (np.cumsum(count) - count), count)
    pair, common = np.unique(np.repeat(rows, count) * held_out + index.rows[place], return_counts=True)
    row, other = pair // held_out, pair % held_out
    best = np.zeros(held_out)
    np.maximum.at(best, other, common / (sizes[row] + index.sizes[other] - common))
    return best


def _distinct(conversations):
    """(row, hash) of every distinct shingle of every conversation."""
    hashes, offsets = shingle_hashes([turn_texts(conversation) for conversation in conversations])
    rows = np.repeat(np.arange(len(conversations)), np.diff(offsets))
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
    return rows[first], hashes[first]
