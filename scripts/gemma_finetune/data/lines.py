"""Reads any row of a JSONL file by its number, without holding the file in memory."""

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import orjson


def random_access(file: BinaryIO, sizes: np.ndarray) -> Callable[[int], dict]:
    """A function that returns a row by its number. `sizes` (rows,): the bytes of each line."""
    starts = np.cumsum(sizes, dtype=np.int64) - sizes

    # pread, not mmap: the pages of a map that were read once count as the process's memory.
    def row(number: int) -> dict:
        return orjson.loads(os.pread(file.fileno(), int(sizes[number]), int(starts[number])))

    return row
