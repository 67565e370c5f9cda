"""Whether a conversation of one split has a near-twin in another: then its score would be a memory, not a skill."""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gemma_finetune.data.minhash import shared_buckets
from gemma_finetune.data.shingles import shingle_set, similarity
from gemma_finetune.data.split import SPLITS


class Leak(NamedTuple):
    """Row `row` has the near-twin `twin` in a split that comes before its own in (train, validation, test)."""

    row: int
    twin: int
    similarity: float


def find_leaks(bands: np.ndarray, splits: np.ndarray, text: Callable[[int], str], threshold: float) -> list[Leak]:
    """Every pair of near-twins in different splits. `bands` (rows, bands), `splits` (rows,), indices into SPLITS."""
    seen = defaultdict(list)  # bucket -> rows of the splits before
    leaks = []
    for row, buckets in sorted(shared_buckets(bands), key=lambda item: splits[item[0]]):
        others = sorted({other for bucket in buckets for other in seen[bucket] if splits[other] != splits[row]})
        if others:
            own = shingle_set(text(row))
            scores = ((other, similarity(own, shingle_set(text(other)))) for other in others)
            leaks += [Leak(row, other, score) for other, score in scores if score >= threshold]
        for bucket in buckets:
            seen[bucket].append(row)
    return leaks


def summarize(leaks: list[Leak], splits: np.ndarray) -> dict:
    """Number of rows with a near-twin, by pair of splits: {"test_in_train": 0, …}."""
    pairs = [(late, early) for n, late in enumerate(SPLITS) for early in SPLITS[:n]]
    found = {(leak.row, splits[leak.twin]) for leak in leaks}
    return {
        f"{late}_in_{early}": sum((SPLITS[splits[row]], SPLITS[twin]) == (late, early) for row, twin in found)
        for late, early in pairs
    }
