"""Finds the near-twins among rows that look alike, without comparing all pairs.

MinHash alone leaves too much to compare where rows share a long template: all of them fall into the
same buckets. But two sets that are as similar as the threshold also share one of their few rarest
shingles, near the start of both lists. This is prefix and positional filtering (Xiao et al.,
"Efficient similarity joins for near-duplicate detection", 2008). It misses no
pair whose compared sets reach the threshold. These sets can be less similar than the rows, where
one row has a text as shared text and the other has it inside a longer sentence.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil

import numpy as np

from gemma_finetune.data.evidence import (
    Evidence,
    evidence_similarity,
)

COUNT_BITS = 22
COUNTED = 10_000  # rows that are looked at to learn which shingles are rare
BATCH = 256  # rows whose evidence is found at once
CACHED = 1000  # rows whose evidence is kept in memory
ROUNDING = 1e-6
# Candidates that a row is compared with, at most: bit strings, or the same lines in other orders,
# are all alike as sets.
COMPARED = 200


class TwinIndex:
    """Iterates over `rows` in order, with the earlier rows that may be near-twins of each.

    Yields (row, candidates): int and int64 (candidates,). `evidence(rows)` is what each of some
    rows is compared by.
    The index takes about 16 bytes for each shingle of each prefix. The prefix of a row is the
    list of its rarest shingles.
    """

    def __init__(
        self, rows: list[int], evidence: Callable[[list[int]], list[Evidence]], threshold: float
    ):
        self._evidence_of_many = evidence
        self._evidence = lru_cache(CACHED)(lambda row: evidence([row])[0])
        self._rows = np.array(rows, np.int64)
        self._threshold = threshold
        self._cut_short = 0  # rows that were not compared with all that look alike

        step = max(1, ceil(len(rows) / COUNTED))
        counts = self._count(rows[::step])
        sizes, prefixes = [], []
        for hashes in self._hashes(rows):
            sizes.append(len(hashes))
            prefixes.append(self._prefix(hashes, counts))
        self._sizes = np.array(sizes, np.int32)
        self._build(prefixes)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for number, row in enumerate(self._rows.tolist()):
            yield row, self._rows[self._candidates(number)]
        if self._cut_short:
            print(
                f"{self._cut_short:,} rows have the words of over {COMPARED} others, and were "
                "compared with the first of these"
            )

    def similarities(self, row: int, others: np.ndarray) -> list[float]:
        """How similar a row is to the first COMPARED of these (`similarity`)."""
        self._cut_short += len(others) > COMPARED
        return [self.similarity(row, other) for other in others[:COMPARED].tolist()]

    def similarity(self, a: int, b: int) -> float:
        """How similar two rows are (`evidence_similarity`); below the threshold, at most."""
        return evidence_similarity(self._evidence(a), self._evidence(b), self._threshold)

    def _hashes(self, rows: list[int]) -> Iterator[np.ndarray]:
        """What each row is compared by, uint64 (shingles,)."""
        for start in range(0, len(rows), BATCH):
            for evidence in self._evidence_of_many(rows[start : start + BATCH]):
                shingles = evidence.compared()
                yield np.fromiter(shingles, np.uint64, len(shingles))

    def _count(self, rows: list[int]) -> np.ndarray:
        """How many of these rows have a shingle, int32 (2^22,), by the first bits of its hash."""
        counts = np.zeros(1 << COUNT_BITS, np.int32)
        for hashes in self._hashes(rows):
            counts[_bucket(hashes)] += 1
        return counts

    def _prefix(self, hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The rarest of a row's shingles, rarest first: enough that a twin must share one of them.

        Two sets of n shingles with at least threshold * n in common share one of the first
        n - threshold * n + 1, if all rows sort their shingles alike. The counts are estimates: they
        decide how few candidates there are, not whether a pair is found.
        """
        order = np.lexsort((hashes, counts[_bucket(hashes)]))
        common = ceil(self._threshold * len(hashes) - ROUNDING)
        return hashes[order[: len(hashes) - common + 1]]

    def _build(self, prefixes: list[np.ndarray]) -> None:
        """The inverted index: one entry for each shingle of each prefix.

        Entries are sorted by shingle, then row. Each has its row and its position in the prefix.
        """
        lengths = np.array([len(prefix) for prefix in prefixes], np.int64)
        self._ends = np.cumsum(lengths)
        starts = self._ends - lengths
        shingles = np.concatenate([np.zeros(0, np.uint64), *prefixes])
        rows = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
        positions = (np.arange(len(rows)) - np.repeat(starts, lengths)).astype(np.int32)

        order = np.argsort(shingles, kind="stable")
        shingles = shingles[order]
        self._entry_rows = rows[order]
        self._entry_positions = positions[order]
        # For each entry, the first entry with the same shingle.
        self._group_start = np.searchsorted(shingles, shingles)
        # Where the entries of the prefixes, in their own order, went.
        self._entry = np.empty(len(order), np.int64)
        self._entry[order] = np.arange(len(order))

    def _candidates(self, number: int) -> np.ndarray:
        """The earlier rows, as numbers in `rows`, that may be twins of row `number`, ascending."""
        start = self._ends[number - 1] if number else 0
        found = [np.zeros(0, np.int32)]
        for position, entry in enumerate(self._entry[start : self._ends[number]].tolist()):
            group = slice(self._group_start[entry], entry)  # earlier rows with this shingle
            if group.start == entry:
                continue
            others = self._entry_rows[group]
            size, other_sizes = self._sizes[number], self._sizes[others]
            # Where this is the first shingle that they share, they share at most the rest of both.
            most = np.minimum(size - position, other_sizes - self._entry_positions[group])
            least = self._threshold / (1 + self._threshold) * (size + other_sizes) - ROUNDING
            found.append(others[most >= least])
        return np.unique(np.concatenate(found))


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return hashes >> np.uint64(64 - COUNT_BITS)
