"""Finds conversations with a near-twin in another split.

A test row that training has seen measures memory, not skill.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gemma_finetune.data.evidence import (
    Evidence,
)
from gemma_finetune.data.minhash import rows_in_shared_buckets
from gemma_finetune.data.split import SPLITS
from gemma_finetune.data.twin_index import TwinIndex


class Leak(NamedTuple):
    """Row `row` has the near-twin `twin`, in a split that comes earlier in SPLITS."""

    row: int
    twin: int
    similarity: float


def find_leaks(
    bands: np.ndarray,
    splits: np.ndarray,
    evidence: Callable[[list[int]], list[Evidence]],
    threshold: float,
) -> list[Leak]:
    """Every pair of near-twins in different splits.

    bands: uint64 (rows, bands), MinHash band keys; splits: (rows,), places in SPLITS;
    `evidence(rows)` is what each of some rows is compared by.
    """
    rows = sorted(rows_in_shared_buckets(bands), key=lambda row: splits[row])
    index = TwinIndex(rows, evidence, threshold)
    leaks = []
    for row, candidates in index:
        in_other_splits = candidates[splits[candidates] != splits[row]]
        found = index.similarities(row, in_other_splits)
        for candidate, similarity in zip(in_other_splits.tolist(), found, strict=False):
            if similarity >= threshold:
                leaks.append(Leak(row, candidate, similarity))
    return leaks


def summarize(leaks: list[Leak], splits: np.ndarray) -> dict[str, int]:
    """Number of rows with a near-twin, by pair of splits: {"test_in_train": 0, …}."""
    counts = {}
    for number, late in enumerate(SPLITS):
        for early in SPLITS[:number]:
            counts[f"{late}_in_{early}"] = 0

    # A row with several twins in one split counts once.
    found = {(leak.row, splits[leak.twin]) for leak in leaks}
    for row, early in found:
        counts[f"{SPLITS[splits[row]]}_in_{SPLITS[early]}"] += 1
    return counts
