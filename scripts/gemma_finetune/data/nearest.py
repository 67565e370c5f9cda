"""How similar the held-out conversations are to training: for each, its nearest training row.

The leakage report says that no pair is above the threshold; this says how far below it they are.
The similarities are exact.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson
import scipy.sparse

from gemma_finetune.data.shingles import message_text, shingle_hashes


class HeldOut(NamedTuple):
    """The held-out rows as a 0/1 matrix of which shingles they hold."""

    vocabulary: np.ndarray  # uint64 (shingles,): every distinct hash, ascending
    matrix: scipy.sparse.csr_array  # int32 (rows, shingles)
    sizes: np.ndarray  # int64 (rows,): distinct shingles of each row


def index_held_out(texts: list[str]) -> HeldOut:
    """The index of one or more held-out texts."""
    hashes, _ = shingle_hashes(texts)
    vocabulary = np.unique(hashes)
    matrix, sizes = _incidence(texts, vocabulary)
    return HeldOut(vocabulary, matrix, sizes)


def nearest_in_chunk(lines: list[bytes], held_out: HeldOut) -> np.ndarray:
    """`nearest_similarity` for a chunk of training rows, given as JSON lines."""
    return nearest_similarity([spoken_text(line) for line in lines], held_out)


def spoken_text(line: bytes) -> str:
    """What the user and the assistant of a formatted row said, without the system text."""
    messages = orjson.loads(line)["messages"]
    return "\n".join(message_text(message) for message in messages if message["role"] != "system")


def nearest_similarity(texts: list[str], held_out: HeldOut) -> np.ndarray:
    """For each held-out row, its highest Jaccard similarity to any of these training texts.

    float64 (held-out rows,); 0 where no training text shares a shingle with the row.
    """
    train, train_sizes = _incidence(texts, held_out.vocabulary)
    # How many shingles each pair has in common, (held-out rows, training rows). The sparse matrix
    # holds only the pairs that share at least one.
    common = (held_out.matrix @ train.T).tocoo()
    union = held_out.sizes[common.row] + train_sizes[common.col] - common.data
    nearest = np.zeros(len(held_out.sizes))
    np.maximum.at(nearest, common.row, common.data / union)
    return nearest


def _incidence(
    texts: list[str], vocabulary: np.ndarray
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Which shingles of the vocabulary each text holds, and how many distinct shingles it has.

    Returns a 0/1 matrix int32 (texts, vocabulary) and int64 (texts,), which also counts shingles
    that are not in the vocabulary.
    """
    flat, offsets = shingle_hashes(texts)
    distinct = [np.unique(flat[start:end]) for start, end in pairwise(offsets.tolist())]
    sizes = np.array([len(hashes) for hashes in distinct], np.int64)
    hashes = np.concatenate(distinct)
    rows = np.repeat(np.arange(len(texts)), sizes)

    columns = np.searchsorted(vocabulary, hashes)
    columns[columns == len(vocabulary)] = 0  # past the end: not in the vocabulary
    known = vocabulary[columns] == hashes
    entries = (np.ones(known.sum(), np.int32), (rows[known], columns[known]))
    return scipy.sparse.csr_array(entries, (len(texts), len(vocabulary))), sizes
