"""How close the held-out conversations come to training: for each, its highest similarity to a
training row. Exact.

The leakage report says that no pair is above the threshold; this says how far below it they are.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from gemma_finetune.data.shingles import shingle_hashes

SAMPLE = 1000  # held-out rows that are compared, each with every training row


class HeldOut(NamedTuple):
    """The held-out rows as a 0/1 matrix of which shingles they hold."""

    vocabulary: np.ndarray  # uint64 (shingles,): every distinct hash, sorted
    matrix: scipy.sparse.csr_array  # int32 (rows, shingles)
    sizes: np.ndarray  # int64 (rows,): distinct shingles of each row


def index_held_out(texts: list[str]) -> HeldOut:
    """The index of the held-out texts."""
    hashes, offsets = shingle_hashes(texts)
    vocabulary = np.unique(hashes)
    matrix, sizes = _incidence(hashes, offsets, vocabulary)
    return HeldOut(vocabulary, matrix, sizes)


def nearest_similarity(texts: list[str], held_out: HeldOut) -> np.ndarray:
    """For each held-out row the highest Jaccard similarity to any of these training texts, float64
    (held-out rows,).
    """
    hashes, offsets = shingle_hashes(texts)
    train, train_sizes = _incidence(hashes, offsets, held_out.vocabulary)
    # (held-out rows, training rows): how many shingles each pair has in common; pairs without any
    # are left out.
    common = (held_out.matrix @ train.T).tocoo()
    union = held_out.sizes[common.row] + train_sizes[common.col] - common.data
    nearest = np.zeros(len(held_out.sizes))
    np.maximum.at(nearest, common.row, common.data / union)
    return nearest


def _incidence(
    hashes: np.ndarray, offsets: np.ndarray, vocabulary: np.ndarray
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Which shingles of the vocabulary each row holds, 0/1 (rows, vocabulary); and its number of
    distinct shingles.
    """
    count = len(offsets) - 1
    rows = np.repeat(np.arange(count), np.diff(offsets))
    # Keep one of each (row, hash).
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
    rows, hashes = rows[is_new], hashes[is_new]
    sizes = np.bincount(rows, minlength=count)
    # Drop the shingles that no held-out row has.
    columns = np.searchsorted(vocabulary, hashes).clip(max=len(vocabulary) - 1)
    known = vocabulary[columns] == hashes
    rows, columns = rows[known], columns[known]
    ones = np.ones(len(rows), np.int32)
    return scipy.sparse.csr_array((ones, (rows, columns)), (count, len(vocabulary))), sizes
