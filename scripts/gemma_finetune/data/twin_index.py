"""Finds the near-twins among rows that look alike, without comparing each with each.

MinHash alone leaves too much to compare where rows share a long template: all fall into the same
buckets. But two sets as similar as the threshold also share one of their few rarest shingles, and
not too late among them: prefix and positional filtering (Xiao et al., "Efficient similarity joins
for near-duplicate detection", 2008). Nothing is missed.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil

import numpy as np

from gemma_finetune.data.shingles import shingle_set, similarity

COUNT_BITS = 22
COUNTED = 10_000  # rows that tell which shingles are rare
CACHED = 1000  # rows whose shingles are held
ROUNDING = 1e-6


class TwinIndex:
    """Iterates over `rows` in their order: (row, those before it that may be as similar as the
    threshold).

    `text(row)` gives the text of one row. The index takes about 16 bytes for each of a row's rarest
    shingles.
    """

    def __init__(self, rows: list[int], text: Callable[[int], str], threshold: float):
        self._shingles = lru_cache(CACHED)(lambda row: shingle_set(text(row)))
        self._rows, self._threshold = np.array(rows, np.int64), threshold
        counts = self._count(rows[:: -(-len(rows) // COUNTED) or 1])
        prefixes = [self._rarest(row, counts) for row in rows]
        self._sizes = np.array([size for size, _ in prefixes], np.int32)
        lengths = np.array([len(shingles) for _, shingles in prefixes], np.int64)
        self._ends = np.cumsum(lengths)
        self._sort(
            np.concatenate([np.zeros(0, np.uint64), *(shingles for _, shingles in prefixes)]),
            lengths,
        )

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for n, row in enumerate(self._rows.tolist()):
            yield row, self._rows[self._candidates(n)]

    def similarity(self, a: int, b: int) -> float:
        """Jaccard similarity of two rows."""
        return similarity(self._shingles(a), self._shingles(b))

    def _count(self, rows):
        """In how many of these rows shingles occur, by the first bits of the shingle, (2^22,)."""
        counts = np.zeros(1 << COUNT_BITS, np.int32)
        for row in rows:
            counts[_place(self._hashes(row))] += 1
        return counts

    def _rarest(self, row, counts):
        """A row's number of shingles, and its rarest: of n, a twin shares at least one of n -
        threshold * n + 1.

        Which are rare is an estimate; what matters is that the order is the same in all rows.
        """
        hashes = self._hashes(row)
        order = np.lexsort((hashes, counts[_place(hashes)]))
        return len(hashes), hashes[
            order[: len(hashes) - ceil(self._threshold * len(hashes) - ROUNDING) + 1]
        ]

    def _sort(self, shingles, lengths):
        """Entries (row, place of the shingle in it) sorted by shingle, then row; and where each
        row's entries went.
        """
        rows = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
        places = (np.arange(len(rows)) - np.repeat(self._ends - lengths, lengths)).astype(np.int32)
        order = np.argsort(shingles, kind="stable")
        self._entry_rows, self._entry_places, shingles = rows[order], places[order], shingles[order]
        self._entry = np.empty(len(order), np.int64)
        self._entry[order] = np.arange(len(order))
        self._group_start = np.searchsorted(
            shingles, shingles
        )  # the first entry of the same shingle

    def _candidates(self, n):
        """The rows before row n, by place in `rows`, that share a rarest shingle where a twin can
        share it.
        """
        first = self._ends[n - 1] if n else 0
        found = [np.zeros(0, np.int32)]
        for place, entry in enumerate(self._entry[first : self._ends[n]].tolist()):
            start = self._group_start[entry]
            if start < entry:
                others, places = self._entry_rows[start:entry], self._entry_places[start:entry]
                # If this is the first shingle they share, they share no more than what follows it
                # in both.
                most = np.minimum(self._sizes[n] - place, self._sizes[others] - places)
                least = (
                    self._threshold / (1 + self._threshold) * (self._sizes[n] + self._sizes[others])
                    - ROUNDING
                )
                found.append(others[most >= least])
        return np.unique(np.concatenate(found))

    def _hashes(self, row):
        shingles = self._shingles(row)
        return np.fromiter(shingles, np.uint64, len(shingles))


def _place(hashes):
    return hashes >> np.uint64(64 - COUNT_BITS)
