"""Whether a conversation of one split has a near-twin in another: then its score would be a memory,
not a skill.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gemma_finetune.data.minhash import rows_in_shared_buckets
from gemma_finetune.data.split import SPLITS
from gemma_finetune.data.twin_index import TwinIndex


class Leak(NamedTuple):
    """Row `row` has the near-twin `twin` in a split that comes before its own in (train,
    validation, test).
    """

    row: int
    twin: int
    similarity: float


def find_leaks(
    bands: np.ndarray, splits: np.ndarray, text: Callable[[int], str], threshold: float
) -> list[Leak]:
    """Every pair of near-twins in different splits. `bands` (rows, bands), `splits` (rows,),
    indices into SPLITS.
    """
    rows, leaks = sorted(rows_in_shared_buckets(bands), key=lambda row: splits[row]), []
    index = TwinIndex(rows, text, threshold)
    for row, others in index:
        scores = (
            (other, index.similarity(row, other))
            for other in others[splits[others] != splits[row]].tolist()
        )
        leaks += [Leak(row, other, score) for other, score in scores if score >= threshold]
    return leaks


def summarize(leaks: list[Leak], splits: np.ndarray) -> dict:
    """Number of rows with a near-twin, by pair of splits: {"test_in_train": 0, …}."""
    pairs = [(late, early) for n, late in enumerate(SPLITS) for early in SPLITS[:n]]
    found = {(leak.row, splits[leak.twin]) for leak in leaks}
    return {
        f"{late}_in_{early}": sum(
            (SPLITS[splits[row]], SPLITS[twin]) == (late, early) for row, twin in found
        )
        for late, early in pairs
    }
