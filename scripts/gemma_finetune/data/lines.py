"""Any row of a JSONL file by its number, without holding the file in memory."""

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import orjson


def random_access(file: BinaryIO, sizes: np.ndarray) -> Callable[[int], dict]:
    """A function from a row's number to the row; `sizes` are the bytes of every line, in order."""
    ends = np.cumsum(sizes, dtype=np.int64)
    # Not mapped into memory: of a map all that was read stays with the process.
    return lambda n: orjson.loads(os.pread(file.fileno(), int(sizes[n]), int(ends[n] - sizes[n])))
